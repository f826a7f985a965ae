"""What a tunnel reads in frames of a TUN and in their IP packets (RFC 791, section 3.1; RFC 8200,
section 3).

A frame is a virtio_net_hdr and a packet, or a super-packet that stands for many of one flow.
"""

from __future__ import annotations

from functools import lru_cache

from ...errors import OffloadError
from ...offload import NO_OFFLOAD, gso_split
from .ecn import ecn_of

__all__ = [
    "BEGIN",
    "PACKET",
    "count_of",
    "destination_and_ecn",
    "framed",
    "source_of",
    "split",
    "udp_payload",
]

IPV4_HEADER, IPV6_HEADER, UDP_HEADER = 20, 40, 8
UDP = 17

IP = len(NO_OFFLOAD)
"""Where the packet begins in a frame."""

BEGIN, PACKET = slice(IP, IP + 2), slice(IP, None)
IPV4_SOURCE, IPV4_DESTINATION = slice(IP + 12, IP + 16), slice(IP + 16, IP + 20)
IPV6_SOURCE, IPV6_DESTINATION = slice(IP + 8, IP + 24), slice(IP + 24, IP + 40)


@lru_cache(maxsize=256)
def destination_and_ecn(begin: bytes) -> tuple[slice, int]:
    """Where a frame whose packet begins with these two bytes has its destination; its ECN field.

    A packet too short for a destination has none or a part there.
    """
    if len(begin) == 2:
        return IPV4_DESTINATION if begin < b"\x50" else IPV6_DESTINATION, ecn_of(begin)
    return IPV4_DESTINATION, 0


def source_of(frame: bytes) -> bytes:
    """The source of a frame that holds a whole IP packet."""
    return frame[IPV4_SOURCE if frame[IP] < 0x50 else IPV6_SOURCE]


def framed(packet: bytes) -> bytes:
    """The frame of one packet."""
    return NO_OFFLOAD + packet


def split(frame: bytes) -> list[bytes]:
    """The packets of a frame; none of a malformed one."""
    try:
        return gso_split(frame)
    except OffloadError:
        return []


def count_of(frame: bytes) -> int:
    """How many packets a frame stands for; a malformed one counts as one."""
    return len(split(frame)) or 1


def udp_payload(packet: bytes) -> bytes:
    """What a UDP datagram carries; empty for other packets and for later fragments."""
    if packet[0] >> 4 == 4:
        header, protocol, offset = (packet[0] & 0xF) * 4, packet[9], packet[6] & 0x1F | packet[7]
    else:
        header, protocol, offset = IPV6_HEADER, packet[6], 0
    return packet[header + UDP_HEADER :] if protocol == UDP and not offset else b""
