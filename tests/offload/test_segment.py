from __future__ import annotations

import contextlib
import random
from collections.abc import Callable

import packets
import pytest
from hypothesis import given
from hypothesis import strategies as st
from implementations import Implementation
from packets import (
    ACK,
    CWR,
    FIN,
    NEEDS_CSUM,
    PSH,
    TCP,
    assert_sound,
    ethernet,
    ethernet_size,
    find_transport,
    icmp_echo,
    super_packet,
    tcp,
    udp,
)
from strategies import spoiled, super_frames

from aiotun.errors import FrameHeaderError, FrameTooShortError, OffloadError
from aiotun.offload import NO_OFFLOAD, VirtioNetHeader

PAYLOAD = random.Random(1).randbytes(2500)


def field(packet: bytes, offset: int, size: int) -> int:
    return int.from_bytes(packet[offset : offset + size], "big")


def test_tcp_over_ipv4(offload_impl: Implementation) -> None:
    whole = tcp(
        4, PAYLOAD, seq=0xFFFFFF00, identification=0xFFFF, flags=ACK | CWR | PSH | FIN, urgent=7
    )
    segments = offload_impl.gso_split(super_packet(whole, 1000))
    for segment in segments:
        assert_sound(segment)
    assert [len(segment) for segment in segments] == [1040, 1040, 540]
    assert b"".join(segment[40:] for segment in segments) == PAYLOAD
    assert [field(segment, 4, 2) for segment in segments] == [0xFFFF, 0, 1]
    assert [field(segment, 24, 4) for segment in segments] == [0xFFFFFF00, 0x2E8, 0x6D0]
    assert [segment[33] for segment in segments] == [ACK | CWR, ACK, ACK | PSH | FIN]
    assert [field(segment, 38, 2) for segment in segments] == [7, 7, 7]


def test_udp_over_ipv6(offload_impl: Implementation) -> None:
    segments = offload_impl.gso_split(super_packet(udp(6, PAYLOAD, flow_label=5), 1000))
    for segment in segments:
        assert_sound(segment)
        assert field(segment, 0, 4) & 0xFFFFF == 5
    assert [field(segment, 44, 2) for segment in segments] == [1008, 1008, 508]
    assert b"".join(segment[48:] for segment in segments) == PAYLOAD


@pytest.mark.parametrize("version", [4, 6])
def test_udp_sends_the_other_zero(offload_impl: Implementation, version: int) -> None:
    start = 28 if version == 4 else 48
    value = udp(version, bytes(100))[start - 2 : start]
    payload = value + bytes(98)
    segments = offload_impl.gso_split(super_packet(udp(version, payload * 2), 100))
    assert [segment[start - 2 : start] for segment in segments] == [b"\xff\xff"] * 2


@pytest.mark.parametrize("tags", [(), (7,), (7, 8)], ids=["plain", "vlan", "two vlans"])
@pytest.mark.parametrize("build", [tcp, udp])
@pytest.mark.parametrize("version", [4, 6])
def test_ethernet(
    offload_impl: Implementation, version: int, build: type, tags: tuple[int, ...]
) -> None:
    inner = super_packet(build(version, PAYLOAD), 1000)
    frame = super_packet(ethernet(build(version, PAYLOAD), *tags), 1000, "tap")
    link = ethernet(build(version), *tags)
    link = link[: ethernet_size(link)]
    assert offload_impl.gso_split(frame, "tap") == [
        link + segment for segment in offload_impl.gso_split(inner)
    ]


UNSEGMENTED = {
    "nothing": b"",
    "garbage": b"garbage",
    "TCP": tcp(4, b"data"),
    "TCP with a bad checksum": tcp(4, b"data")[:-1],
    "ICMP": icmp_echo(6, b"data"),
}


@pytest.mark.parametrize("layer", ["tun", "tap"])
@pytest.mark.parametrize("name", UNSEGMENTED)
def test_unsegmented_comes_as_it_is(offload_impl: Implementation, name: str, layer: str) -> None:
    packet = UNSEGMENTED[name]
    assert offload_impl.gso_split(NO_OFFLOAD + packet, layer) == [packet]


@pytest.mark.parametrize("build", [tcp, udp])
def test_partial_checksum_of_an_unsegmented_packet(
    offload_impl: Implementation, build: type
) -> None:
    frame = super_packet(build(6, b"odd"), 1000)
    header = VirtioNetHeader.unpack(frame)._replace(gso_type=0, gso_size=0)
    assert offload_impl.gso_split(header.pack() + frame[10:]) == [build(6, b"odd")]


def test_partial_checksum_outside_the_packet(offload_impl: Implementation) -> None:
    header = VirtioNetHeader(flags=NEEDS_CSUM, csum_start=20, csum_offset=16)
    with pytest.raises(FrameHeaderError, match="csum_start"):
        offload_impl.gso_split(header.pack() + bytes(37))


@pytest.mark.parametrize("flags", [NEEDS_CSUM, 0])
@pytest.mark.parametrize("version", [4, 6])
def test_payload_that_fits_into_one_segment(
    offload_impl: Implementation, version: int, flags: int
) -> None:
    packet = tcp(version, bytes(1000), tcp_options=b"\x01" * 12)
    frame = super_packet(packet, 1000)
    if not flags:
        frame = VirtioNetHeader.unpack(frame)._replace(flags=0).pack() + packet
    assert offload_impl.gso_split(frame) == [packet]


def test_wrong_partial_checksum_makes_no_wrong_checksum(offload_impl: Implementation) -> None:
    frame = bytearray(super_packet(tcp(4, PAYLOAD), 1000))
    frame[10 + 36 : 10 + 38] = b"\x12\x34"
    for segment in offload_impl.gso_split(bytes(frame)):
        assert_sound(segment)


@pytest.mark.parametrize(
    ("packet", "layer", "error"),
    [
        pytest.param(b"", "tun", FrameHeaderError, id="no packet"),
        pytest.param(b"\x45" + bytes(18), "tun", FrameHeaderError, id="half an IPv4 header"),
        pytest.param(b"\x60" + bytes(38), "tun", FrameHeaderError, id="half an IPv6 header"),
        pytest.param(b"\x50" + bytes(99), "tun", FrameHeaderError, id="IP version 5"),
        pytest.param(bytes(13), "tap", FrameHeaderError, id="half an Ethernet header"),
        pytest.param(ethernet(tcp(4), 7)[:16], "tap", FrameHeaderError, id="half a VLAN tag"),
        pytest.param(bytes(12) + b"\x81\0\0\7" * 99, "tap", FrameHeaderError, id="only VLAN tags"),
        pytest.param(
            ethernet(tcp(4, bytes(200)), ethertype=0x86DD),
            "tap",
            FrameHeaderError,
            id="EtherType of the other IP version",
        ),
        pytest.param(
            ethernet(tcp(4, bytes(200)), ethertype=0x0806), "tap", FrameHeaderError, id="ARP"
        ),
        pytest.param(packets.ip(4, TCP, b""), "tun", FrameTooShortError, id="no TCP header"),
        pytest.param(packets.ip(4, TCP, bytes(19)), "tun", FrameTooShortError, id="half of TCP"),
        pytest.param(
            b"\x4f" + packets.ip(4, TCP, bytes(20))[1:],
            "tun",
            FrameTooShortError,
            id="IPv4 options cut",
        ),
        pytest.param(
            packets.ip(6, TCP, b"", extensions=[(0, b"\1\4\0\0\0\0")])[:41],
            "tun",
            FrameHeaderError,
            id="half an extension header",
        ),
    ],
)
def test_headers_that_are_not_there(
    offload_impl: Implementation, packet: bytes, layer: str, error: type[Exception]
) -> None:
    for gso_type in (VirtioNetHeader.GSO_TCPV4, VirtioNetHeader.GSO_TCPV6):
        frame = VirtioNetHeader(gso_type=gso_type, gso_size=10).pack() + packet
        with pytest.raises(OffloadError):
            offload_impl.gso_split(frame, layer)
    frame = VirtioNetHeader(gso_type=VirtioNetHeader.GSO_TCPV4, gso_size=10).pack() + packet
    with pytest.raises(error):
        offload_impl.gso_split(frame, layer)


def long_headers(
    size: int, payload: int, gso_size: int, build: Callable[..., bytes] = tcp
) -> bytes:
    """A frame with IPv6 destination options of `size` bytes, a multiple of 8 up to 2048 each."""
    sizes = [2048] * (size // 2048) + [size % 2048] * (size % 2048 > 0)
    options = [(60, bytes(each - 2)) for each in sizes]
    return super_packet(build(6, bytes(payload), extensions=options), gso_size)


@pytest.mark.parametrize(
    ("frame", "possible"),
    [
        pytest.param(long_headers(448, 32768, 4), True, id="exactly 4 MiB"),
        pytest.param(long_headers(448, 32769, 4), False, id="one segment more"),
        pytest.param(long_headers(448, 32764, 4), True, id="one segment less"),
        pytest.param(long_headers(32768, 32000, 1), False, id="a gigabyte"),
        pytest.param(long_headers(32768, 128, 1, udp), False, id="UDP"),
        pytest.param(super_packet(tcp(4, bytes(65495)), 1), True, id="bare TCP, byte by byte"),
    ],
)
def test_what_one_frame_becomes_is_bounded(
    offload_impl: Implementation, frame: bytes, possible: bool
) -> None:
    if possible:
        assert sum(map(len, offload_impl.gso_split(frame))) <= 4 << 20
    else:
        with pytest.raises(FrameHeaderError, match="4194304 are possible"):
            offload_impl.gso_split(frame)


@given(frame=st.binary(max_size=200), layer=st.sampled_from(["tun", "tap"]))
def test_any_bytes(offload_impl: Implementation, frame: bytes, layer: str) -> None:
    with contextlib.suppress(OffloadError):
        assert len(offload_impl.gso_split(frame, layer)) >= 1


@pytest.mark.parametrize("layer", ["tun", "tap"])
@given(data=st.data())
def test_segments_add_up(offload_impl: Implementation, layer: str, data: st.DataObject) -> None:
    frame = data.draw(super_frames(layer))
    link = ethernet_size(frame[10:]) if layer == "tap" else 0
    inner = frame[10 + link :]
    protocol, transport = find_transport(inner)
    size = transport + ((inner[transport + 12] >> 4) * 4 if protocol == TCP else 8)
    segments = offload_impl.gso_split(frame, layer)
    gso_size = VirtioNetHeader.unpack(frame).gso_size
    for segment in segments:
        assert segment[:link] == frame[10 : 10 + link]
        assert_sound(segment[link:])
        assert len(segment) - link - size <= gso_size
    assert b"".join(segment[link + size :] for segment in segments) == inner[size:]


@pytest.mark.parametrize("layer", ["tun", "tap"])
@given(data=st.data())
def test_broken_frames(offload_impl: Implementation, layer: str, data: st.DataObject) -> None:
    frame = data.draw(super_frames(layer).flatmap(spoiled))
    try:
        segments = offload_impl.gso_split(frame, layer)
    except OffloadError:
        return
    header = VirtioNetHeader.unpack(frame)
    if len(segments) == 1:
        assert len(segments[0]) == len(frame) - 10
        return
    layout = header.layout(frame[10:], layer)  # type: ignore[arg-type]
    assert {len(segment) - layout.payload for segment in segments[:-1]} == {header.gso_size}
    assert (
        b"".join(segment[layout.payload :] for segment in segments)
        == (frame[10 + layout.payload :])
    )
