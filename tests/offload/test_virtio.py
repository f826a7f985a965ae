from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packets import super_packet, tcp, udp

from aiotun.errors import FrameHeaderError, FrameTooShortError, OffloadError
from aiotun.offload import NO_OFFLOAD, SuperPacket, VirtioNetHeader


def test_wire_format() -> None:
    header = VirtioNetHeader(
        flags=1, gso_type=4, hdr_len=0x102, gso_size=0x304, csum_start=0x506, csum_offset=0x708
    )
    wire = struct.pack("=BBHHHH", 1, 4, 0x102, 0x304, 0x506, 0x708)
    assert header.pack() == wire
    assert VirtioNetHeader.unpack(wire + b"packet") == header
    assert len(wire) == VirtioNetHeader.SIZE


def test_no_offload_is_the_default() -> None:
    assert VirtioNetHeader().pack() == NO_OFFLOAD


@given(wire=st.binary(min_size=10, max_size=10))
def test_any_ten_bytes_are_a_header(wire: bytes) -> None:
    assert VirtioNetHeader.unpack(wire).pack() == wire


@pytest.mark.parametrize("size", range(10))
def test_short_frame(size: int) -> None:
    with pytest.raises(FrameTooShortError, match=f"{size} bytes"):
        VirtioNetHeader.unpack(bytes(size))


@pytest.mark.parametrize(
    ("gso_type", "is_tcp", "is_udp"),
    [
        (VirtioNetHeader.GSO_NONE, False, False),
        (VirtioNetHeader.GSO_TCPV4, True, False),
        (VirtioNetHeader.GSO_TCPV6, True, False),
        (VirtioNetHeader.GSO_TCPV6 | VirtioNetHeader.GSO_ECN, True, False),
        (VirtioNetHeader.GSO_UDP, False, False),
        (VirtioNetHeader.GSO_UDP_L4, False, True),
    ],
)
def test_kind(gso_type: int, is_tcp: bool, is_udp: bool) -> None:
    header = VirtioNetHeader(gso_type=gso_type)
    assert (header.is_tcp, header.is_udp) == (is_tcp, is_udp)


@pytest.mark.parametrize(
    "packet",
    [tcp(4, bytes(200)), tcp(6, bytes(200)), udp(4, bytes(200)), udp(6, bytes(200))],
    ids=["tcp4", "tcp6", "udp4", "udp6"],
)
def test_check_of_every_truncation(packet: bytes) -> None:
    frame = super_packet(packet, 50)
    header = VirtioNetHeader.unpack(frame)
    header.check(frame[10:])
    for size in range(len(packet)):
        with pytest.raises(OffloadError):
            header.check(frame[10 : 10 + size])


def test_check_names_what_is_wrong() -> None:
    frame = super_packet(tcp(4, bytes(200)), 50)
    with pytest.raises(FrameHeaderError, match="csum_start 21"):
        VirtioNetHeader.unpack(frame)._replace(csum_start=21).check(frame[10:])
    with pytest.raises(FrameTooShortError, match="transport header"):
        VirtioNetHeader(gso_type=1, gso_size=50).check(tcp(4)[:20].replace(b"\0\x28", b"\0\x14", 1))


@pytest.mark.parametrize(
    ("csum_start", "csum_offset", "valid"),
    [
        (20, 16, True),
        (82, 16, True),
        (83, 16, False),
        (98, 0, True),
        (99, 0, False),
        (19, 16, False),
    ],
)
def test_where_a_checksum_may_be(csum_start: int, csum_offset: int, valid: bool) -> None:
    """Its two bytes lie within the packet, which has 100 bytes, and behind its IP header."""
    header = VirtioNetHeader(
        flags=VirtioNetHeader.NEEDS_CSUM, csum_start=csum_start, csum_offset=csum_offset
    )
    packet = udp(4, bytes(72))
    if valid:
        header.check(packet)
    else:
        with pytest.raises(FrameHeaderError, match=f"csum_start {csum_start}"):
            header.check(packet)


class TestSuperPacket:
    frame = super_packet(tcp(4, bytes(200)), 50)

    def test_parts(self) -> None:
        packet = SuperPacket(self.frame)
        assert packet.frame == self.frame
        assert packet.header == VirtioNetHeader.unpack(self.frame)
        assert packet.packet == self.frame[10:]
        assert len(packet) == 240
        assert [len(segment) for segment in packet.split()] == [90] * 4

    def test_equality(self) -> None:
        assert SuperPacket(self.frame) == SuperPacket(bytes(bytearray(self.frame)))
        assert hash(SuperPacket(self.frame)) == hash(SuperPacket(self.frame))
        assert SuperPacket(self.frame) != SuperPacket(self.frame[:-1])
        assert SuperPacket(self.frame) != self.frame

    def test_repr_is_short(self) -> None:
        assert "240 bytes" in repr(SuperPacket(self.frame))
        assert len(repr(SuperPacket(self.frame))) < 100

    def test_too_short(self) -> None:
        packet = SuperPacket(b"short")
        assert len(packet) == 0
        with pytest.raises(FrameTooShortError):
            _ = packet.header
        with pytest.raises(FrameTooShortError):
            packet.split()
