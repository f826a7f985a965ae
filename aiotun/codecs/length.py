"""Frames behind their length: a field of fixed size, anywhere in a header."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

from ..buffers import to_bytes
from ..errors import CodecError
from ..kinds import check_kind
from .base import MAX_FRAME, StreamCodec, StreamDecoder
from .buffered import BufferedDecoder

__all__ = ["LengthDelimited", "LengthPrefixed"]


@dataclass(frozen=True)
class LengthPrefixed(StreamCodec[bytes]):
    """A header with the length of what follows, then that many bytes.

    The header is `offset` bytes of anything, then the length in `size` bytes (1
    to 8). The payload has as many bytes as the length says, plus `adjustment`:
    -2 where a length of two bytes counts itself, 4 where it leaves out a
    checksum at the end.

    Items are payloads; what stands in front of the length is zeros when encoding (tokio's
    codec, which writes nothing there, is `LengthDelimited`).
    With `keep_header` items are whole frames with their header, which must be
    right when encoding. A payload of more than `max_frame` bytes is an error
    that the stream does not recover from.

    Raises `ValueError` for a size, byte order or offset that cannot be.
    """

    size: int
    byteorder: Literal["big", "little"] = "big"
    _: KW_ONLY
    offset: int = 0
    adjustment: int = 0
    keep_header: bool = False
    max_frame: int = MAX_FRAME

    def __post_init__(self) -> None:
        _check_field(self.size, self.byteorder, self.offset)
        check_kind(self.adjustment, "adjustment=", int)

    @property
    def header_size(self) -> int:
        return self.offset + self.size

    def encode(self, item: bytes) -> list[bytes]:
        if type(item) is not bytes:
            item = to_bytes(item)
        size = len(item) - self.keep_header * self.header_size
        length = size - self.adjustment
        if not (0 <= size <= self.max_frame and 0 <= length < 1 << 8 * self.size):
            raise CodecError(f"an item of {len(item)} bytes does not fit into {self}")
        if not self.keep_header:
            return [bytes(self.offset) + length.to_bytes(self.size, self.byteorder), item]
        if int.from_bytes(item[self.offset : self.header_size], self.byteorder) != length:
            raise CodecError("the header does not tell the item's length", offset=self.offset)
        return [item]

    def decoder(self) -> StreamDecoder[bytes]:
        return _Decoder(
            slice(self.offset, self.header_size),
            self.byteorder,
            least=max(0, -self.adjustment),
            most=self.max_frame - self.adjustment,
            begin=0 if self.keep_header else self.header_size,
            extra=self.header_size + self.adjustment,
        )


@dataclass(frozen=True)
class LengthDelimited(StreamCodec[bytes]):
    """Frames as `LengthDelimitedCodec` of Rust's tokio_util has them, with its builder's names.

    It differs from `LengthPrefixed` in three ways. The offset is for decoding alone: nothing
    is written in front of the length. The limit is one of the length as it stands in the
    field when decoding, and of the item when encoding. `num_skip` bytes of a frame are left
    out (the header, unless something else is said); behind them the item begins, which is as
    long as the length plus `length_adjustment` says, even if that is part of the header.

    Raises `ValueError` for what cannot be.
    """

    length_field_length: int = 4
    byteorder: Literal["big", "little"] = "big"
    _: KW_ONLY
    length_field_offset: int = 0
    length_adjustment: int = 0
    num_skip: int | None = None
    max_frame_length: int = 8 << 20

    def __post_init__(self) -> None:
        _check_field(self.length_field_length, self.byteorder, self.length_field_offset)
        check_kind(self.length_adjustment, "length_adjustment=", int)
        if self.num_skip is not None and self.num_skip < 0:
            raise ValueError(f"num_skip {self.num_skip} is negative")

    def encode(self, item: bytes) -> list[bytes]:
        if type(item) is not bytes:
            item = to_bytes(item)
        length = len(item) - self.length_adjustment
        size = self.length_field_length
        if len(item) > self.max_frame_length or not 0 <= length < 1 << 8 * size:
            raise CodecError(f"an item of {len(item)} bytes does not fit into {self}")
        return [length.to_bytes(size, self.byteorder), item]

    def decoder(self) -> StreamDecoder[bytes]:
        header_size = self.length_field_offset + self.length_field_length
        skip = header_size if self.num_skip is None else self.num_skip
        return _Decoder(
            slice(self.length_field_offset, header_size),
            self.byteorder,
            least=max(0, -self.length_adjustment),
            most=self.max_frame_length,
            begin=skip,
            extra=skip + self.length_adjustment,
        )


def _check_field(size: int, byteorder: str, offset: int) -> None:
    check_kind(size, "the size of the length", int)
    check_kind(offset, "the offset of the length", int)
    if not 1 <= size <= 8:
        raise ValueError(f"size {size}: a length has 1 to 8 bytes")
    if byteorder not in ("big", "little"):
        raise ValueError(f'byteorder {byteorder!r} is neither "big" nor "little"')
    if offset < 0:
        raise ValueError(f"offset {offset} is negative")


class _Decoder(BufferedDecoder[bytes]):
    """Finds the length in the bytes `field` of a frame.

    A frame has so many bytes and `extra` ones; its item is what is behind `begin`.
    """

    def __init__(
        self,
        field: slice,
        byteorder: Literal["big", "little"],
        *,
        least: int,
        most: int,
        begin: int,
        extra: int,
    ) -> None:
        super().__init__()
        self._offset_in_frame, self._header_size = field.start, field.stop
        self._byteorder: Literal["big", "little"] = byteorder
        self._least = max(least, 1 - extra)  # a frame of no bytes would come again for ever
        self._most, self._begin, self._extra = most, begin, extra

    def _decode(self, data: bytes, start: int, items: list[bytes]) -> int:
        offset, header_size, byteorder = self._offset_in_frame, self._header_size, self._byteorder
        least, most, begin, extra = self._least, self._most, self._begin, self._extra
        frame = start
        while len(data) >= (header_end := frame + header_size):
            length = int.from_bytes(data[frame + offset : header_end], byteorder)
            if not least <= length <= most:
                what = f"a length of {length}, not {least} to {most}"
                return self._broken(what, start, frame)
            end = frame + length + extra
            if len(data) < end:
                self._needed = end - frame
                return frame
            items.append(data[frame + begin : end])
            frame = end
        self._needed = header_size
        return frame
