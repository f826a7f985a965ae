from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packets import udp

from aiotun.codecs import AddressFamily, CodecError, PacketCodec, PacketInformation

HEADERS: dict[str, tuple[PacketCodec[bytes], bytes, bytes]] = {
    "Linux": (PacketInformation(), b"\0\0\x08\0", b"\0\0\x86\xdd"),
    "macOS": (AddressFamily("darwin"), b"\0\0\0\x02", b"\0\0\0\x1e"),
    "DragonFly": (AddressFamily("dragonfly"), b"\0\0\0\x02", b"\0\0\0\x1c"),
    "FreeBSD": (AddressFamily("freebsd"), b"\0\0\0\x02", b"\0\0\0\x1c"),
    "NetBSD": (AddressFamily("netbsd"), b"\0\0\0\x02", b"\0\0\0\x18"),
    "OpenBSD": (AddressFamily("openbsd"), b"\0\0\0\x02", b"\0\0\0\x18"),
    "little-endian": (AddressFamily("darwin", "little"), b"\x02\0\0\0", b"\x1e\0\0\0"),
}

every_header = pytest.mark.parametrize(("codec", "v4", "v6"), HEADERS.values(), ids=HEADERS)


@every_header
def test_wire_format(codec: PacketCodec[bytes], v4: bytes, v6: bytes) -> None:
    for header, packet in [(v4, udp(4, b"data")), (v6, udp(6, b"data"))]:
        assert codec.encode(packet) == header + packet
        assert codec.decode(header + packet) == packet


@every_header
def test_header_of_another_packet(codec: PacketCodec[bytes], v4: bytes, v6: bytes) -> None:
    for packet in [v4 + udp(6), v6 + udp(4), v4 + b"\x10", b"\xff" * 4 + udp(4)]:
        with pytest.raises(CodecError, match="in front of"):
            codec.decode(packet)
    for size in range(5):
        with pytest.raises(CodecError, match="no packet"):
            codec.decode((v4 + udp(4))[:size])
    for item in [b"", b"\x50"]:
        with pytest.raises(CodecError, match="neither"):
            codec.encode(item)


@every_header
@given(packet=st.binary(max_size=30))
def test_arbitrary_bytes(codec: PacketCodec[bytes], v4: bytes, v6: bytes, packet: bytes) -> None:
    for bytes_ in (packet, v4 + packet, v6 + packet):
        try:
            item = codec.decode(bytes_)
        except CodecError:
            continue
        assert codec.encode(item) == bytes_


def test_a_packet_that_the_kernel_cut_off() -> None:
    with pytest.raises(CodecError, match="header 01000800"):
        PacketInformation().decode(b"\x01\0\x08\0" + udp(4))


def test_unknown_system() -> None:
    system: Any = "plan9"
    with pytest.raises(ValueError, match="none of darwin"):
        AddressFamily(system)
