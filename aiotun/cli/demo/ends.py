"""One end of a TCP transfer, as a program of its own: it takes no time from the forwarder.

    ends.py send ADDRESS PORT SECONDS
    ends.py receive        (its standard input is the listening socket, as for inetd)

Both print how many bytes it were, the receiver also in how many seconds. It
fails at the first byte that is not what was sent. Run by file name: it needs
nothing but the standard library, so it starts at once.
"""

from __future__ import annotations

import random
import socket
import sys
import time

__all__ = ["receive", "send"]

PATTERN = random.Random(0).randbytes(1 << 20)
"""What is sent, again and again: long, so that what is lost or exchanged shows."""

PATIENCE = 5.0
"""Seconds without progress after which an end gives up."""


def send(address: str, port: str, seconds: str) -> str:
    with socket.create_connection((address, int(port)), PATIENCE) as tcp:
        sent = 0
        end = time.monotonic() + float(seconds)
        while not sent or time.monotonic() < end:
            tcp.sendall(PATTERN)
            sent += len(PATTERN)
    return f"{sent}"


def receive() -> str:
    with socket.socket(fileno=sys.stdin.fileno()) as listener:
        listener.settimeout(PATIENCE)
        tcp, _ = listener.accept()
    with tcp:
        tcp.settimeout(PATIENCE)
        start = time.monotonic()
        received = place = 0
        while data := tcp.recv(len(PATTERN) - place):
            if not PATTERN.startswith(data, place):
                sys.exit(f"what came after byte {received} is not what was sent")
            received += len(data)
            place = (place + len(data)) % len(PATTERN)
    return f"{received} {time.monotonic() - start}"


if __name__ == "__main__":
    print(send(*sys.argv[2:]) if sys.argv[1] == "send" else receive())
