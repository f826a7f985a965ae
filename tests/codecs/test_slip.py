from __future__ import annotations

import pytest
import sliplib
from decoding import Broken, decoded, drained, encoded
from hypothesis import given
from hypothesis import strategies as st

from aiotun.codecs import SLIP, CodecError

packets = st.lists(
    st.binary(min_size=1, max_size=100)
    | st.lists(st.sampled_from([b"\xc0", b"\xdb", b"\xdc", b"\xdd", b"a"]), min_size=1).map(
        b"".join
    )
)

WIRE = {
    "plain": (b"abc", b"\xc0abc\xc0"),
    "END": (b"a\xc0b", b"\xc0a\xdb\xdcb\xc0"),
    "ESC": (b"a\xdbb", b"\xc0a\xdb\xddb\xc0"),
    "what an escaped END looks like": (b"\xdb\xdc", b"\xc0\xdb\xdd\xdc\xc0"),
    "only special bytes": (b"\xc0\xdb\xdd", b"\xc0\xdb\xdc\xdb\xdd\xdd\xc0"),
}


@pytest.mark.parametrize(("packet", "wire"), WIRE.values(), ids=WIRE)
def test_wire_format(packet: bytes, wire: bytes) -> None:
    assert b"".join(SLIP().encode(packet)) == wire
    assert SLIP().decoder().feed(wire) == [packet]


READ = {
    "no END in front": (b"abc\xc0", [b"abc"]),
    "one END between": (b"\xc0abc\xc0def\xc0", [b"abc", b"def"]),
    "many": (b"\xc0\xc0\xc0abc\xc0\xc0\xc0", [b"abc"]),
}


@pytest.mark.parametrize(("wire", "found"), READ.values(), ids=READ)
def test_how_others_write(wire: bytes, found: list[bytes]) -> None:
    assert decoded(SLIP(), [wire]) == found


BROKEN = {
    "escaped letter": (b"a\xdbb", "ESC"),
    "ESC at the end": (b"ab\xdb", "ESC"),
    "too long": (b"abcde", "more than 4 bytes"),
    "too long to be kept": (b"\xdb\xdc" * 4 + b"a", "more than 4 bytes"),
    "much too long": (b"a" * 100, "more than 4 bytes"),
}


@pytest.mark.parametrize(("frame", "what"), BROKEN.values(), ids=BROKEN)
def test_a_broken_frame_costs_itself(frame: bytes, what: str) -> None:
    first, error, last = decoded(SLIP(max_frame=4), [b"abcd\xc0" + frame + b"\xc0efgh\xc0"])
    assert (first, last) == (b"abcd", b"efgh")
    assert isinstance(error, Broken)
    assert what in error.what
    assert (error.offset, error.recoverable) == (5, True)


def test_a_frame_too_long_is_not_awaited() -> None:
    decoder = SLIP(max_frame=4).decoder()
    assert drained(decoder, b"a" * 8) == []
    (error,) = drained(decoder, b"a")
    assert error == Broken("a frame of more than 4 bytes", 0, True)
    assert drained(decoder, b"a" * 100) == []
    assert decoder.unused == b""
    decoder.eof()
    assert drained(decoder, b"end\xc0next\xc0") == [b"next"]


@pytest.mark.parametrize("size", [0, 5], ids=["empty", "too long"])
def test_unencodable_packet(size: int) -> None:
    with pytest.raises(CodecError):
        SLIP(max_frame=4).encode(bytes(size))


@given(packets=packets)
def test_sliplib_reads_what_we_write(packets: list[bytes]) -> None:
    driver = sliplib.Driver()
    driver.receive(encoded(SLIP(), packets))
    assert [driver.get(block=False) for _ in packets] == packets


@given(packets=packets)
def test_we_read_what_sliplib_writes(packets: list[bytes]) -> None:
    driver = sliplib.Driver()
    assert decoded(SLIP(), [driver.send(packet) for packet in packets]) == packets
