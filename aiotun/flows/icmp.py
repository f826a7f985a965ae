"""ICMP errors about packets of flows: what they say, and the same for the listener (sans-I/O)."""

from __future__ import annotations

import errno
import os
from typing import NamedTuple

from ..errors import PathMTUError
from .base import FlowAddress
from .replies import icmp_packet
from .table import Connection
from .translate import addresses_of, quoted, reverse_key, rewrite_quoted

__all__ = ["IcmpError"]

ERRORS = {4: (3, 11, 12), 6: (1, 2, 3, 4)}
"""Types of errors by IP version: RFC 792 (4 and 5, source quench and redirect, are none that
count: RFC 6633, RFC 1122 section 3.2.2.2), RFC 4443 section 2.1."""

TOO_BIG = {(4, 3, 4), (6, 2, 0)}
"""Version, type and code of "fragmentation needed" (RFC 1191) and "packet too big"."""

ERRNO = {
    (4, 3, 0): errno.ENETUNREACH,
    (4, 3, 2): errno.ENOPROTOOPT,
    (4, 3, 3): errno.ECONNREFUSED,
    (6, 1, 0): errno.ENETUNREACH,
    (6, 1, 1): errno.EACCES,
    (6, 1, 4): errno.ECONNREFUSED,
}
"""What a connected socket says of them (icmp_err_convert in net/ipv4/icmp.c, tab_unreach in
net/ipv6/icmp.c); EHOSTUNREACH for all others."""


class IcmpError(NamedTuple):
    """An error about a packet of ours."""

    version: int
    kind: int
    code: int
    rest: bytes
    """The four bytes behind the checksum: an MTU, for one that was too big."""
    protocol: int
    """Of the packet in question,"""
    transport: int
    """the offset of its transport header,"""
    key: bytes
    """its key,"""
    packet: bytes
    """and as much of it as came back."""

    @classmethod
    def parse(cls, version: int, message: bytes) -> IcmpError | None:
        """Read a whole ICMP message; None if it is no error, or not enough of a packet is in it."""
        if len(message) < 8 or message[0] not in ERRORS[version]:
            return None
        packet = message[8:]
        found = quoted(packet)
        if found is None:
            return None
        return cls(version, message[0], message[1], message[4:8], *found, packet)

    def exception(self, addr: FlowAddress) -> OSError:
        """What a connected socket would raise; `addr` is where the packet was to go."""
        kind = self.version, self.kind, self.code
        if kind in TOO_BIG:
            return PathMTUError(self.mtu, addr)
        number = ERRNO.get(kind, errno.EHOSTUNREACH)
        return OSError(number, os.strerror(number))

    @property
    def mtu(self) -> int:
        """Of the link that the packet was too big for."""
        return int.from_bytes(self.rest[2:] if self.version == 4 else self.rest, "big")

    def for_listener(self, connection: Connection) -> bytes:
        """The packet that tells the listener's kernel the same."""
        peer, listener, _, _ = addresses_of(connection.to_listener)
        packet = rewrite_quoted(self.packet, self.transport, reverse_key(connection.to_listener))
        return icmp_packet(peer, listener, self.kind, self.code, self.rest, packet)
