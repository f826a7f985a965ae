"""COBS, consistent overhead byte stuffing: frames without zeros, at most 1 byte in 254 longer.

S. Cheshire, M. Baker, "Consistent Overhead Byte Stuffing", IEEE/ACM Transactions
on Networking 7(2), 1999.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..buffers import to_bytes
from ..errors import CodecError
from .base import MAX_FRAME, StreamCodec, StreamDecoder
from .delimited import DelimitedDecoder

__all__ = ["COBS"]

FULL_CODE = 0xFF
"""Code of a block of 254 bytes with no zero behind it; a lower code stands for one
byte less than it says, and a zero."""

FULL = FULL_CODE - 1
FULL_PREFIX = bytes([FULL_CODE])
PREFIX = [bytes([code]) for code in range(1, FULL_CODE)]
"""The code in front of so many bytes with a zero behind them."""


@dataclass(frozen=True)
class COBS(StreamCodec[bytes]):
    """Packets, empty ones too, that end in a zero and have none inside.

    A broken frame, or a packet of more than `max_frame` bytes, costs that frame
    alone. Zeros between frames are ignored.
    """

    max_frame: int = MAX_FRAME

    def encode(self, item: bytes) -> list[bytes]:
        if type(item) is not bytes:
            item = to_bytes(item)
        if len(item) > self.max_frame:
            raise CodecError(f"a packet of {len(item)} bytes is longer than {self.max_frame}")
        parts: list[bytes] = []
        for run in item.split(b"\0"):
            full = len(run) - len(run) % FULL
            for at in range(0, full, FULL):
                parts += (FULL_PREFIX, run[at : at + FULL])
            parts += (PREFIX[len(run) - full], run[full:])
        if item and item[-1] and not parts[-1]:  # it ends with a full block: no zero is behind it
            del parts[-2:]
        parts.append(b"\0")
        return [b"".join(parts)]

    def decoder(self) -> StreamDecoder[bytes]:
        return _Decoder(b"\0", self.max_frame, self.max_frame + self.max_frame // FULL + 1)


class _Decoder(DelimitedDecoder):
    def _unstuff(self, frame: bytes) -> bytes:
        parts: list[bytes] = []
        block = 0
        while block < len(frame):
            code = frame[block]
            parts.append(frame[block + 1 : block + code])
            if code != FULL_CODE:
                parts.append(b"\0")
            block += code
        if block > len(frame):
            what = f"a block that ends {block - len(frame)} bytes behind its frame"
            raise CodecError(what, offset=len(frame))
        if code != FULL_CODE:  # the zero behind the last block is not part of the packet
            parts.pop()
        return b"".join(parts)
