"""SLIP, RFC 1055: packets over a serial line."""

from __future__ import annotations

from dataclasses import dataclass

from ..buffers import to_bytes
from ..errors import CodecError
from .base import MAX_FRAME, StreamCodec, StreamDecoder
from .delimited import DelimitedDecoder

__all__ = ["SLIP"]

# RFC 1055, "Protocol": the octal numbers of its text.
END, ESC, ESC_END, ESC_ESC = b"\xc0", b"\xdb", b"\xdc", b"\xdd"


UNESCAPED = {ESC_END: END, ESC_ESC: ESC}


@dataclass(frozen=True)
class SLIP(StreamCodec[bytes]):
    """Packets that end in END (0xC0), which is escaped inside.

    END is written in front of each packet as well, as RFC 1055 advises: it ends
    what noise there was on the line. So there are no empty packets. A broken
    frame, or a packet of more than `max_frame` bytes, costs that frame alone.
    """

    max_frame: int = MAX_FRAME

    def encode(self, item: bytes) -> list[bytes]:
        if type(item) is not bytes:
            item = to_bytes(item)
        if not 0 < len(item) <= self.max_frame:
            raise CodecError(f"a packet of {len(item)} bytes, not 1 to {self.max_frame}")
        # ESC first: it occurs in what END is replaced by.
        stuffed = item.replace(ESC, ESC + ESC_ESC).replace(END, ESC + ESC_END)
        return [END, stuffed, END]

    def decoder(self) -> StreamDecoder[bytes]:
        return _Decoder(END, self.max_frame, 2 * self.max_frame)


class _Decoder(DelimitedDecoder):
    def _unstuff(self, frame: bytes) -> bytes:
        first, *escaped = frame.split(ESC)
        parts = [first]
        for part in escaped:
            byte = UNESCAPED.get(part[:1])
            if byte is None:
                raise CodecError("a frame with ESC in front of neither ESC_END nor ESC_ESC")
            parts += (byte, part[1:])
        return b"".join(parts)
