"""GROTable: packets of one flow as one super-packet (GRO, for packets going to the kernel)."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from .checksum import checksum, partial_sum, pseudo_header_sum
from .headers import (
    ADDRESSES_SIZE,
    CHECKSUM_OFFSET,
    CWR,
    FIN,
    IP_SIZE,
    IPV6_EXTENSIONS,
    PACKET_MAX,
    PSH,
    RST,
    SYN,
    TCP,
    TRANSPORT_SIZE,
    UDP,
    URG,
    check_layer,
    find_ip,
)
from .virtio import GSO_TYPE, NO_OFFLOAD, VirtioNetHeader

if TYPE_CHECKING:
    from ..config import Layer

__all__ = ["BATCH", "SEGMENTS_MAX", "GROTable", "is_candidate"]

BATCH = 128
"""How many packets to gather before they are coalesced: two full super-packets."""

SEGMENTS_MAX = 64
"""UDP_GRO_CNT_MAX in net/ipv4/udp_offload.c, and what older kernels take of UDP at most.
Of TCP the kernel coalesces more, if the segments have less than 1 KiB."""

IPV6_FRAGMENT = 44
"""The fragment header (RFC 8200 section 4.5)."""

HEADERS_MAX = 0xFFFF
"""What the field hdr_len of the virtio_net_hdr can say."""

IPV4_NO_OPTIONS = 0x45
DF = 0x4000
FRAGMENT = 0x3FFF  # more fragments, or an offset

# What is equal in all packets of a run: every bit that segmentation does not
# make anew (inet_gro_receive in net/ipv4/af_inet.c, ipv6_gro_receive in
# net/ipv6/ip6_offload.c, tcp_gro_receive in net/ipv4/tcp_offload.c).
_IPV4 = "ffff 0000 0000 ffff ffff 0000 ffffffff ffffffff"  # not: length, ID, checksum
_IPV6 = "ffffffff 0000 ffff" + "ffffffff" * 8  # not: length
_TCP = "ffffffff 00000000 ffffffff fff6 ffff 0000 ffff"  # not: sequence, PSH, FIN, checksum
_UDP = "ffffffff 0000 0000"  # not: length, checksum
_SAME = {
    (version, protocol): int.from_bytes(bytes.fromhex(ip + transport), "big")
    for version, ip in ((4, _IPV4), (6, _IPV6))
    for protocol, transport in ((TCP, _TCP), (UDP, _UDP))
}

_IPV4_LENGTH_ID_FRAGMENT = struct.Struct("!HHH")  # from byte 2 on
_TCP_SEQUENCE_OFFSET_FLAGS = struct.Struct("!I4xBB")  # from byte 4 on
_UDP_LENGTH_CHECKSUM = struct.Struct("!HH")  # from byte 4 on


class GROTable:
    """Coalesces packets by the rules of the kernel's own GRO.

    `tcp` and `udp` say what is coalesced at all; they may be changed at any time. So may
    `udp_zero_checksum`: whether UDP over IPv4 without a checksum (a field of 0, RFC 768) is
    coalesced too, among itself. It has checksums once it was segmented again; the kernel's
    own GRO leaves it alone. Raises `ValueError` for what is no layer.
    """

    def __init__(
        self,
        layer: Layer = "tun",
        tcp: bool = True,
        udp: bool = True,
        udp_zero_checksum: bool = False,
    ) -> None:
        check_layer(layer)
        self.layer: Final = layer
        self.tcp = tcp
        self.udp = udp
        self.udp_zero_checksum = udp_zero_checksum

    def coalesce(self, packets: Iterable[bytes], /) -> list[bytes]:
        """Frames (virtio_net_hdr and packet each) that stand for the packets, in writing order.

        TCP segments in sequence and UDP datagrams of one size are merged, once
        their checksums were verified: 64 at most, and 65,535 bytes from the IP
        header on. A merged frame stands where its first packet stood, and no
        packet overtakes another of its flow (of the same link and IP addresses,
        protocol and ports). What is not merged comes as it went in, behind a
        header of zeros, whatever it is: no `bytes` make this raise. Raises
        `TypeError` for what is not bytes. Nothing is kept from one call to the next.
        """
        frames: list[_Run | bytes] = []
        # By hosts, then by protocol and ports: the run that the flow's last packet
        # is in, None if it is in none.
        flows: dict[bytes, dict[tuple[int, bytes], _Run | None]] = {}
        for packet in packets:
            run = None
            flow = _find_flow(packet, self.layer)
            if flow is not None and not flow.ports:
                flows.pop(flow.hosts, None)  # it may belong to any of them
            elif flow is not None:
                if self.tcp if flow.protocol == TCP else self.udp:
                    run = _Run.start(packet, flow, self.udp_zero_checksum)
                runs = flows.setdefault(flow.hosts, {})
                key = flow.protocol, flow.ports
                last = runs.get(key)
                if run is not None and last is not None and last.merge(run):
                    continue
                runs[key] = run
            frames.append(NO_OFFLOAD + packet if run is None else run)
        return [frame if isinstance(frame, bytes) else frame.frame() for frame in frames]


def is_candidate(packet: bytes, layer: Layer = "tun", udp_zero_checksum: bool = False) -> bool:
    """Whether a `GROTable` would merge the packet with others that fit it.

    It is plain TCP or UDP with payload: no IPv4 options, IPv6 extension headers,
    fragment or trailing bytes; checksums there and right; no SYN, RST, URG or CWR.
    With `udp_zero_checksum` that of UDP over IPv4 need not be there.
    """
    flow = _find_flow(packet, layer)
    if flow is None or not flow.ports:
        return False
    run = _Run.start(packet, flow, udp_zero_checksum)
    return run is not None and run.is_sound()


class _Flow(NamedTuple):
    """The flow of a packet, and where its headers are."""

    version: int
    protocol: int
    ip: int
    transport: int
    hosts: bytes
    """IP addresses, and for TAP the Ethernet header."""
    ports: bytes
    """Empty if they are not in sight."""


def _find_flow(packet: bytes, layer: Layer) -> _Flow | None:
    """The flow of a packet; None unless it is TCP or UDP. Raises `TypeError` unless it is bytes."""
    if not isinstance(packet, bytes):
        raise TypeError(f"a packet is bytes, not {type(packet).__name__}")
    found = find_ip(packet, layer)
    if found is None:
        return None
    version, ip = found
    if version == 4:
        protocol = packet[ip + 9]
        transport = ip + (packet[ip] & 0x0F) * 4
        in_sight = not int.from_bytes(packet[ip + 6 : ip + 8], "big") & FRAGMENT
        addresses = packet[ip + 12 : ip + 20]
    else:
        protocol = packet[ip + 6]
        transport = ip + 40
        in_sight = protocol not in IPV6_EXTENSIONS and protocol != IPV6_FRAGMENT
        addresses = packet[ip + 8 : transport]
    if in_sight and protocol not in (TCP, UDP):
        return None
    ports = packet[transport : transport + 4] if in_sight else b""
    return _Flow(version, protocol, ip, transport, packet[:ip] + addresses, ports)


class _Run:
    """Packets of one flow, each continuing the one before it: what leaves as one frame."""

    __slots__ = (
        "closed",
        "flow",
        "identification",
        "length",
        "next_sequence",
        "packets",
        "payload",
        "same",
        "sequence",
        "size",
        "steps",
    )

    def __init__(
        self,
        packet: bytes,
        flow: _Flow,
        payload: int,
        sequence: int,
        identification: int,
        steps: tuple[int, ...],
        closed: bool,
    ) -> None:
        self.packets = [packet]
        self.flow = flow
        self.payload = payload  # its offset
        self.size = len(packet) - payload  # of the first packet's payload
        self.length = len(packet) - flow.ip  # of all in one, from the IP header on
        self.sequence = sequence
        self.next_sequence = (sequence + self.size) & 0xFFFFFFFF if flow.protocol == TCP else 0
        self.identification = identification  # of the last packet
        self.steps = steps  # by which the next packet's may be higher
        self.closed = closed
        fixed = flow.transport + TRANSPORT_SIZE[flow.protocol]
        header = int.from_bytes(packet[flow.ip : fixed], "big")
        options = packet[fixed:payload]
        self.same = header & _SAME[flow.version, flow.protocol], options, self._is_unsummed()

    @classmethod
    def start(cls, packet: bytes, flow: _Flow, udp_zero_checksum: bool) -> _Run | None:
        """A run of one packet, its checksums not verified yet; None if GRO leaves it alone."""
        version, protocol, ip, transport, _, _ = flow
        identification = 0
        steps: tuple[int, ...] = (0,)
        if version == 4:
            length, identification, fragment = _IPV4_LENGTH_ID_FRAGMENT.unpack_from(packet, ip + 2)
            if packet[ip] != IPV4_NO_OPTIONS or fragment & ~DF:
                return None
            # Segmentation counts the identification up. The virtio_net_hdr cannot
            # say that it stays, but it means nothing with DF set (RFC 6864 section
            # 4.1), and Linux' UDP leaves it at 0. TCP with such IDs is not merged:
            # the kernel's GRO takes it apart again before a device like this one.
            steps = (0, 1) if protocol == UDP and fragment else (1,)
        else:
            length = IP_SIZE[6] + int.from_bytes(packet[ip + 4 : ip + 6], "big")
        payload = transport + TRANSPORT_SIZE[protocol]
        if ip + length != len(packet) or payload >= len(packet):
            return None
        sequence = 0
        closed = False
        if protocol == TCP:
            sequence, offset, flags = _TCP_SEQUENCE_OFFSET_FLAGS.unpack_from(packet, transport + 4)
            payload = transport + (offset >> 4) * 4
            closed = bool(flags & (FIN | PSH))
            if flags & (SYN | RST | URG | CWR):
                return None
            if not transport + TRANSPORT_SIZE[TCP] <= payload < len(packet):
                return None
        else:
            udp_length, udp_checksum = _UDP_LENGTH_CHECKSUM.unpack_from(packet, transport + 4)
            if transport + udp_length != len(packet):
                return None
            if not udp_checksum and not (udp_zero_checksum and version == 4):
                return None
        if payload > HEADERS_MAX:
            return None
        return cls(packet, flow, payload, sequence, identification, steps, closed)

    def merge(self, other: _Run) -> bool:
        """Add the packet of a run of one if it continues this run; whether it does."""
        step = (other.identification - self.identification) & 0xFFFF
        if (
            self.closed
            or other.same != self.same
            or other.sequence != self.next_sequence
            or other.size > self.size
            or self.length + other.size > PACKET_MAX
            or step not in self.steps
            or not (self.is_sound() and other.is_sound())
        ):
            return False
        self.packets += other.packets
        self.length += other.size
        self.next_sequence = other.next_sequence
        self.identification = other.identification
        self.steps = (step,)
        self.closed = other.closed or other.size < self.size or len(self.packets) == SEGMENTS_MAX
        return True

    def _is_unsummed(self) -> bool:
        """Whether the packets have no checksum but that of the IPv4 header."""
        field = self.flow.transport + CHECKSUM_OFFSET[UDP]
        return self.flow.protocol == UDP and self.packets[0][field : field + 2] == b"\0\0"

    def is_sound(self) -> bool:
        """Whether all checksums are right that are there.

        They must also be written as segmentation writes them, which gives 0 for
        a sum that RFC 1071 can express as 0xFFFF as well.
        """
        if len(self.packets) > 1:
            return True  # `merge` saw to that
        (packet,) = self.packets
        version, protocol, ip, transport, _, _ = self.flow
        if version == 4 and (
            partial_sum(packet[ip:transport]) != 0xFFFF or packet[ip + 10 : ip + 12] == b"\xff\xff"
        ):
            return False
        if self._is_unsummed():
            return True
        field = transport + CHECKSUM_OFFSET[protocol]
        if protocol == TCP and packet[field : field + 2] == b"\xff\xff":
            return False
        summed = packet[transport - ADDRESSES_SIZE[version] :]
        return partial_sum(summed, protocol + len(packet) - transport) == 0xFFFF

    def frame(self) -> bytes:
        """The virtio_net_hdr and the packets as one; a single packet as it came."""
        packet = self.packets[0]
        if len(self.packets) == 1:
            return NO_OFFLOAD + packet
        version, protocol, ip, transport, _, _ = self.flow
        head = bytearray(packet[: self.payload])
        if version == 4:
            head[ip + 2 : ip + 4] = self.length.to_bytes(2, "big")
            head[ip + 10 : ip + 12] = bytes(2)
            head[ip + 10 : ip + 12] = checksum(head[ip:transport]).to_bytes(2, "big")
        else:
            head[ip + 4 : ip + 6] = (self.length - IP_SIZE[6]).to_bytes(2, "big")
        length = ip + self.length - transport
        if protocol == TCP:
            head[transport + 13] = self.packets[-1][transport + 13]  # its FIN and PSH
        else:
            head[transport + 4 : transport + 6] = length.to_bytes(2, "big")
        addresses = packet[transport - ADDRESSES_SIZE[version] : transport]
        field = transport + CHECKSUM_OFFSET[protocol]
        head[field : field + 2] = pseudo_header_sum(addresses, protocol, length).to_bytes(2, "big")
        header = VirtioNetHeader(
            flags=VirtioNetHeader.NEEDS_CSUM,
            gso_type=GSO_TYPE[version, protocol],
            hdr_len=self.payload,
            gso_size=self.size,
            csum_start=transport,
            csum_offset=CHECKSUM_OFFSET[protocol],
        )
        payloads = [packet[self.payload :] for packet in self.packets]
        return b"".join([header.pack(), head, *payloads])
