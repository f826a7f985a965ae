"""ICMP echo (RFC 792, RFC 4443 section 4) as whole IP packets: the smallest traffic there is."""

from __future__ import annotations

import ipaddress
import struct

from ..offload import checksum, pseudo_header_sum

__all__ = ["echo_reply", "echo_request"]

PROTOCOL = {4: 1, 6: 58}
"""ICMP and ICMPv6 (IANA protocol numbers), by IP version."""

REQUEST, REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}
"""Their types."""

HOPS = 64
"""TTL and hop limit (RFC 1122 section 3.2.1.7: from IANA, now 64)."""

FRAGMENT = 0x3FFF
"""RFC 791 section 3.1: more fragments, or an offset."""


def echo_request(
    source: str, destination: str, identifier: int, sequence: int, data: bytes = b""
) -> bytes:
    """A ping: an IPv4 or IPv6 packet, after the addresses.

    `identifier` and `sequence` have 16 bits, `data` comes back in the reply.
    Raises `ValueError` unless both are addresses of one version.
    """
    src, dst = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    if src.version != dst.version:
        raise ValueError(f"{source} and {destination} are of different IP versions")
    addresses = src.packed + dst.packed
    body = struct.pack("!HH", identifier, sequence) + data
    message = _message(src.version, REQUEST, addresses, body)
    if src.version == 6:
        return struct.pack("!IHBB", 6 << 28, len(message), PROTOCOL[6], HOPS) + addresses + message
    header = struct.pack("!BBHHHBB", 0x45, 0, 20 + len(message), 0, 0, HOPS, PROTOCOL[4])
    return header + struct.pack("!H", checksum(header + addresses)) + addresses + message


def echo_reply(packet: bytes) -> bytes | None:
    """The answer to an echo request; None for anything else, and for a damaged one.

    As the host that the request is for would answer: from its destination, back
    to its source, with its data. Requests behind an extension header get none.
    """
    if len(packet) < 20:
        return None
    version = packet[0] >> 4
    if version == 4:
        protocol, start, end = packet[9], 12, 20
        icmp = (packet[0] & 0x0F) * 4
        whole = icmp >= end and not int.from_bytes(packet[6:8], "big") & FRAGMENT
    else:
        protocol, start, end = packet[6], 8, 40
        icmp = end
        whole = version == 6
    if not whole or protocol != PROTOCOL[version] or len(packet) < icmp + 8:
        return None
    addresses, message = packet[start:end], packet[icmp:]
    size = len(addresses) // 2
    if message[:4] != _message(version, REQUEST, addresses, message[4:])[:4]:
        return None
    if ipaddress.ip_address(addresses[size:]).is_multicast:
        return None
    # The header's own checksum stays right: the words that it sums up are the same.
    back = addresses[size:] + addresses[:size]
    reply = _message(version, REPLY, back, message[4:])
    return packet[:start] + back + packet[end:icmp] + reply


def _message(version: int, kind: dict[int, int], addresses: bytes, body: bytes) -> bytes:
    """Type, code 0, checksum, and the body."""
    start = bytes([kind[version], 0])
    initial = 0
    if version == 6:  # RFC 4443 section 2.3
        initial = pseudo_header_sum(addresses, PROTOCOL[6], len(body) + 4)
    return start + struct.pack("!H", checksum(start + b"\0\0" + body, initial)) + body
