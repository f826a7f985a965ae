"""DelimitedDecoder: frames that end in a byte which does not occur in them."""

from __future__ import annotations

from abc import abstractmethod

from ..errors import CodecError
from .buffered import BufferedDecoder

__all__ = ["DelimitedDecoder"]


class DelimitedDecoder(BufferedDecoder[bytes]):
    """Every error is recoverable: the next delimiter begins a new frame.

    Two delimiters in a row have no frame between them. A frame whose payload is longer
    than `max_frame` is dropped; one of more than `max_stuffed` bytes is not kept
    until its end, as its payload must be longer.
    """

    def __init__(self, delimiter: bytes, max_frame: int, max_stuffed: int) -> None:
        super().__init__()
        self._delimiter = delimiter
        self._max_frame, self._max_stuffed = max_frame, max_stuffed
        self._skipping = False

    @abstractmethod
    def _unstuff(self, frame: bytes) -> bytes:
        """The payload of a frame. Raises `CodecError`, the offset from the frame's start."""

    def _ready(self, data: bytes) -> bool:
        return self._delimiter in data or len(self._partial) + len(data) > self._max_stuffed

    def _decode(self, data: bytes, start: int, items: list[bytes]) -> int:
        frame = start
        while (end := data.find(self._delimiter, frame)) >= 0:
            following = end + 1
            if self._skipping:
                self._skipping = False
            elif end - frame > self._max_stuffed:
                return self._too_long(start, frame, following)
            elif end > frame:
                try:
                    payload = self._unstuff(data[frame:end])
                except CodecError as error:
                    return self._broken(error.what, start, frame + error.offset, following)
                if len(payload) > self._max_frame:
                    return self._too_long(start, frame, following)
                items.append(payload)
            frame = following
        if self._skipping:
            return len(data)
        if len(data) - frame > self._max_stuffed:
            self._skipping = True
            return self._too_long(start, frame, len(data))
        return frame

    def _too_long(self, start: int, frame: int, resume: int) -> int:
        what = f"a frame of more than {self._max_frame} bytes"
        return self._broken(what, start, frame, resume)
