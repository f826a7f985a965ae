"""The kernel as an oracle for `gso_split`: it segments what is written to an offload device."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from hypothesis import assume, given
from implementations import Implementation
from kernel import RawDevice, forwarded, is_test_packet, kernel_path, with_kernel
from packets import (
    ACK,
    NEEDS_CSUM,
    RST,
    SYN,
    TCPV4,
    TCPV6,
    UDP_L4,
    find_transport,
    icmp_echo,
    super_packet,
    tcp,
    udp,
    unsummed,
)
from strategies import super_frames

from aiotun.config import Layer
from aiotun.errors import OffloadError
from aiotun.offload import NO_OFFLOAD, VirtioNetHeader
from aiotun.probes import probe


def through_kernel(
    devices: tuple[RawDevice, RawDevice],
    frame: bytes,
    enough: Callable[[list[bytes]], bool],
    wanted: Callable[[bytes], bool] = is_test_packet,
) -> list[bytes]:
    """What leaves the second device when the frame was written to the first."""
    first, second = devices
    first.write(frame)
    return second.read_until(enough, wanted, timeout=1.0)


class Segmentation(NamedTuple):
    """What this kernel makes segments of."""

    udp: bool
    """Linux before 6.2 refuses it."""
    least: int
    """The smallest gso_size: 8 is taken for all below since Linux 6.12, and before for none."""
    extensions: bool
    """Whether TCP passes behind IPv6 destination options: mostly not since Linux 6.12."""

    def is_for(self, frame: bytes, layer: Layer = "tun") -> bool:
        """Whether the kernel takes the frame, and makes of it what its header says."""
        header = VirtioNetHeader.unpack(frame)
        try:
            layout = header.check(frame[10:], layer)
        except OffloadError:
            return False
        if layout is None:
            return True
        if header.is_udp:
            return self.udp and header.gso_size >= self.least
        return header.gso_size >= self.least and (self.extensions or not layout.has_extensions)


@pytest.fixture(scope="module")
def segmentation(route: tuple[RawDevice, RawDevice]) -> Segmentation:
    def segments(packet: bytes, gso_size: int) -> int:
        frame = super_packet(packet, gso_size)
        return len(through_kernel(route, frame, lambda packets: len(packets) == 16))

    return Segmentation(
        udp=probe("uso").available,
        least=16 // segments(tcp(4, bytes(16)), 1),
        extensions=segments(tcp(6, bytes(1600), extensions=DESTINATION), 100) == 16,
    )


def as_many_as(expected: list[bytes]) -> Callable[[list[bytes]], bool]:
    return lambda packets: len(packets) >= len(expected)


def test_routed_super_packets_come_out_as_split(
    offload_impl: Implementation, segmentation: Segmentation
) -> None:
    with kernel_path(mtu=65535) as (first, second, _):

        @with_kernel(max_examples=400)
        @given(frame=super_frames())
        def check(frame: bytes) -> None:
            assume(segmentation.is_for(frame))
            expected = [forwarded(packet) for packet in offload_impl.gso_split(frame)]
            assert through_kernel((first, second), frame, as_many_as(expected)) == expected

        check()
        assert second.read_until(bool, is_test_packet, timeout=0.01) == []


def test_bridged_super_packets_come_out_as_split(
    offload_impl: Implementation, segmentation: Segmentation
) -> None:
    def ours(frame: bytes) -> bool:
        return frame[6:12] == b"\x02\0\0\0\0\x01"

    with kernel_path("tap", mtu=9000) as (first, second, _):

        @with_kernel(max_examples=150)
        @given(frame=super_frames("tap"))
        def check(frame: bytes) -> None:
            assume(segmentation.is_for(frame, "tap"))
            expected = offload_impl.gso_split(frame, "tap")
            assert through_kernel((first, second), frame, as_many_as(expected), ours) == expected

        check()


@pytest.mark.requires("uso")
def test_udp_coalesced_without_checksums_leaves_the_kernel_with_them(
    offload_impl: Implementation, route: tuple[RawDevice, RawDevice]
) -> None:
    """It takes what stands in the field for the pseudo-header's sum, even 0."""
    summed = [udp(4, bytes([n]) * 1000, identification=n) for n in range(20)]
    table = offload_impl.GROTable(udp_zero_checksum=True)
    (frame,) = table.coalesce(map(unsummed, summed))
    delivered = through_kernel(route, frame, as_many_as(summed))
    assert delivered == [forwarded(packet) for packet in summed]


def gso(packet: bytes, gso_size: int = 1000, **changes: int) -> bytes:
    """A super-packet with fields of its header changed."""
    frame = super_packet(packet, gso_size)
    return VirtioNetHeader.unpack(frame)._replace(**changes).pack() + frame[10:]


def patched(frame: bytes, offset: int, data: bytes) -> bytes:
    """The frame with bytes of its packet changed."""
    offset += len(NO_OFFLOAD)
    return frame[:offset] + data + frame[offset + len(data) :]


def plain(packet: bytes, **fields: int) -> bytes:
    return VirtioNetHeader(**fields).pack() + packet


def tcp_with_sum_zero(version: int, payload: bytes, partial: bool) -> bytes:
    """A TCP packet whose checksum is 0: the urgent pointer makes up for the rest."""
    full = tcp(version, payload)
    field = find_transport(full)[1] + 16
    urgent = int.from_bytes(full[field : field + 2], "big")
    full = tcp(version, payload, urgent=urgent)
    assert full[field : field + 2] == b"\0\0"
    if not partial:
        return full
    return super_packet(full, 1)[10:]


TCP4, TCP6 = tcp(4, bytes(3000)), tcp(6, bytes(3000))
UDP4, UDP6 = udp(4, bytes(3000)), udp(6, bytes(3000))
OPTIONS = b"\x01" * 12
DESTINATION = [(60, b"\x01\x04\0\0\0\0")]
HOP_BY_HOP = [(0, b"\x01\x04\0\0\0\0")]
ROUTING = [(43, b"\x04\x01\0\0\0\0" + bytes(16))]  # one segment left

LOST = "lost"  # neither refused nor delivered

# What is written, what the kernel does with it (the number of packets, an error,
# or nothing), and what our check has against it (None: nothing).
EDGES: dict[str, tuple[bytes, int | str, str | None]] = {
    "TCP over IPv4": (gso(TCP4), 3, None),
    "TCP over IPv6": (gso(TCP6), 3, None),
    "UDP over IPv4": (gso(UDP4), 3, None),
    "UDP over IPv6": (gso(UDP6), 3, None),
    "payload of gso_size": (gso(tcp(4, bytes(1000))), 1, None),
    "payload shorter than gso_size": (gso(tcp(4, bytes(999))), 1, None),
    "UDP payload shorter than gso_size": (gso(udp(4, bytes(999))), 1, None),
    "no payload": (gso(tcp(4)), 1, None),
    "TCP options, payload longer than gso_size": (
        gso(tcp(4, bytes(1001), tcp_options=OPTIONS)),
        2,
        None,
    ),
    "TCP options, payload of gso_size": (
        gso(tcp(4, bytes(1000), tcp_options=OPTIONS)),
        LOST,
        "nothing to segment",
    ),
    "TCP options, payload and options of gso_size": (
        gso(tcp(4, bytes(988), tcp_options=OPTIONS)),
        1,
        None,
    ),
    "TCP options alone, more than gso_size": (
        gso(tcp(4, tcp_options=OPTIONS), 4),
        LOST,
        "nothing to segment",
    ),
    "gso_size 1": (gso(tcp(4, bytes(100)), 1), 100, None),
    "gso_size 0": (gso(TCP4, gso_size=0), "EINVAL", "gso_size"),
    "gso_size 65535": (gso(TCP4, gso_size=0xFFFF), "EINVAL", "gso_size"),
    "128 segments of UDP": (gso(udp(4, bytes(1280)), 10), 128, None),
    "129 segments of UDP": (gso(udp(4, bytes(1281)), 10), "EINVAL", "128 are possible"),
    "hdr_len 0": (gso(TCP4, hdr_len=0), 3, None),
    "hdr_len of the whole packet": (gso(TCP4, hdr_len=3040), 3, None),
    "hdr_len beyond the packet": (gso(TCP4, hdr_len=3041), "EINVAL", "hdr_len"),
    "ECN with TCP": (gso(TCP4, gso_type=TCPV4 | 0x80), 3, None),
    "ECN with UDP": (gso(UDP4, gso_type=UDP_L4 | 0x80), "EINVAL", "gso_type"),
    "ECN alone": (gso(TCP4, gso_type=0x80), "EINVAL", "gso_type"),
    "unknown gso_type": (gso(TCP4, gso_type=2), "EINVAL", "gso_type"),
    "IPv6 type, IPv4 packet": (gso(TCP4, gso_type=TCPV6), "EINVAL", "gso_type"),
    "IPv4 type, IPv6 packet": (gso(TCP6, gso_type=TCPV4), LOST, "gso_type"),
    "UDP type, TCP packet": (gso(TCP4, gso_type=UDP_L4), "EINVAL", "gso_type"),
    "TCP type, UDP packet": (gso(UDP4, gso_type=TCPV4), "EINVAL", "gso_type"),
    "UDP fragmentation": (gso(UDP4, gso_type=3), 4, "gso_type"),
    "ICMP": (gso(TCP4)[:10] + icmp_echo(4, bytes(3000)), LOST, "gso_type"),
    "TCP without NEEDS_CSUM": (gso(TCP4, flags=0), 3, None),
    "TCP over IPv6 without NEEDS_CSUM": (gso(TCP6, flags=0), 3, None),
    "UDP without NEEDS_CSUM": (gso(UDP4, flags=0), "EINVAL", "NEEDS_CSUM"),
    "all flags": (gso(TCP4, flags=0xFF), 3, None),
    "csum_start wrong": (gso(TCP4, csum_start=22), LOST, "csum_start"),
    "csum_start beyond the packet": (gso(TCP4, csum_start=3040), "EINVAL", "csum_start"),
    "csum_offset wrong": (gso(TCP4, csum_offset=6), "EINVAL", "csum_offset"),
    "IPv4 of 65535 bytes": (gso(tcp(4, bytes(65535 - 40)), 1400), 47, None),
    "IPv6 of 65535 bytes": (gso(tcp(6, bytes(65535 - 60)), 1400), 47, None),
    "IPv6 of 65536 bytes": (gso(tcp(6, bytes(65536 - 60)), 1400), 47, "65535 are possible"),
    "bytes missing": (gso(TCP4)[:-1], LOST, "IP header says"),
    "bytes behind": (gso(TCP4) + b"\0", 3, "IP header says"),
    "IPv6 with bytes missing": (gso(TCP6)[:-1], LOST, "IP header says"),
    "IPv4 fragment": (gso(tcp(4, bytes(3000), fragment=0x2000)), 3, "fragment"),
    "IPv4 header of 16 bytes": (patched(gso(TCP4), 0, b"\x44"), LOST, "IPv4 header"),
    "IPv4 options": (gso(tcp(4, bytes(3000), options=OPTIONS)), 3, None),
    "IPv6 destination options": (gso(tcp(6, bytes(3000), extensions=DESTINATION)), 3, None),
    "UDP behind IPv6 destination options": (
        gso(udp(6, bytes(3000), extensions=DESTINATION)),
        3,
        None,
    ),
    "IPv6 hop-by-hop options": (gso(tcp(6, bytes(3000), extensions=HOP_BY_HOP)), 3, None),
    "IPv6 routing header": (gso(tcp(6, bytes(3000), extensions=ROUTING)), 3, None),
    "IPv6 routing header, checksum for the final destination": (
        patched(
            gso(tcp(6, bytes(3000), extensions=ROUTING)),
            80,
            gso(tcp(6, bytes(3000), destination="fd03::3"))[10 + 56 : 10 + 58],
        ),
        3,
        None,
    ),
    "IPv6 extension that has no end": (patched(gso(TCP6), 6, b"\x3c"), LOST, "fit"),
    "TCP header of 16 bytes": (patched(gso(TCP4), 32, b"\x40"), LOST, "TCP header"),
    "TCP header longer than the packet": (
        patched(gso(tcp(4, bytes(10)), 5), 32, b"\xf0"),
        LOST,
        "ends within",
    ),
    "UDP length wrong": (patched(gso(UDP4), 24, b"\x01\0"), 3, "UDP header"),
    "SYN": (gso(tcp(4, bytes(3000), flags=SYN)), 3, None),
    "RST": (gso(tcp(4, bytes(3000), flags=RST | ACK)), 3, None),
    "TCP checksum of zero": (gso(tcp_with_sum_zero(4, bytes(3000), False)), 3, None),
    "TCP checksum of zero, one segment": (
        gso(tcp_with_sum_zero(4, bytes(1000), False)),
        1,
        None,
    ),
    "nothing to do": (plain(tcp(4, bytes(1000))), 1, None),
    "nothing to do, ICMP": (plain(icmp_echo(4, bytes(100))), 1, None),
    "partial checksum": (
        plain(gso(tcp(6, b"odd"))[10:], flags=NEEDS_CSUM, csum_start=40, csum_offset=16),
        1,
        None,
    ),
    "partial TCP checksum of zero": (
        plain(tcp_with_sum_zero(4, b"odd", True), flags=NEEDS_CSUM, csum_start=20, csum_offset=16),
        1,
        None,
    ),
    "partial checksum beyond the packet": (
        plain(tcp(4), flags=NEEDS_CSUM, csum_start=39, csum_offset=0),
        "EINVAL",
        "csum_start",
    ),
    "partial checksum in the IP header": (
        plain(tcp(4), flags=NEEDS_CSUM, csum_start=19, csum_offset=0),
        "EINVAL",
        "csum_start",
    ),
    "nothing to segment, gso_size": (plain(tcp(4), gso_size=7), 1, None),
    "nothing to segment, hdr_len beyond the packet": (
        plain(tcp(4), hdr_len=41),
        "EINVAL",
        "hdr_len",
    ),
}


# The outcomes on Linux 6.1 where they differ from those on newer ones.
OLDER_KERNELS: dict[str, int | str] = {
    "IPv6 type, IPv4 packet": LOST,
    "partial checksum in the IP header": 1,
}


@pytest.mark.parametrize("edge", EDGES)
def test_edges_of_a_gso_write(
    edge: str,
    route: tuple[RawDevice, RawDevice],
    segmentation: Segmentation,
    offload_impl: Implementation,
) -> None:
    frame, outcome, complaint = EDGES[edge]
    header = VirtioNetHeader.unpack(frame)
    if header.is_udp and not segmentation.udp:
        outcome = "EINVAL"
    elif complaint is None and not segmentation.is_for(frame):
        pytest.skip("not segmented so by this kernel")
    if complaint is None:
        header.check(frame[10:])
    else:
        with pytest.raises(OffloadError, match=complaint):
            header.check(frame[10:])

    refused = None
    try:
        route[0].write(frame)
    except OSError as exc:
        refused = errno.errorcode[exc.errno or 0]
    if refused is None:
        outcome = OLDER_KERNELS.get(edge, outcome)
    assert refused == (outcome if outcome == "EINVAL" else None)
    # What comes behind the packet shows that there was time for it to come.
    mark = forwarded(icmp_echo(4, b"mark"))
    delivered = through_kernel(route, plain(icmp_echo(4, b"mark")), lambda p: p[-1:] == [mark])
    assert delivered.pop() == mark
    if isinstance(outcome, int) and complaint is None:
        assert delivered == [forwarded(packet) for packet in offload_impl.gso_split(frame)]
    assert len(delivered) == (outcome if isinstance(outcome, int) else 0)


@pytest.fixture(scope="module")
def route() -> Iterator[tuple[RawDevice, RawDevice]]:
    with kernel_path() as (first, second, _):
        yield first, second
