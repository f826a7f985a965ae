"""The header of OpenBSD's tun and tap with super-packets, and ours (net/if_tun.h, if_tun.c).

struct tun_hdr stands before all else, in the byte order of the machine. It says which checksums
are to be made and by what size TCP is to be cut, and leaves it to its reader to find the headers.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

from ctypes import sizeof

from ...config import Layer
from ...errors import OffloadError
from ...offload import NO_OFFLOAD, VirtioNetHeader, checksum
from ...offload.checksum import complete_checksum, pseudo_header_sum
from ...offload.headers import (
    ADDRESSES_SIZE,
    CHECKSUM_OFFSET,
    CWR,
    IP_SIZE,
    TCP,
    UDP,
    find_ip,
    find_payload,
    find_transport,
)
from .headers.openbsd import (
    TUN_H_ICMP_CSUM,
    TUN_H_IPV4_CSUM,
    TUN_H_TCP_CSUM,
    TUN_H_TCP_MSS,
    TUN_H_UDP_CSUM,
    TUN_H_VTAG,
    IFCAP_CSUM_IPv4,
    IFCAP_CSUM_TCPv4,
    IFCAP_CSUM_TCPv6,
    IFCAP_CSUM_UDPv4,
    IFCAP_CSUM_UDPv6,
    IFCAP_TSOv4,
    IFCAP_TSOv6,
    tun_hdr,
)
from .queue import BsdQueue

__all__ = ["CAPABILITIES", "TunHeaderQueue", "from_virtio", "to_virtio"]

CAPABILITIES = (
    IFCAP_CSUM_IPv4
    | IFCAP_CSUM_TCPv4
    | IFCAP_CSUM_UDPv4
    | IFCAP_CSUM_TCPv6
    | IFCAP_CSUM_UDPv6
    | IFCAP_TSOv4
    | IFCAP_TSOv6
)
"""What the kernel may leave to us."""

SIZE = sizeof(tun_hdr)

CHECKSUMS = {TCP: TUN_H_TCP_CSUM, UDP: TUN_H_UDP_CSUM, 1: TUN_H_ICMP_CSUM, 58: TUN_H_ICMP_CSUM}
"""By protocol, the flag of a checksum that is to be made."""

ICMP_CHECKSUM = 2
"""Where it stands in the header of ICMP and ICMPv6."""


class TunHeaderQueue(BsdQueue):
    """A queue whose frames have a virtio_net_hdr, made of struct tun_hdr and back."""

    vnet_hdr = tcp_offload = True
    udp_offload = False

    def _unwrap(self, data: bytes) -> bytes:
        packet = super()._unwrap(data[SIZE:])
        if len(data) < SIZE or not packet:
            return b""  # which is reported
        return to_virtio(tun_hdr.from_buffer_copy(data), packet, self.layer)

    def _wrap(self, frame: bytes) -> bytes:
        header, packet = from_virtio(frame)
        return bytes(header) + super()._wrap(packet)


def to_virtio(header: tun_hdr, packet: bytes, layer: Layer) -> bytes:
    """The frame of a packet as it was read. What its flags cannot mean is left as it is."""
    flags = header.th_flags
    if flags & TUN_H_VTAG:
        packet = packet[:12] + b"\x81\x00" + header.th_vtag.to_bytes(2, "big") + packet[12:]
    found = find_ip(packet, layer)
    if found is None:
        return NO_OFFLOAD + packet
    version, ip = found
    try:
        if flags & TUN_H_IPV4_CSUM and version == 4:
            packet = _with_header_checksum(packet, ip)
        protocol, transport = find_transport(packet, version, ip)
        if not flags & CHECKSUMS.get(protocol, 0):
            return NO_OFFLOAD + packet
        offset = CHECKSUM_OFFSET.get(protocol, ICMP_CHECKSUM)
        partial = 0
        if protocol != 1:  # ICMP's own covers no pseudo-header
            addresses = packet[ip + IP_SIZE[version] - ADDRESSES_SIZE[version] :][
                : ADDRESSES_SIZE[version]
            ]
            partial = pseudo_header_sum(addresses, protocol, len(packet) - transport)
        field = transport + offset
        packet = packet[:field] + partial.to_bytes(2, "big") + packet[field + 2 :]
        if flags & TUN_H_TCP_MSS and protocol == TCP:
            return _super_packet(packet, version, transport, header.th_mss)
        if protocol not in CHECKSUM_OFFSET:
            return NO_OFFLOAD + complete_checksum(packet, transport, offset)
    except OffloadError:
        return NO_OFFLOAD + packet
    need = VirtioNetHeader(VirtioNetHeader.NEEDS_CSUM, csum_start=transport, csum_offset=offset)
    return need.pack() + packet


def _super_packet(packet: bytes, version: int, transport: int, mss: int) -> bytes:
    payload = find_payload(packet, TCP, transport)
    kind = VirtioNetHeader.GSO_TCPV4 if version == 4 else VirtioNetHeader.GSO_TCPV6
    if packet[transport + 13] & CWR:
        kind |= VirtioNetHeader.GSO_ECN
    if len(packet) - payload <= mss:
        kind = mss = 0
    start, offset = transport, CHECKSUM_OFFSET[TCP]
    need = VirtioNetHeader.NEEDS_CSUM
    return VirtioNetHeader(need, kind, payload, mss, start, offset).pack() + packet


def _with_header_checksum(packet: bytes, ip: int) -> bytes:
    size = (packet[ip] & 0x0F) * 4
    header = packet[ip : ip + 10] + bytes(2) + packet[ip + 12 : ip + size]
    sum_ = checksum(header).to_bytes(2, "big")
    return packet[: ip + 10] + sum_ + packet[ip + 12 :]


def from_virtio(frame: bytes) -> tuple[tun_hdr, bytes]:
    """What to write for a frame: TCP is cut by the kernel, and it makes TCP's and UDP's sums.

    A checksum of something else is made here. Raises `OffloadError` for a header that lies.
    """
    header, packet = VirtioNetHeader.unpack(frame), frame[VirtioNetHeader.SIZE :]
    if header.is_tcp:
        return tun_hdr(TUN_H_TCP_MSS | TUN_H_TCP_CSUM, 0, 0, header.gso_size), packet
    if header.flags & VirtioNetHeader.NEEDS_CSUM:
        packet = complete_checksum(packet, header.csum_start, header.csum_offset)
    return tun_hdr(), packet
