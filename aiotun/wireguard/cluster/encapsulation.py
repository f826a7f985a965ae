"""IP packets within IP packets (RFC 2003; IPv6 within IPv4: RFC 4213).

A WireGuard link checks where a packet comes from by its source. What a server forwards has any
source; so it travels within a packet whose addresses are those of the two servers on the link.
"""

from __future__ import annotations

import hashlib
import struct
from ipaddress import IPv4Address, IPv4Network

from ..core.ecn import CE, ECT_1, decapsulate, ecn_of

__all__ = ["HEADER_SIZE", "link_network", "unwrap", "wrap"]

HEADER = struct.Struct("!BBHHHBBH4s4s")  # RFC 791, section 3.1
HEADER_SIZE = HEADER.size

IPV4, IPV6 = 4, 41  # the protocols: RFC 2003, section 3.1; RFC 4213, section 3


def link_network(public_key: bytes) -> IPv4Network:
    """The address of a server on the link: 28 bits of its key's hash, in 240.0.0.0/4.

    No host has such an address (RFC 1112, section 4), and none sees it.
    """
    digest = hashlib.blake2s(public_key).digest()
    return IPv4Network(IPv4Address(0xF << 28 | int.from_bytes(digest[:4], "big") >> 4))


def wrap(packet: bytes, source: bytes, destination: bytes) -> bytes:
    """A packet for the link. The ECN field goes outside too (RFC 6040, section 4.1)."""
    protocol = IPV4 if packet[0] >> 4 == 4 else IPV6
    size = HEADER_SIZE + len(packet)
    head = HEADER.pack(0x45, ecn_of(packet), size, 0, 0, 64, protocol, 0, source, destination)
    return head + packet  # the link checks no checksum: each datagram is authentic


def unwrap(packet: bytes) -> bytes | None:
    """What is in a packet of the link; None: nothing that can be passed on."""
    inner = packet[HEADER_SIZE:]
    if len(inner) < 2 or packet[0] != 0x45 or packet[9] not in (IPV4, IPV6):
        return None
    ecn = ecn_of(packet)
    return decapsulate(inner, ecn) if ecn in (CE, ECT_1) and len(inner) >= 20 else inner
