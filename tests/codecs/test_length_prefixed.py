from __future__ import annotations

from typing import Any

import pytest
from decoding import Broken, decoded

from aiotun.codecs import CodecError, LengthDelimited, LengthPrefixed, StreamCodec, VarintPrefixed

WIRE: dict[str, tuple[StreamCodec[bytes], bytes, bytes]] = {
    "1 byte": (LengthPrefixed(1), b"abc", b"\x03abc"),
    "2 bytes": (LengthPrefixed(2), b"abc", b"\0\x03abc"),
    "2 bytes, little": (LengthPrefixed(2, "little"), b"abc", b"\x03\0abc"),
    "8 bytes": (LengthPrefixed(8), b"abc", b"\0\0\0\0\0\0\0\x03abc"),
    "nothing": (LengthPrefixed(2), b"", b"\0\0"),
    "behind an offset": (LengthPrefixed(2, offset=3), b"abc", b"\0\0\0\0\x03abc"),
    "counts itself": (LengthPrefixed(2, adjustment=-2), b"abc", b"\0\x05abc"),
    "counts a header": (LengthPrefixed(2, offset=1, adjustment=-3), b"abc", b"\0\0\x06abc"),
    "without the trailer": (LengthPrefixed(1, adjustment=4), b"abcCRC4", b"\x03abcCRC4"),
    "header kept": (
        LengthPrefixed(2, offset=1, keep_header=True),
        b"T\0\x03abc",
        b"T\0\x03abc",
    ),
    "header kept, counts itself": (
        LengthPrefixed(1, adjustment=-1, keep_header=True),
        b"\x04abc",
        b"\x04abc",
    ),
    "as tokio": (LengthDelimited(), b"abc", b"\0\0\0\x03abc"),
    "as tokio, little": (LengthDelimited(2, "little"), b"abc", b"\x03\0abc"),
    "as tokio, adjusted": (LengthDelimited(1, length_adjustment=-1), b"abc", b"\x04abc"),
    "varint": (VarintPrefixed(), b"abc", b"\x03abc"),
    "varint of nothing": (VarintPrefixed(), b"", b"\0"),
    "greatest varint of 1 byte": (VarintPrefixed(), b"a" * 127, b"\x7f" + b"a" * 127),
    "least varint of 2 bytes": (VarintPrefixed(), b"a" * 128, b"\x80\x01" + b"a" * 128),
    "varint of 3 bytes": (VarintPrefixed(), b"a" * 16384, b"\x80\x80\x01" + b"a" * 16384),
}


@pytest.mark.parametrize(("codec", "item", "wire"), WIRE.values(), ids=WIRE)
def test_wire_format(codec: StreamCodec[bytes], item: bytes, wire: bytes) -> None:
    assert b"".join(codec.encode(item)) == wire
    assert codec.decoder().feed(wire + wire) == [item, item]


def test_what_stands_before_the_length_is_the_users() -> None:
    assert LengthPrefixed(1, offset=2).decoder().feed(b"xy\x03abc") == [b"abc"]


@pytest.mark.parametrize(
    ("codec", "wire", "item"),
    [  # the examples of tokio_util::codec::length_delimited
        (LengthDelimited(2), b"\0\x0bHello world", b"Hello world"),
        (
            LengthDelimited(2, length_adjustment=2, num_skip=0),
            b"\0\x0bHello world",
            b"\0\x0bHello world",
        ),
        (
            LengthDelimited(2, length_adjustment=-2, num_skip=0),
            b"\0\x0dHello world",
            b"\0\x0dHello wor",
        ),
        (
            LengthDelimited(3, length_field_offset=2, num_skip=5),
            b"\xca\xfe\0\0\x0bHello world",
            b"Hello world",
        ),
        (
            LengthDelimited(2, length_field_offset=1, length_adjustment=1, num_skip=3),
            b"\xca\0\x0b\xfeHello world",
            b"\xfeHello world",
        ),
    ],
)
def test_what_is_skipped_as_in_tokio(codec: LengthDelimited, wire: bytes, item: bytes) -> None:
    assert codec.decoder().feed(wire)[:1] == [item]


def test_the_limit_of_tokio_is_one_of_the_item() -> None:
    codec = LengthDelimited(1, length_adjustment=-2, max_frame_length=5)
    assert codec.encode(b"abcde")[0] == b"\x07"
    with pytest.raises(CodecError, match="does not fit"):
        codec.encode(b"abcdef")


def test_an_offset_is_not_written_as_by_tokio() -> None:
    assert LengthDelimited(1, length_field_offset=2).encode(b"abc") == [b"\x03", b"abc"]


BROKEN: dict[str, tuple[StreamCodec[bytes], bytes, str, int]] = {
    "longer than the limit": (LengthPrefixed(1, max_frame=3), b"\x03abc\x04", "not 0 to 3", 4),
    "less than itself": (LengthPrefixed(2, adjustment=-2), b"\0\x01", "length of 1, not 2 to", 0),
    "adjusted beyond the limit": (
        LengthPrefixed(1, adjustment=5, max_frame=5),
        b"\x01",
        "length of 1, not 0 to 0",
        0,
    ),
    "longer than tokio's limit": (
        LengthDelimited(1, length_adjustment=-2, max_frame_length=5),
        b"\x05abc\x06",
        "length of 6, not 2 to 5",
        4,
    ),
    "a frame of nothing": (LengthDelimited(1, num_skip=0), b"\1\0", "length of 0, not 1 to", 1),
    "varint beyond the limit": (VarintPrefixed(127), b"\x01a\x80\x01", "128 or more", 2),
    "endless varint": (VarintPrefixed(), b"\x80" * 10, "more than 10 bytes", 0),
}


@pytest.mark.parametrize(("codec", "wire", "what", "offset"), BROKEN.values(), ids=BROKEN)
def test_broken_stream(codec: StreamCodec[bytes], wire: bytes, what: str, offset: int) -> None:
    *_, error = decoded(codec, [wire])
    assert isinstance(error, Broken)
    assert what in error.what
    assert error.offset == offset
    assert not error.recoverable


def test_long_varint_of_a_small_number_is_read() -> None:
    assert VarintPrefixed().decoder().feed(b"\x83\x80\x80\0abc") == [b"abc"]


UNENCODABLE: dict[str, tuple[StreamCodec[bytes], bytes]] = {
    "length does not fit": (LengthPrefixed(1), bytes(256)),
    "length that counts itself does not fit": (LengthPrefixed(1, adjustment=-1), bytes(255)),
    "longer than the limit": (LengthPrefixed(2, max_frame=3), bytes(4)),
    "shorter than its trailer": (LengthPrefixed(2, adjustment=4), bytes(3)),
    "ends inside its header": (LengthPrefixed(2, keep_header=True), b"\0"),
    "header tells another length": (LengthPrefixed(2, keep_header=True), b"\0\x04abc"),
    "length does not fit, as tokio": (LengthDelimited(1), bytes(256)),
    "shorter than its trailer, as tokio": (LengthDelimited(2, length_adjustment=4), bytes(3)),
    "longer than the limit of varints": (VarintPrefixed(3), bytes(4)),
}


@pytest.mark.parametrize(("codec", "item"), UNENCODABLE.values(), ids=UNENCODABLE)
def test_unencodable_item(codec: StreamCodec[bytes], item: bytes) -> None:
    with pytest.raises(CodecError):
        codec.encode(item)


@pytest.mark.parametrize(
    ("size", "options"),
    [
        (0, {}),
        (9, {}),
        (2, {"byteorder": "native"}),
        (2, {"offset": -1}),
    ],
    ids=["no length", "9 bytes", "byte order", "offset"],
)
def test_no_such_format(size: int, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"size|byteorder|negative"):
        LengthPrefixed(size, **options)
    options = {key.replace("offset", "length_field_offset"): options[key] for key in options}
    with pytest.raises(ValueError, match=r"size|byteorder|negative"):
        LengthDelimited(size, **options)
    with pytest.raises(ValueError, match="num_skip -1 is negative"):
        LengthDelimited(num_skip=-1)
