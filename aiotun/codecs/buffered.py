"""BufferedDecoder: what the decoders of this package have in common.

A whole number of frames in one chunk is decoded where it lies. Only the rest of
a chunk is kept, and it is looked at again when enough has come, so small chunks
cost no more than their number.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TypeVar

from ..buffers import to_bytes
from ..errors import CodecError
from .base import StreamDecoder

__all__ = ["BufferedDecoder"]

T = TypeVar("T")


class BufferedDecoder(StreamDecoder[T]):
    """Subclasses decode: `_decode`, and say when there is something to: `_needed` or `_ready`."""

    _needed = 0
    """Bytes that must be there, counted from the first unused one, to decode any further."""

    def __init__(self) -> None:
        self._partial = bytearray()
        """The frame that has begun: nothing to decode in it yet."""
        self._stopped: tuple[bytes, int] | None = None
        """A chunk with a broken frame, and where to go on in it. `_partial` is empty then."""
        self._error: CodecError | None = None
        self._offset = 0
        """Of the first unused byte in the stream."""

    @abstractmethod
    def _decode(self, data: bytes, start: int, items: list[T]) -> int:
        """Append the items that are complete in `data[start:]`; return where the rest begins.

        At a broken frame: return `self._broken(...)`.
        """

    def _frame_start(self) -> int:
        """Where the frame began that is not complete: the end of the stream if there is none."""
        return self._offset

    def _ready(self, data: bytes) -> bool:
        """Whether there is something to decode in `_partial` with `data` behind it."""
        return len(self._partial) + len(data) >= self._needed

    def _broken(self, what: str, start: int, at: int, resume: int | None = None) -> int:
        """Note what is wrong at `at`, for a `_decode` that began at `start`.

        Decoding can go on at `resume`; with none, it is over.
        """
        self._error = CodecError(
            what, offset=self._offset + at - start, recoverable=resume is not None
        )
        return at if resume is None else resume

    def feed(self, data: bytes) -> list[T]:
        if type(data) is not bytes:
            data = to_bytes(data, "chunk")
        if self._error is not None:
            raise self._told(self._error, data)
        start, at_once = 0, not data
        if self._stopped is not None:
            data, start = (self.unused + data, 0) if data else self._stopped
            self._stopped, at_once = None, True
        elif self._partial:
            if not self._ready(data):
                self._partial += data
                return []
            data = b"".join((self._partial, data))
            self._partial.clear()
        items: list[T] = []
        end = self._decode(data, start, items)
        self._offset += end - start
        if self._error is None:
            self._partial += memoryview(data)[end:]
            return items
        self._stopped = data, end
        return items or (self.feed(b"") if at_once else [])

    def _told(self, error: CodecError, data: bytes) -> CodecError:
        """The error to raise. Apart from `feed`: a frame that holds what it raises is a cycle."""
        if error.recoverable:
            self._error = None
            if data:
                self._stopped = self.unused + data, 0
        return error.with_traceback(None)

    def eof(self) -> None:
        if self._error is not None:
            self.feed(b"")
        begun, end = self._frame_start(), self._offset + len(self.unused)
        if begun < end:
            what = f"the stream ends inside a frame, of which there are {end - begun} bytes"
            raise CodecError(what, offset=begun, recoverable=False)

    @property
    def unused(self) -> bytes:
        if self._stopped is None:
            return bytes(self._partial)
        data, start = self._stopped
        return data[start:]
