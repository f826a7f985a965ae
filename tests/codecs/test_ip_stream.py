from __future__ import annotations

import pytest
from decoding import Broken, decoded
from packets import ip, tcp, udp

from aiotun.codecs import CodecError, IPStream


def test_both_versions_in_one_stream() -> None:
    items = [tcp(4, b"abc"), udp(6, b""), ip(4, 253, b"", options=b"\x01" * 40), ip(6, 59, b"")]
    assert IPStream().decoder().feed(b"".join(items)) == items


BROKEN = {
    "version 5": b"\x55" + bytes(19),
    "IPv4 shorter than a header": b"\x45\0\0\x13" + bytes(16),
    "IPv4 shorter than its options": b"\x46\0\0\x17" + bytes(20),
    "longer than the limit": b"\x45\0\x01\0" + bytes(252),
    "IPv6 longer than the limit": b"\x60\0\0\0\0\x80\x3b\x40" + bytes(160),
    "jumbogram": b"\x60\0\0\0\0\0\0\x40" + bytes(32),
}


@pytest.mark.parametrize("wire", BROKEN.values(), ids=BROKEN)
def test_broken_stream(wire: bytes) -> None:
    codec = IPStream(max_frame=160)
    packet = udp(4, b"before")
    first, error = decoded(codec, [packet + wire])
    assert first == packet
    assert isinstance(error, Broken)
    assert (error.offset, error.recoverable) == (len(packet), False)
    with pytest.raises(CodecError):
        codec.encode(wire)


@pytest.mark.parametrize("change", [b"", b"\0", None], ids=["empty", "too long", "too short"])
def test_a_packet_that_others_would_not_find_the_end_of(change: bytes | None) -> None:
    packet = udp(6, b"data")
    item = packet[:-1] if change is None else change and packet + change
    with pytest.raises(CodecError):
        IPStream().encode(item)
