"""Control messages of Linux' UDP sockets (udp(7), ip(7), ipv6(7)), as Python's `recvmsg` gives
them and `sendmsg` takes them: tuples of level, type and bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import lru_cache
from socket import AF_INET, AF_INET6, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_UDP, inet_ntop, inet_pton
from typing import NamedTuple

__all__ = [
    "ANCILLARY_MAX",
    "ControlMessage",
    "Received",
    "decode",
    "encode",
    "error_mtu",
    "host_of",
]

ControlMessage = tuple[int, int, bytes]

# linux/in.h
IP_TOS = 1
IP_PKTINFO = 8
IP_MTU_DISCOVER = 10
IP_RECVERR = 11
IP_RECVTOS = 13
IP_MTU = 14
IP_PMTUDISC_DO = 2
IP_PMTUDISC_PROBE = 3

# linux/in6.h
IPV6_MTU_DISCOVER = 23
IPV6_MTU = 24
IPV6_RECVERR = 25
IPV6_RECVPKTINFO = 49
IPV6_PKTINFO = 50
IPV6_RECVTCLASS = 66
IPV6_TCLASS = 67

# linux/udp.h
UDP_SEGMENT = 103
UDP_GRO = 104

PKTINFO = struct.Struct("=i4s4s")
"""struct in_pktinfo: interface, local address, destination in the header."""

PKTINFO6 = struct.Struct("=16si")
"""struct in6_pktinfo: address, interface."""

INT = struct.Struct("=i")
SEGMENT = struct.Struct("=H")

EXTENDED_ERROR = struct.Struct("=IBBBBII")
"""struct sock_extended_err of linux/errqueue.h: errno, origin, type, code, padding, info, data."""

ANCILLARY_MAX = 128
"""Bytes that hold all control messages asked for: each takes up to 40."""

V4_MAPPED = bytes(10) + b"\xff\xff"  # RFC 4291, section 2.5.5.2


class Received(NamedTuple):
    """What the control messages say about the datagrams that came with them."""

    segment: int
    """Bytes of each datagram but the last; 0: it is one datagram."""
    local: str | None
    ecn: int


def decode(messages: Iterable[ControlMessage]) -> Received:
    """Read the control messages of one `recvmsg`; those that are unknown or too short count not."""
    segment, local, ecn = 0, None, 0
    for level, kind, data in messages:
        if level == IPPROTO_UDP and kind == UDP_GRO and len(data) >= INT.size:
            segment = INT.unpack_from(data)[0]
        elif level == IPPROTO_IP:
            if kind == IP_PKTINFO and len(data) >= PKTINFO.size:
                local = host_of(data[4:8])
            elif kind == IP_TOS and data:
                ecn = data[0] & 3
        elif level == IPPROTO_IPV6:
            if kind == IPV6_PKTINFO and len(data) >= PKTINFO6.size:
                local = host_of(data[:16])
            elif kind == IPV6_TCLASS and len(data) >= INT.size:
                ecn = INT.unpack_from(data)[0] & 3
    return Received(segment, local, ecn)


@lru_cache(maxsize=256)
def host_of(address: bytes) -> str:
    """An address of IPv4 or IPv6 in words; one of IPv4 that is mapped as what it is."""
    if address.startswith(V4_MAPPED):
        address = address[12:]
    return inet_ntop(AF_INET if len(address) == 4 else AF_INET6, address)


@lru_cache(maxsize=1024)
def encode(v4: bool, local: str | None, ecn: int, segment: int) -> tuple[ControlMessage, ...]:
    """The control messages for datagrams to an IPv4 (else IPv6) address.

    `segment` 0 sends the bytes as one datagram. Raises `ValueError` for a
    `local` that is not an address of that family, or an ECN field above 3.
    """
    if not 0 <= ecn <= 3:
        raise ValueError(f"ecn is 0 to 3, not {ecn}")
    messages: list[ControlMessage] = []
    if segment:
        messages.append((IPPROTO_UDP, UDP_SEGMENT, SEGMENT.pack(segment)))
    if local is not None:
        try:
            address = inet_pton(AF_INET if v4 else AF_INET6, local)
        except (OSError, ValueError):  # a ValueError: a zero or half a character in it
            version = "IPv4" if v4 else "IPv6"
            raise ValueError(f"local is no {version} address: {local!r}") from None
        if v4:
            messages.append((IPPROTO_IP, IP_PKTINFO, PKTINFO.pack(0, address, bytes(4))))
        else:
            messages.append((IPPROTO_IPV6, IPV6_PKTINFO, PKTINFO6.pack(address, 0)))
    if ecn:
        level, kind = (IPPROTO_IP, IP_TOS) if v4 else (IPPROTO_IPV6, IPV6_TCLASS)
        messages.append((level, kind, INT.pack(ecn)))
    return tuple(messages)


def error_mtu(messages: Iterable[ControlMessage]) -> int:
    """The path MTU in what the error queue gave (MSG_ERRQUEUE); 0 if it is not there."""
    for level, kind, data in messages:
        known = (level, kind) in ((IPPROTO_IP, IP_RECVERR), (IPPROTO_IPV6, IPV6_RECVERR))
        if known and len(data) >= EXTENDED_ERROR.size:
            return int(EXTENDED_ERROR.unpack_from(data)[5])
    return 0
