"""Packets for tests: made and judged without the code under test."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence
from typing import Any

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))

SOURCE = {4: "10.1.0.2", 6: "fd01::2"}
DESTINATION = {4: "10.2.0.2", 6: "fd02::2"}

ETHERTYPE = {4: 0x0800, 6: 0x86DD}

NEEDS_CSUM = 1
TCPV4, TCPV6, UDP_L4, ECN = 1, 4, 5, 0x80
VIRTIO_NET_HDR = struct.Struct("=BBHHHH")


def ones_sum(data: bytes, initial: int = 0) -> int:
    """RFC 1071, word by word."""
    data = bytes(data) + bytes(len(data) % 2)
    total: int = initial + sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def pseudo_header(version: int, source: str, destination: str, protocol: int, length: int) -> bytes:
    addresses = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    if version == 4:
        return addresses + struct.pack("!BBH", 0, protocol, length)
    return addresses + struct.pack("!II", length, protocol)


def ip(
    version: int,
    protocol: int,
    payload: bytes,
    *,
    source: str | None = None,
    destination: str | None = None,
    ttl: int = 64,
    tos: int = 0,
    identification: int = 0,
    fragment: int = 0x4000,
    options: bytes = b"",
    flow_label: int = 0,
    extensions: Sequence[tuple[int, bytes]] = (),
) -> bytes:
    """An IP packet. `fragment` is IPv4's flags and offset; `extensions` are the types of IPv6
    extension headers with what is in them behind type and length, 6 + 8n bytes."""
    src = ipaddress.ip_address(source or SOURCE[version]).packed
    dst = ipaddress.ip_address(destination or DESTINATION[version]).packed
    if version == 6:
        kinds = [kind for kind, _ in extensions] + [protocol]
        chain = b"".join(
            bytes([following, len(body) // 8]) + body
            for following, (_, body) in zip(kinds[1:], extensions, strict=True)
        )
        first = (6 << 28) | (tos << 20) | flow_label
        length = len(chain) + len(payload)
        head = struct.pack("!IHBB", first, length, kinds[0], ttl)
        return head + src + dst + chain + payload
    options += bytes(-len(options) % 4)
    size = 20 + len(options)
    head = struct.pack(
        "!BBHHHBBH",
        0x40 | size // 4,
        tos,
        size + len(payload),
        identification,
        fragment,
        ttl,
        protocol,
        0,
    )
    head += src + dst + options
    return head[:10] + struct.pack("!H", ones_sum(head) ^ 0xFFFF) + head[12:] + payload


def transport(
    version: int, protocol: int, header: bytes, offset: int, payload: bytes, **ip_fields: Any
) -> bytes:
    """An IP packet with a transport header, its checksum at `offset` filled in."""
    pseudo = pseudo_header(
        version,
        str(ip_fields.get("source") or SOURCE[version]),
        str(ip_fields.get("destination") or DESTINATION[version]),
        protocol,
        len(header) + len(payload),
    )
    value = ones_sum(pseudo + header + payload) ^ 0xFFFF
    if protocol == UDP:
        value = value or 0xFFFF
    header = header[:offset] + struct.pack("!H", value) + header[offset + 2 :]
    return ip(version, protocol, header + payload, **ip_fields)


def tcp(
    version: int = 4,
    payload: bytes = b"",
    *,
    sport: int = 40000,
    dport: int = 5201,
    seq: int = 1,
    ack: int = 1,
    flags: int = ACK,
    window: int = 512,
    urgent: int = 0,
    tcp_options: bytes = b"",
    **ip_fields: Any,
) -> bytes:
    """`flags` are the lower 12 bits of TCP's fourth word: ACK, PSH … and the reserved ones."""
    tcp_options += bytes([1]) * (-len(tcp_options) % 4)
    word = (5 + len(tcp_options) // 4) << 12 | flags
    header = struct.pack("!HHIIHHHH", sport, dport, seq, ack, word, window, 0, urgent)
    return transport(version, TCP, header + tcp_options, 16, payload, **ip_fields)


def udp(
    version: int = 4,
    payload: bytes = b"",
    *,
    sport: int = 40000,
    dport: int = 5201,
    **ip_fields: Any,
) -> bytes:
    header = struct.pack("!HHHH", sport, dport, 8 + len(payload), 0)
    return transport(version, UDP, header, 6, payload, **ip_fields)


def unsummed(packet: bytes) -> bytes:
    """The packet without its UDP checksum if it is UDP over IPv4, else as it is."""
    if packet[0] >> 4 != 4 or packet[9] != UDP:
        return packet
    field = find_transport(packet)[1] + 6
    return packet[:field] + b"\0\0" + packet[field + 2 :]


def icmp_echo(
    version: int = 4,
    payload: bytes = b"",
    *,
    reply: bool = False,
    identifier: int = 1,
    sequence: int = 1,
    **ip_fields: Any,
) -> bytes:
    """An ICMP or ICMPv6 echo request, or its reply."""
    kind = {4: (8, 0), 6: (128, 129)}[version][reply]
    header = struct.pack("!BBHHH", kind, 0, 0, identifier, sequence)
    if version == 6:
        return transport(6, ICMPV6, header, 2, payload, **ip_fields)
    value = ones_sum(header + payload) ^ 0xFFFF
    header = header[:2] + struct.pack("!H", value) + header[4:]
    return ip(4, ICMP, header + payload, **ip_fields)


def ethernet(
    packet: bytes,
    *tags: int,
    source: bytes = b"\x02\0\0\0\0\x01",
    destination: bytes = b"\x02\0\0\0\0\x02",
    ethertype: int | None = None,
) -> bytes:
    """A frame around an IP packet; `tags` are VLAN ids, the outer one first."""
    kind = ETHERTYPE[packet[0] >> 4] if ethertype is None else ethertype
    vlan = b"".join(struct.pack("!HH", 0x8100, tag) for tag in tags)
    return destination + source + vlan + struct.pack("!H", kind) + packet


def ethernet_size(frame: bytes) -> int:
    size = 14
    while frame[size - 2 : size] == b"\x81\0":
        size += 4
    return size


def find_transport(packet: bytes) -> tuple[int, int]:
    """Protocol and offset of the transport header of an IP packet."""
    if packet[0] >> 4 == 4:
        return packet[9], (packet[0] & 0x0F) * 4
    kind, offset = packet[6], 40
    while kind in (0, 43, 60):
        kind, offset = packet[offset], offset + 8 + packet[offset + 1] * 8
    return kind, offset


def super_packet(packet: bytes, gso_size: int, layer: str = "tun", ecn: bool = False) -> bytes:
    """The frame of a whole TCP or UDP packet to be segmented, as the kernel writes it."""
    link = ethernet_size(packet) if layer == "tap" else 0
    inner = packet[link:]
    protocol, start = find_transport(inner)
    version = inner[0] >> 4
    offset = 16 if protocol == TCP else 6
    size = (inner[start + 12] >> 4) * 4 if protocol == TCP else 8
    addresses = inner[12:20] if version == 4 else inner[8:40]
    partial = ones_sum(addresses, protocol + len(inner) - start)
    field = start + offset
    inner = inner[:field] + struct.pack("!H", partial) + inner[field + 2 :]
    gso_type = {(4, TCP): TCPV4, (6, TCP): TCPV6}.get((version, protocol), UDP_L4)
    header = VIRTIO_NET_HDR.pack(
        NEEDS_CSUM,
        gso_type | (ECN if ecn else 0),
        link + start + size,
        gso_size,
        link + start,
        offset,
    )
    return header + packet[:link] + inner


def assert_sound(packet: bytes) -> None:
    """Lengths and checksums of an IP packet with TCP or UDP are right."""
    version = packet[0] >> 4
    protocol, start = find_transport(packet)
    if version == 4:
        assert int.from_bytes(packet[2:4], "big") == len(packet), "IPv4 total length"
        assert ones_sum(packet[:start]) == 0xFFFF, "IPv4 header checksum"
        addresses = packet[12:20]
    else:
        assert int.from_bytes(packet[4:6], "big") == len(packet) - 40, "IPv6 payload length"
        addresses = packet[8:40]
    total = ones_sum(addresses + packet[start:], protocol + len(packet) - start)
    assert total == 0xFFFF, "transport checksum"
    if protocol == UDP:
        assert int.from_bytes(packet[start + 4 : start + 6], "big") == len(packet) - start
        assert packet[start + 6 : start + 8] != b"\0\0", "UDP without checksum"
