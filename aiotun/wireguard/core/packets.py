"""What a tunnel reads in IP packets (RFC 791, section 3.1; RFC 8200, section 3)."""

from __future__ import annotations

from functools import lru_cache

from .ecn import ecn_of

__all__ = ["destination_and_ecn", "length_and_source", "length_and_source_field", "udp_payload"]

IPV4_HEADER, IPV6_HEADER, UDP_HEADER = 20, 40, 8
UDP = 17

IPV4_SOURCE, IPV4_DESTINATION = slice(12, 16), slice(16, 20)
IPV6_SOURCE, IPV6_DESTINATION = slice(8, 24), slice(24, 40)
IPV6_LENGTH_TO_SOURCE = slice(4, 24)


@lru_cache(maxsize=256)
def destination_and_ecn(begin: bytes) -> tuple[slice, int]:
    """Where a packet that begins with these two bytes has its destination, and its ECN field.

    A packet too short for a destination has none or a part there.
    """
    if len(begin) == 2:
        return IPV4_DESTINATION if begin < b"\x50" else IPV6_DESTINATION, ecn_of(begin)
    return IPV4_DESTINATION, 0


def length_and_source(packet: bytes) -> tuple[int, bytes]:
    """The length that the packet says it has, and its source.

    Raises `ValueError` unless there is a whole packet. The bytes behind it are padding.
    """
    first = packet[0]
    if 0x45 <= first <= 0x4F and len(packet) >= IPV4_HEADER:  # five words of header, or more
        header, length = (first & 0xF) * 4, int.from_bytes(packet[2:4], "big")
        source = packet[IPV4_SOURCE]
    elif first >> 4 == 6 and len(packet) >= IPV6_HEADER:
        header, length = IPV6_HEADER, IPV6_HEADER + int.from_bytes(packet[4:6], "big")
        source = packet[IPV6_SOURCE]
    else:
        raise ValueError("no IP packet")
    if not header <= length <= len(packet):
        raise ValueError("an IP packet of another length than it says")
    return length, source


def length_and_source_field(packet: bytes) -> slice:
    """Packets with the same here and in their first four bytes have the same length and source."""
    return IPV4_SOURCE if packet[0] >> 4 == 4 else IPV6_LENGTH_TO_SOURCE


def udp_payload(packet: bytes) -> bytes:
    """What a UDP datagram carries; empty for other packets and for later fragments."""
    if packet[0] >> 4 == 4:
        header, protocol, offset = (packet[0] & 0xF) * 4, packet[9], packet[6] & 0x1F | packet[7]
    else:
        header, protocol, offset = IPV6_HEADER, packet[6], 0
    return packet[header + UDP_HEADER :] if protocol == UDP and not offset else b""
