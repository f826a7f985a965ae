"""VirtioNetHeader: what the kernel says about a packet, and wants to know (linux/virtio_net.h)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from ..errors import FrameHeaderError, FrameTooShortError
from .headers import (
    CHECKSUM_OFFSET,
    IP_SIZE,
    PACKET_MAX,
    TCP,
    TRANSPORT_SIZE,
    UDP,
    check_layer,
    find_ip,
    find_payload,
    find_transport,
)

if TYPE_CHECKING:
    from ..config import Layer

__all__ = ["GSO_TYPE", "NO_OFFLOAD", "Layout", "VirtioNetHeader"]


class Layout(NamedTuple):
    """Where the headers of a super-packet begin, as offsets into the packet."""

    version: int
    """4 or 6."""
    protocol: int
    """6 for TCP, 17 for UDP."""
    ip: int
    transport: int
    payload: int

    @property
    def has_extensions(self) -> bool:
        """Whether IPv6 extension headers stand before the transport header."""
        return self.version == 6 and self.transport > self.ip + IP_SIZE[6]


class _Fields(NamedTuple):
    flags: int = 0
    """`NEEDS_CSUM`: the packet's checksum is partial, to be completed when it is segmented."""
    gso_type: int = 0
    """`GSO_NONE`, or what to segment by; with the bit `GSO_ECN` TCP with CWR set."""
    hdr_len: int = 0
    """Bytes of all headers; a hint."""
    gso_size: int = 0
    """Bytes of payload in each segment, the last one may have fewer."""
    csum_start: int = 0
    """Offset into the packet from which the checksum is taken."""
    csum_offset: int = 0
    """Where the checksum stands, counted from `csum_start`."""


class VirtioNetHeader(_Fields):
    """The `virtio_net_hdr` before each packet of a device with IFF_VNET_HDR.

    10 bytes in the byte order of the machine: TUN's default, as no `TUNSETVNETLE`
    or `TUNSETVNETBE` is asked for.
    """

    __slots__ = ()

    SIZE: Final = 10

    NEEDS_CSUM: Final = 1
    DATA_VALID: Final = 2
    RSC_INFO: Final = 4

    GSO_NONE: Final = 0
    GSO_TCPV4: Final = 1
    GSO_UDP: Final = 3
    """IP fragmentation of UDP: read from no device that did not ask for it, and not supported."""
    GSO_TCPV6: Final = 4
    GSO_UDP_L4: Final = 5
    GSO_ECN: Final = 0x80

    @classmethod
    def unpack(cls, frame: bytes) -> VirtioNetHeader:
        """The header that a frame begins with. Raises `FrameTooShortError`."""
        if len(frame) < cls.SIZE:
            raise FrameTooShortError(
                f"a frame of {len(frame)} bytes is too short for its virtio_net_hdr of {cls.SIZE}"
            )
        return cls(*_STRUCT.unpack_from(frame))

    def pack(self) -> bytes:
        """The 10 bytes to put before the packet. Raises `struct.error` if a field is too large."""
        return _STRUCT.pack(*self)

    @property
    def is_tcp(self) -> bool:
        """Whether the packet is to be segmented as TCP."""
        return self.gso_type & ~self.GSO_ECN in (self.GSO_TCPV4, self.GSO_TCPV6)

    @property
    def is_udp(self) -> bool:
        """Whether the packet is to be segmented as UDP."""
        return self.gso_type == self.GSO_UDP_L4

    def check(self, packet: bytes, layer: Layer = "tun") -> Layout | None:
        """Raise `OffloadError` unless a device would take the packet behind this header.

        To be called before a header that is not one's own is written: what the
        kernel does not refuse (EINVAL) it may drop without an error. Returns where
        the headers of a packet to be segmented are, and None for any other packet.
        """
        layout = None
        if self.gso_type == self.GSO_NONE:
            self._check_hdr_len(packet)
        else:
            layout = self.layout(packet, layer)
            if len(packet) - layout.ip > PACKET_MAX:
                raise FrameHeaderError(
                    f"the packet has {len(packet) - layout.ip} bytes, {PACKET_MAX} are possible"
                )
            # virtio_net_hdr_to_skb counts TCP's options as payload when it asks
            # whether there is something to segment, tcp_gso_segment does not and
            # drops the packet.
            behind = len(packet) - layout.transport - TRANSPORT_SIZE[layout.protocol]
            if len(packet) - layout.payload <= self.gso_size < behind:
                raise FrameHeaderError(
                    f"gso_size {self.gso_size} leaves nothing to segment, except if TCP's "
                    f"options are counted: make gso_type {self.GSO_NONE}"
                )
        if self.flags & self.NEEDS_CSUM and not (
            CSUM_START_MIN <= self.csum_start <= len(packet) - self.csum_offset - 2
        ):
            raise FrameHeaderError(
                f"csum_start {self.csum_start} and csum_offset {self.csum_offset} do not point "
                f"behind the IP header and into the packet, which has {len(packet)} bytes"
            )
        return layout

    def layout(self, packet: bytes, layer: Layer = "tun") -> Layout:
        """Where the headers of a packet to be segmented are.

        Raises `OffloadError` if they and this header do not fit each other: what
        segmentation demands (include/linux/virtio_net.h, net/ipv4/tcp_offload.c,
        net/ipv4/udp_offload.c), and that lengths say what is there.
        """
        check_layer(layer)
        self._check_hdr_len(packet)
        found = find_ip(packet, layer)
        if found is None:
            raise FrameHeaderError("the packet is to be segmented and has no IP header")
        version, ip = found
        protocol, transport = find_transport(packet, version, ip)
        gso_type = self.gso_type & ~self.GSO_ECN if protocol == TCP else self.gso_type
        if gso_type != GSO_TYPE.get((version, protocol)):
            raise FrameHeaderError(
                f"gso_type {self.gso_type:#04x} does not fit IPv{version} and protocol {protocol}"
            )
        layout = Layout(version, protocol, ip, transport, find_payload(packet, protocol, transport))
        self._check_segmentation(packet, layout)
        return layout

    def _check_segmentation(self, packet: bytes, layout: Layout) -> None:
        if not 0 < self.gso_size < GSO_BY_FRAGS:
            raise FrameHeaderError(f"gso_size {self.gso_size} is not possible")
        if self.flags & self.NEEDS_CSUM:
            checksum = layout.transport, CHECKSUM_OFFSET[layout.protocol]
            if (self.csum_start, self.csum_offset) != checksum:
                raise FrameHeaderError(
                    f"csum_start {self.csum_start} and csum_offset {self.csum_offset} do not "
                    f"point to the checksum of the transport header at {layout.transport}"
                )
        elif layout.protocol == UDP:
            raise FrameHeaderError("UDP to be segmented needs the flag NEEDS_CSUM")
        payload = len(packet) - layout.payload
        segments = -(-payload // self.gso_size)
        if layout.protocol == UDP and segments > UDP_SEGMENTS_MAX:
            raise FrameHeaderError(
                f"{payload} bytes of UDP payload make {segments} segments of {self.gso_size}, "
                f"{UDP_SEGMENTS_MAX} are possible"
            )
        size = payload + segments * layout.payload
        if size > SPLIT_MAX:
            raise FrameHeaderError(
                f"segments of {self.gso_size} bytes behind headers of {layout.payload} make "
                f"{size} bytes, {SPLIT_MAX} are possible"
            )

    def _check_hdr_len(self, packet: bytes) -> None:
        if self.hdr_len > len(packet):
            raise FrameHeaderError(
                f"hdr_len {self.hdr_len} lies outside the packet, which has {len(packet)} bytes"
            )


NO_OFFLOAD = bytes(VirtioNetHeader.SIZE)
"""The header of a packet that is complete and wants nothing done."""

GSO_TYPE = {
    (4, TCP): VirtioNetHeader.GSO_TCPV4,
    (6, TCP): VirtioNetHeader.GSO_TCPV6,
    (4, UDP): VirtioNetHeader.GSO_UDP_L4,
    (6, UDP): VirtioNetHeader.GSO_UDP_L4,
}
"""By IP version and protocol."""

GSO_BY_FRAGS = 0xFFFF
"""include/linux/skbuff.h: a gso_size with a meaning inside the kernel, refused from outside."""

CSUM_START_MIN = 20
"""The kernel wants an IPv4 header before it, at least."""

UDP_SEGMENTS_MAX = 128
"""UDP_MAX_SEGMENTS in include/linux/udp.h; 64 before Linux 6.10."""

SPLIT_MAX = 4 << 20
"""Bytes of all segments of one packet. TCP makes a fifth of it at most: TCP_MIN_SND_MSS in
include/net/tcp.h leaves 8 bytes of payload in each. Without a limit, long extension headers
would make a gigabyte of 64 KiB."""

_STRUCT = struct.Struct("=BBHHHH")
