from __future__ import annotations

import pytest
from cobs import cobs
from decoding import Broken, decoded, encoded
from hypothesis import given
from hypothesis import strategies as st

from aiotun.codecs import COBS, CodecError

packets = st.binary(max_size=600) | st.lists(
    st.sampled_from([b"\0", b"a", b"a" * 253, b"a" * 254, b"a" * 255]), max_size=6
).map(b"".join)

LONG = bytes(range(1, 255))

WIRE = {
    "empty": (b"", b"\x01\0"),
    "a zero": (b"\0", b"\x01\x01\0"),
    "plain": (b"abc", b"\x04abc\0"),
    "zero inside": (b"ab\0c", b"\x03ab\x02c\0"),
    "zero at the end": (b"ab\0", b"\x03ab\x01\0"),
    "253 bytes": (LONG[:-1], b"\xfe" + LONG[:-1] + b"\0"),
    "254 bytes": (LONG, b"\xff" + LONG + b"\0"),
    "255 bytes": (LONG + b"a", b"\xff" + LONG + b"\x02a\0"),
    "254 bytes and a zero": (LONG + b"\0", b"\xff" + LONG + b"\x01\x01\0"),
    "254 bytes twice": (LONG * 2, (b"\xff" + LONG) * 2 + b"\0"),
    "zero, 254 bytes": (b"\0" + LONG, b"\x01\xff" + LONG + b"\0"),
}


@pytest.mark.parametrize(("packet", "wire"), WIRE.values(), ids=WIRE)
def test_wire_format(packet: bytes, wire: bytes) -> None:
    assert b"".join(COBS().encode(packet)) == wire
    assert COBS().decoder().feed(wire) == [packet]


BROKEN = {
    "block behind the end": (b"\x05abc", "1 bytes behind", 4),
    "second block behind the end": (b"\x01\xff", "254 bytes behind", 2),
    "too long": (b"\x06abcde", "more than 4 bytes", 0),
    "much too long": (b"\x02a" * 50, "more than 4 bytes", 0),
}


@pytest.mark.parametrize(("frame", "what", "at"), BROKEN.values(), ids=BROKEN)
def test_a_broken_frame_costs_itself(frame: bytes, what: str, at: int) -> None:
    stream = b"\x05abcd\0" + frame + b"\0\0\x05efgh\0"
    first, error, last = decoded(COBS(max_frame=4), [stream])
    assert (first, last) == (b"abcd", b"efgh")
    assert isinstance(error, Broken)
    assert what in error.what
    assert (error.offset, error.recoverable) == (6 + at, True)


def test_packet_too_long() -> None:
    with pytest.raises(CodecError, match="5 bytes"):
        COBS(max_frame=4).encode(bytes(5))


@given(packet=packets)
def test_the_library_cobs_writes_the_same(packet: bytes) -> None:
    assert encoded(COBS(), [packet]) == cobs.encode(packet) + b"\0"


@given(frame=st.binary(min_size=1, max_size=300).map(lambda data: data.replace(b"\0", b"\1")))
def test_the_library_cobs_reads_the_same(frame: bytes) -> None:
    (found,) = decoded(COBS(), [frame + b"\0"])
    try:
        expected = cobs.decode(frame)
    except cobs.DecodeError:
        assert isinstance(found, Broken)
    else:
        assert found == expected
