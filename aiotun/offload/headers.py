"""Where the headers of a packet are: Ethernet with VLAN tags, IPv4, IPv6 and its extensions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import FrameHeaderError, FrameTooShortError

if TYPE_CHECKING:
    from ..config import Layer

__all__ = [
    "ADDRESSES_SIZE",
    "CHECKSUM_OFFSET",
    "CWR",
    "FIN",
    "IPV6_EXTENSIONS",
    "IP_SIZE",
    "PACKET_MAX",
    "PSH",
    "RST",
    "SYN",
    "TCP",
    "TRANSPORT_SIZE",
    "UDP",
    "URG",
    "check_layer",
    "find_ip",
    "find_payload",
    "find_transport",
]

# IANA protocol numbers.
TCP = 6
UDP = 17

IPV6_EXTENSIONS = frozenset({0, 43, 60})
"""Hop-by-hop options, routing, destination options (RFC 8200 section 4): the extension
headers that the kernel segments behind (net/ipv6/exthdrs_offload.c)."""

PACKET_MAX = 65535
"""What the total length of an IPv4 packet can say; the kernel drops longer ones, of IPv6 too."""

IP_SIZE = {4: 20, 6: 40}
"""Without options and extension headers (RFC 791 section 3.1, RFC 8200 section 3)."""

ADDRESSES_SIZE = {4: 8, 6: 32}
"""Source and destination, the last fields of that."""

TRANSPORT_SIZE = {TCP: 20, UDP: 8}
"""Without options (RFC 9293 section 3.1, RFC 768)."""

CHECKSUM_OFFSET = {TCP: 16, UDP: 6}
"""Where the checksum stands in the transport header."""

# Byte 13 of the TCP header (RFC 9293 section 3.1).
FIN, SYN, RST, PSH, URG, CWR = 0x01, 0x02, 0x04, 0x08, 0x20, 0x80

ETHERNET_SIZE = 14
VLAN_TAG_SIZE = 4
VLAN_TYPES = (0x8100, 0x88A8)
"""IEEE 802.1Q and 802.1ad (linux/if_ether.h)."""
IP_TYPES = {0x0800: 4, 0x86DD: 6}
"""EtherTypes of IPv4 and IPv6 (linux/if_ether.h)."""


def check_layer(layer: Layer) -> None:
    """Raise `ValueError` for what is no layer."""
    if layer not in ("tun", "tap"):
        raise ValueError(f"a layer is 'tun' or 'tap', not {layer!r}")


def find_ip(packet: bytes, layer: Layer) -> tuple[int, int] | None:
    """IP version and offset of the IP header; None if there is none that is whole.

    Options and extension headers do not count as part of it here.
    """
    ip = 0
    ethertype = 0
    if layer == "tap":
        ip = ETHERNET_SIZE
        ethertype = int.from_bytes(packet[12:14], "big")
        while ethertype in VLAN_TYPES:
            ip += VLAN_TAG_SIZE
            ethertype = int.from_bytes(packet[ip - 2 : ip], "big")
    if len(packet) <= ip:
        return None
    version = packet[ip] >> 4
    if version not in IP_SIZE or len(packet) < ip + IP_SIZE[version]:
        return None
    if layer == "tap" and IP_TYPES.get(ethertype) != version:
        return None
    return version, ip


def find_transport(packet: bytes, version: int, ip: int) -> tuple[int, int]:
    """Protocol and offset of the header behind the IP header at `ip`.

    Raises `FrameHeaderError` if the IP header's length does not end where the
    packet ends or the packet is a fragment, `FrameTooShortError` if the packet
    ends before the transport header begins.
    """
    if version == 4:
        end = ip + int.from_bytes(packet[ip + 2 : ip + 4], "big")
        protocol = packet[ip + 9]
        transport = ip + (packet[ip] & 0x0F) * 4
        if transport < ip + IP_SIZE[4]:
            raise FrameHeaderError(f"the IPv4 header says that it has {transport - ip} bytes")
        if int.from_bytes(packet[ip + 6 : ip + 8], "big") & 0x3FFF:
            raise FrameHeaderError("the packet is a fragment")
    else:
        transport = ip + IP_SIZE[6]
        end = transport + int.from_bytes(packet[ip + 4 : ip + 6], "big")
        protocol = packet[ip + 6]
        while protocol in IPV6_EXTENSIONS and transport + 2 <= len(packet):
            protocol = packet[transport]
            transport += 8 + packet[transport + 1] * 8
    if end != len(packet):
        raise FrameHeaderError(
            f"the IP header says that the packet has {end - ip} bytes, it has {len(packet) - ip}"
        )
    if transport > len(packet):
        raise FrameTooShortError(
            f"the packet ends before its transport header: it has {len(packet)} bytes, "
            f"the headers before it {transport}"
        )
    return protocol, transport


def find_payload(packet: bytes, protocol: int, transport: int) -> int:
    """Offset of the payload behind the TCP or UDP header at `transport`.

    Raises `FrameHeaderError` if the length in that header is not possible,
    `FrameTooShortError` if the packet ends within the header.
    """
    payload = transport + TRANSPORT_SIZE[protocol]
    if payload <= len(packet):
        if protocol == UDP:
            length = int.from_bytes(packet[transport + 4 : transport + 6], "big")
            if transport + length != len(packet):
                raise FrameHeaderError(
                    f"the UDP header says that the datagram has {length} bytes, "
                    f"it has {len(packet) - transport}"
                )
        else:
            payload = transport + (packet[transport + 12] >> 4) * 4
            if payload < transport + TRANSPORT_SIZE[TCP]:
                raise FrameHeaderError(
                    f"the TCP header says that it has {payload - transport} bytes"
                )
    if payload > len(packet):
        raise FrameTooShortError("the packet ends within its transport header")
    return payload
