"""gso_split: a super-packet as the packets that the kernel would send for it."""

from __future__ import annotations

from struct import pack_into
from typing import TYPE_CHECKING

from .checksum import checksum, complete_checksum, partial_sum, pseudo_header_sum
from .headers import ADDRESSES_SIZE, CHECKSUM_OFFSET, CWR, FIN, IP_SIZE, PSH, TCP, UDP, check_layer
from .virtio import Layout, VirtioNetHeader

if TYPE_CHECKING:
    from ..config import Layer

__all__ = ["gso_split"]


def gso_split(frame: bytes, layer: Layer = "tun") -> list[bytes]:
    """Split a frame (virtio_net_hdr and packet, as read from a device) into its packets.

    Each packet is complete, its checksums too, and has at most the headers and
    gso_size bytes. A frame that is not to be segmented gives its one packet, with
    its partial checksum completed. Segments are made as tcp_gso_segment,
    __udp_gso_segment and inet_gso_segment in the kernel make them. Raises
    `OffloadError` for a frame whose headers contradict its bytes or that would
    make more than 4 MiB, `TypeError` for a frame that is not bytes, and `ValueError` for
    what is no layer.
    """
    if not isinstance(frame, bytes):
        raise TypeError(f"a frame is bytes, not {type(frame).__name__}")
    check_layer(layer)
    header = VirtioNetHeader.unpack(frame)
    packet = frame[VirtioNetHeader.SIZE :]
    if header.gso_type:
        layout = header.layout(packet, layer)
        if len(packet) - layout.payload > header.gso_size:
            return _segments(packet, layout, header)
    if header.flags & header.NEEDS_CSUM:
        packet = complete_checksum(packet, header.csum_start, header.csum_offset)
    return [packet]


def _segments(packet: bytes, layout: Layout, header: VirtioNetHeader) -> list[bytes]:
    version, protocol, ip, transport, payload = layout
    field = transport + CHECKSUM_OFFSET[protocol]
    pseudo = _pseudo_header_sum(packet, layout, header)
    identification = int.from_bytes(packet[ip + 4 : ip + 6], "big")  # IPv4
    sequence = int.from_bytes(packet[transport + 4 : transport + 8], "big")  # TCP
    segments: list[bytes] = []
    head = bytearray(packet[:payload])  # of one segment after the other
    for start in range(payload, len(packet), header.gso_size):
        data = packet[start : start + header.gso_size]
        length = payload - transport + len(data)
        if version == 4:
            pack_into("!HH", head, ip + 2, transport - ip + length, identification)
            pack_into("!H", head, ip + 10, 0)
            pack_into("!H", head, ip + 10, checksum(head[ip:transport]))
            identification = (identification + 1) & 0xFFFF
        else:
            pack_into("!H", head, ip + 4, transport - ip - IP_SIZE[6] + length)
        if protocol == TCP:
            flags = packet[transport + 13]
            if start > payload:
                flags &= ~CWR  # belongs to the first segment
            if start + len(data) < len(packet):
                flags &= ~(FIN | PSH)  # belong to the last one
            head[transport + 13] = flags
            pack_into("!I", head, transport + 4, sequence)
            sequence = (sequence + len(data)) & 0xFFFFFFFF
        else:
            pack_into("!H", head, transport + 4, length)
        pack_into("!H", head, field, 0)
        value = checksum(data, partial_sum(head[transport:], pseudo + length))
        if protocol == UDP:
            value = value or 0xFFFF  # zero means "no checksum" (RFC 768)
        pack_into("!H", head, field, value)
        segments.append(b"".join((head, data)))
    return segments


def _pseudo_header_sum(packet: bytes, layout: Layout, header: VirtioNetHeader) -> int:
    """The sum of the pseudo-header, its length left out."""
    version, protocol, ip, transport, _ = layout
    if layout.has_extensions and header.flags & header.NEEDS_CSUM:
        # Made of the final destination (RFC 8200 section 8.1), which a routing
        # header has and the partial checksum contains.
        field = transport + CHECKSUM_OFFSET[protocol]
        length = len(packet) - transport
        return partial_sum(packet[field : field + 2], length ^ 0xFFFF)
    addresses = ip + IP_SIZE[version] - ADDRESSES_SIZE[version]
    return pseudo_header_sum(packet[addresses : ip + IP_SIZE[version]], protocol, 0)
