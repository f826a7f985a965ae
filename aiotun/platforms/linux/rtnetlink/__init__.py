"""rtnetlink messages as bytes, built and taken apart without a socket (netlink(7), rtnetlink(7)).

Everything is in the machine's byte order. What is decoded may be any bytes: a
message that contradicts itself raises `TunError` (EBADMSG).
"""
