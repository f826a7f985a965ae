"""Where a packet belongs, and the same packet for elsewhere: addresses, ports, checksums.

A frame is a virtio_net_hdr and an IP packet, as `SuperPacket.frame` has it. What is
rewritten stays as long as it was, so one super-packet of 64 KiB costs what a packet costs.
"""

from __future__ import annotations

import ipaddress

from ..offload import VirtioNetHeader, checksum, pseudo_header_sum
from ..offload.headers import CHECKSUM_OFFSET, IP_SIZE, IPV6_EXTENSIONS, TCP, UDP

__all__ = [
    "FRAGMENT",
    "Rewrite",
    "addresses_of",
    "is_unicast",
    "locate",
    "make_key",
    "quoted",
    "reverse_key",
    "rewrite_quoted",
    "sums_up",
]

IP = VirtioNetHeader.SIZE
"""Where the IP header begins in a frame."""

FRAGMENT = 44
"""The "protocol" of a fragment, as an IPv6 fragment header calls it (RFC 8200 section 4.5)."""

ROUTING = 43
"""A routing header: the checksum is made of another destination than the one in sight."""

NEEDS_CSUM = VirtioNetHeader.NEEDS_CSUM
TRUSTED = NEEDS_CSUM | VirtioNetHeader.DATA_VALID
"""The kernel vouches for the checksum, or will make it."""

IPV4_NO_OPTIONS = 0x45


def locate(frame: bytes) -> tuple[int, int, bytes] | None:
    """Protocol, offset of the transport header in the frame, and key: addresses and ports.

    The key of what has no ports, a fragment too, ends in the four bytes that stand there.
    None for what is no IP packet, or not as long as it says.
    """
    size = len(frame) - IP
    if size < 28:  # an IPv4 header and 8 bytes, which every protocol here has
        return None
    first = frame[IP]
    if first >> 4 == 4:
        transport = IP + (first & 0x0F) * 4
        if (
            first < IPV4_NO_OPTIONS
            or frame[12] << 8 | frame[13] != size
            or transport + 8 > size + IP
        ):
            return None
        protocol = FRAGMENT if (frame[16] & 0x3F or frame[17]) else frame[19]
        if first == IPV4_NO_OPTIONS:
            return protocol, transport, frame[22:34]
        return protocol, transport, frame[22:30] + frame[transport : transport + 4]
    if first >> 4 != 6 or size < 48 or frame[14] << 8 | frame[15] != size - 40:
        return None
    protocol = frame[16]
    if protocol not in IPV6_EXTENSIONS:
        return protocol, IP + 40, frame[18:54]
    transport = IP + 40
    while protocol in IPV6_EXTENSIONS and protocol != ROUTING:
        protocol = frame[transport]
        transport += 8 + frame[transport + 1] * 8
        if transport + 8 > len(frame):
            return None
    return protocol, transport, frame[18:50] + frame[transport : transport + 4]


def make_key(source: bytes, destination: bytes, sport: int, dport: int) -> bytes:
    """The key of packets from one to the other; addresses have 4 or 16 bytes."""
    return source + destination + (sport << 16 | dport).to_bytes(4, "big")


def addresses_of(key: bytes) -> tuple[bytes, bytes, int, int]:
    """Source, destination, source port and destination port: the opposite of `make_key`."""
    size = len(key) // 2 - 2
    ports = int.from_bytes(key[-4:], "big")
    return key[:size], key[size:-4], ports >> 16, ports & 0xFFFF


def reverse_key(key: bytes) -> bytes:
    """The key of the packets in the other direction."""
    size = len(key) // 2 - 2
    return key[size:-4] + key[:size] + key[-2:] + key[-4:-2]


def is_unicast(address: bytes) -> bool:
    """Whether the address may be that of one host, to be asked about and to be answered."""
    ip = ipaddress.ip_address(address)
    if ip.version == 4 and ip.packed[0] >= 240:  # reserved, and the limited broadcast
        return False
    if ip.version == 6 and ip.ipv4_mapped:  # to a socket ::ffff:127.0.0.1 is this host
        return False
    return not (ip.is_multicast or ip.is_unspecified or ip.is_loopback)


def sums_up(frame: bytes, protocol: int, transport: int, key: bytes) -> bool:
    """Whether the checksum of a TCP or UDP packet is right, or its sender vouches for it."""
    if frame[0] & TRUSTED:
        return True
    length = len(frame) - transport
    if protocol == UDP and not (frame[transport + 6] or frame[transport + 7]):
        return len(key) == 12  # IPv6 has none without (RFC 8200 section 8.1)
    pseudo = pseudo_header_sum(key[:-4], protocol, length)
    return not checksum(memoryview(frame)[transport:], pseudo)


def quoted(packet: bytes) -> tuple[int, int, bytes] | None:
    """The same as `locate` of an IP packet that may end early, as one in an ICMP error does.

    None unless it has 8 bytes of its transport header, right behind the IP header.
    """
    size = IP_SIZE.get(packet[0] >> 4 if packet else 0, len(packet))
    transport = (packet[0] & 0x0F) * 4 if size == 20 else size
    if len(packet) < transport + 8 or transport < size:
        return None
    ports = packet[transport : transport + 4]
    if size == 40:
        return packet[6], transport, packet[8:40] + ports
    if packet[6] & 0x1F or packet[7]:
        return FRAGMENT, transport, packet[12:20] + ports
    return packet[9], transport, packet[12:20] + ports


class Rewrite:
    """Makes the packets with one key those with another, of the same IP version."""

    __slots__ = ("_addresses", "_all", "_new", "_ports", "plain", "used")

    def __init__(self, old: bytes, new: bytes) -> None:
        self.plain = False
        """Whether packets without SYN, FIN and RST need nothing but this."""
        self.used = False
        """Whether a packet was rewritten since somebody said no here."""
        self._new = new[:-4]
        self._ports = new[-4:]
        self._addresses = _difference(old[:-4], new[:-4])
        self._all = _difference(old, new)

    def apply(self, frame: bytes, transport: int) -> bytes | None:
        """The frame of a TCP packet that `locate` found with the old key; with the new one.

        A right checksum is right afterwards, a wrong one as wrong as before, and a partial
        one (which counts the addresses alone) stays partial: each is adjusted by what
        changed (RFC 1624). None if a partial checksum is not TCP's, or the packet ends
        before its checksum does.
        """
        field = transport + 16
        if field + 4 > len(frame):
            return None
        value = frame[field] << 8 | frame[field + 1]
        if frame[0] & NEEDS_CSUM:
            if frame[6:10] != _PARTIAL_TCP.get(transport):
                return None
            value = _add(value, self._addresses)
        else:
            value = _add(value ^ 0xFFFF, self._all) ^ 0xFFFF
        new = self._new
        if len(new) == 8:  # IPv4 has a checksum of its header too
            own = _add((frame[20] << 8 | frame[21]) ^ 0xFFFF, self._addresses) ^ 0xFFFF
            head = frame[:20] + own.to_bytes(2, "big") + new + frame[30:transport]
        else:
            head = frame[:18] + new + frame[50:transport]
        self.used = True
        return b"".join(
            (
                head,
                self._ports,
                frame[transport + 4 : field],
                value.to_bytes(2, "big"),
                memoryview(frame)[field + 2 :],
            )
        )


def rewrite_quoted(packet: bytes, transport: int, new: bytes) -> bytes:
    """A TCP packet that `quoted` found, its key replaced.

    Its checksum stays as it is: the kernel does not look at it, and it may be cut off.
    """
    size = len(new) // 2 - 2
    head = packet[:8]
    if size == 4:
        own = int.from_bytes(packet[10:12], "big") ^ 0xFFFF
        own = _add(own, _difference(packet[12:20], new[:-4])) ^ 0xFFFF
        head = packet[:10] + own.to_bytes(2, "big")
    options = packet[IP_SIZE[4 if size == 4 else 6] : transport]
    return b"".join((head, new[:-4], options, new[-4:], packet[transport + 4 :]))


def _difference(old: bytes, new: bytes) -> int:
    """What a one's complement sum grows by when its bytes change; 1 to 0xFFFF, its other zero."""
    return (int.from_bytes(new, "big") - int.from_bytes(old, "big")) % 0xFFFF or 0xFFFF


def _add(value: int, difference: int) -> int:
    """A one's complement sum of 16 bits; 0xFFFF for zero, as `difference` is not 0."""
    value += difference
    return (value & 0xFFFF) + (value >> 16)


_PARTIAL_TCP = {
    transport: VirtioNetHeader(
        flags=NEEDS_CSUM, csum_start=transport - IP, csum_offset=CHECKSUM_OFFSET[TCP]
    ).pack()[6:]
    for transport in range(IP + 20, IP + 128)
}
"""csum_start and csum_offset, by the offset of the transport header."""
