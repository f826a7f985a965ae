"""The contract of codecs: two kinds, which the types keep apart, and how they compose.

A packet codec turns one packet into one item; it goes over a device, a UDP
socket, or behind a stream codec. A stream codec finds items in a stream of
bytes that is cut anywhere. Codecs are immutable configuration and may be
shared; what a connection has read so far is the state of its decoder.

Nothing here does I/O or knows of an event loop.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..errors import CodecError

__all__ = ["MAX_FRAME", "PacketCodec", "StreamCodec", "StreamDecoder"]

T = TypeVar("T")
U = TypeVar("U")

MAX_FRAME = 65_597
"""Bytes in a frame unless a codec is told otherwise: the largest IP packet (40 + 65,535,
RFC 8200 section 3) in an Ethernet frame with two VLAN tags (22)."""


class PacketCodec(ABC, Generic[T]):
    """One packet, one item: `PacketInformation() | Dpkt()` is a codec of the same kind."""

    @abstractmethod
    def encode(self, item: T) -> bytes:
        """The packet of an item. Raises `CodecError` for an item that has none."""

    @abstractmethod
    def decode(self, packet: bytes) -> T:
        """The item in a packet. Raises `CodecError`; its offset counts from the packet's start."""

    def __or__(self: PacketCodec[bytes], codec: PacketCodec[U]) -> PacketCodec[U]:
        """This codec, and another one for the bytes that it decodes to."""
        return _ChainedPacketCodec(self, codec)


class StreamCodec(ABC, Generic[T]):
    """Items in a stream of bytes: `LengthPrefixed(2) | Dpkt()` is a codec of the same kind."""

    @property
    def preamble(self) -> list[bytes]:
        """Buffers to write before the first item, such as a file's header: mostly none."""
        return []

    @abstractmethod
    def encode(self, item: T) -> list[bytes]:
        """An item as buffers to write one after the other (`writelines`, `sendmsg`).

        Nothing is joined: the payload is not copied where it goes out as it is.
        Raises `CodecError` for an item that has no encoding, such as one too long.
        """

    @abstractmethod
    def decoder(self) -> StreamDecoder[T]:
        """A decoder at the start of a stream: one for each connection."""

    def __or__(self: StreamCodec[bytes], codec: PacketCodec[U]) -> StreamCodec[U]:
        """This codec, and another one for what is in each of its frames."""
        return _ChainedStreamCodec(self, codec)


class StreamDecoder(ABC, Generic[T]):
    """The state of one stream being read.

    Items and errors come in the order of the stream, whatever the chunks are.
    Memory is bounded by the codec's largest frame and one chunk, if the reader
    calls `feed(b"")` until it returns an empty list before reading on.
    """

    @abstractmethod
    def feed(self, data: bytes) -> list[T]:
        """Take what was read; return the items that are complete.

        What was decoded before a broken frame is returned, and the next call (of
        `feed` or `eof`) raises the `CodecError`. If the error is recoverable, that
        call keeps its data, and the one after it goes on behind the broken frame,
        or raises at once if another one follows. If it is not, every later call
        raises it again and takes nothing.

        `feed(b"")` reads nothing, so it returns or raises what waits behind an
        error; its empty list means that nothing does.
        """

    @abstractmethod
    def eof(self) -> None:
        """Say that the stream ended.

        Raises `CodecError` if a frame is cut off, or what the next `feed` would raise.
        """

    @property
    @abstractmethod
    def unused(self) -> bytes:
        """Bytes that belong to no item yet. Whoever reads on without this decoder begins here."""


@dataclass(frozen=True)
class _ChainedPacketCodec(PacketCodec[T]):
    outer: PacketCodec[bytes]
    inner: PacketCodec[T]

    def encode(self, item: T) -> bytes:
        return self.outer.encode(self.inner.encode(item))

    def decode(self, packet: bytes) -> T:
        return self.inner.decode(self.outer.decode(packet))

    def __repr__(self) -> str:
        return f"{self.outer!r} | {self.inner!r}"


@dataclass(frozen=True)
class _ChainedStreamCodec(StreamCodec[T]):
    outer: StreamCodec[bytes]
    inner: PacketCodec[T]

    @property
    def preamble(self) -> list[bytes]:
        return self.outer.preamble

    def encode(self, item: T) -> list[bytes]:
        return self.outer.encode(self.inner.encode(item))

    def decoder(self) -> StreamDecoder[T]:
        return _ChainedDecoder(self.outer.decoder(), self.inner)

    def __repr__(self) -> str:
        return f"{self.outer!r} | {self.inner!r}"


class _ChainedDecoder(StreamDecoder[T]):
    def __init__(self, frames: StreamDecoder[bytes], codec: PacketCodec[T]) -> None:
        self._frames, self._codec = frames, codec
        self._left: Iterator[bytes] = iter(())
        """Frames that were read and are not decoded yet: those behind a broken one."""
        self._kept = b""
        """What was read after them."""
        self._count = 0
        self._error: CodecError | None = None

    def feed(self, data: bytes) -> list[T]:
        if self._error is not None:
            raise self._told(self._error, data)
        self._kept += data
        items: list[T] = []
        at_once = True  # what comes behind an error, or what `_frames` has held back already
        try:
            self._decode_left(items)
            kept, self._kept = self._kept, b""
            self._left = iter(self._frames.feed(kept))
            at_once = not data
            self._decode_left(items)
        except CodecError as found:
            at_once = at_once and not items
            if not (at_once and found.recoverable):
                self._error = found
            if at_once:
                raise
        return items

    def _told(self, error: CodecError, data: bytes) -> CodecError:
        """The error to raise. Apart from `feed`: a frame that holds what it raises is a cycle."""
        if error.recoverable:
            self._error = None
            self._kept += data
        return error.with_traceback(None)

    def _decode_left(self, items: list[T]) -> None:
        decode = self._codec.decode
        for frame in self._left:
            self._count += 1
            try:
                items.append(decode(frame))
            except CodecError as error:
                what = f"frame {self._count}: {error.what}"
                raise CodecError(
                    what, offset=error.offset, recoverable=error.recoverable
                ) from error

    def eof(self) -> None:
        if self._error is not None:
            self.feed(b"")
        self._frames.eof()

    @property
    def unused(self) -> bytes:
        return self._frames.unused + self._kept
