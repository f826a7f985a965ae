"""Frames behind their length: a field of fixed size, anywhere in a header."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

from ..errors import CodecError
from .base import MAX_FRAME, StreamCodec, StreamDecoder
from .buffered import BufferedDecoder

__all__ = ["LengthPrefixed"]


@dataclass(frozen=True)
class LengthPrefixed(StreamCodec[bytes]):
    """A header with the length of what follows, then that many bytes.

    The header is `offset` bytes of anything, then the length in `size` bytes (1
    to 8). The payload has as many bytes as the length says, plus `adjustment`:
    -2 where a length of two bytes counts itself, 4 where it leaves out a
    checksum at the end.

    Items are payloads; what stands in front of the length is zeros when encoding.
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
        if not 1 <= self.size <= 8:
            raise ValueError(f"size {self.size}: a length has 1 to 8 bytes")
        if self.byteorder not in ("big", "little"):
            raise ValueError(f'byteorder {self.byteorder!r} is neither "big" nor "little"')
        if self.offset < 0:
            raise ValueError(f"offset {self.offset} is negative")

    @property
    def header_size(self) -> int:
        return self.offset + self.size

    def encode(self, item: bytes) -> list[bytes]:
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
        return _Decoder(self)


class _Decoder(BufferedDecoder[bytes]):
    def __init__(self, codec: LengthPrefixed) -> None:
        super().__init__()
        self._codec = codec

    def _decode(self, data: bytes, start: int, items: list[bytes]) -> int:
        codec = self._codec
        offset, header_size, byteorder = codec.offset, codec.header_size, codec.byteorder
        adjustment, max_frame = codec.adjustment, codec.max_frame
        skipped = 0 if codec.keep_header else header_size
        frame = start
        while len(data) >= (payload := frame + header_size):
            size = int.from_bytes(data[frame + offset : payload], byteorder) + adjustment
            if not 0 <= size <= max_frame:
                what = f"a length that makes {size} bytes, not 0 to {max_frame}"
                return self._broken(what, start, frame)
            end = payload + size
            if len(data) < end:
                self._needed = end - frame
                return frame
            items.append(data[frame + skipped : end])
            frame = end
        self._needed = header_size
        return frame
