"""Frames behind their length as a varint: 7 bits a byte, the least significant first."""

from __future__ import annotations

from dataclasses import dataclass

from ..buffers import to_bytes
from ..errors import CodecError
from .base import MAX_FRAME, StreamCodec, StreamDecoder
from .buffered import BufferedDecoder

__all__ = ["VarintPrefixed"]

MAX_VARINT = 10
"""Bytes of a varint of 64 bits (protobuf.dev, "Encoding")."""


@dataclass(frozen=True)
class VarintPrefixed(StreamCodec[bytes]):
    """The length as an unsigned LEB128 number, then the payload.

    This is how protobuf messages are delimited in a stream ("Encoding", at
    protobuf.dev). A payload of more than `max_frame` bytes is an error that the
    stream does not recover from.
    """

    max_frame: int = MAX_FRAME

    def encode(self, item: bytes) -> list[bytes]:
        if type(item) is not bytes:
            item = to_bytes(item)
        length = len(item)
        if length > self.max_frame:
            raise CodecError(f"an item of {length} bytes is longer than {self.max_frame}")
        prefix = bytearray()
        while length > 0x7F:
            prefix.append(length & 0x7F | 0x80)
            length >>= 7
        prefix.append(length)
        return [bytes(prefix), item]

    def decoder(self) -> StreamDecoder[bytes]:
        return _Decoder(self)


class _Decoder(BufferedDecoder[bytes]):
    def __init__(self, codec: VarintPrefixed) -> None:
        super().__init__()
        self._max_frame = codec.max_frame

    def _decode(self, data: bytes, start: int, items: list[bytes]) -> int:
        frame = position = start
        length = shift = 0
        while position < len(data):
            byte = data[position]
            position += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if length > self._max_frame:
                what = f"a length of {length} or more, not 0 to {self._max_frame}"
                return self._broken(what, start, frame)
            if byte & 0x80:
                if position - frame == MAX_VARINT:
                    what = f"a varint of more than {MAX_VARINT} bytes"
                    return self._broken(what, start, frame)
                continue
            end = position + length
            if len(data) < end:
                self._needed = end - frame
                return frame
            items.append(data[position:end])
            frame = position = end
            length = shift = 0
        self._needed = len(data) - frame + 1
        return frame
