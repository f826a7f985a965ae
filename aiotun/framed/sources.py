"""Sources decode the items that a framed end receives.

`PacketSource` reads a stream of packets and `ByteSource` a stream of bytes.
`TransportSource` reads a transport directly, and can also give what waits without
waiting itself.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from ..codecs.base import PacketCodec, StreamCodec, StreamDecoder
from ..codecs.raw import is_raw
from ..errors import BusyError, ClosedError, CodecError, ConfigError
from ..kinds import check_kind
from ..native import native
from ..streams import MessageProtocol
from .base import FramedCounters, Source
from .bytestreams import ByteStream, own_errors

__all__ = [
    "ByteSource",
    "PacketSource",
    "TransportSource",
    "check_read_size",
    "make_transport_source",
]

T = TypeVar("T")


class PacketSource(Source[T]):
    """Reads nothing ahead, so other readers of the same stream find all further packets."""

    def __init__(
        self,
        take: Callable[[], Awaitable[bytes]],
        take_many: Callable[[], Awaitable[list[bytes]]],
        codec: PacketCodec[T],
        counters: FramedCounters,
    ) -> None:
        super().__init__(counters)
        self._take = take
        self._take_many = take_many
        self._codec = codec
        self._decode = codec.decode
        self._raw = is_raw(codec)
        self._errors: deque[CodecError] = deque()

    async def recv(self) -> T:
        if self.closed or self._errors:
            self._check_open()
            self._raise_error()
        return self._decoded(await self._take())

    def _decoded(self, packet: bytes) -> T:
        try:
            item = self._decode(packet)
        except CodecError:
            self.counters.broken += 1
            raise
        self.counters.received += 1
        return item

    async def recv_many(self) -> list[T]:
        items: list[T] = []
        while not items:
            self._check_open()
            self._raise_error()
            items = self._decode_all(await self._take_many())
        self.counters.received += len(items)
        return items

    def _decode_all(self, packets: list[Any]) -> list[T]:
        if self._raw:
            return packets
        decode = self._decode
        try:
            items = list(map(decode, packets))
        except CodecError:  # rare: once more, one by one
            items = []
            for packet in packets:
                try:
                    items.append(decode(packet))
                except CodecError as exc:
                    self._errors.append(exc)
            return items
        if len(items) < len(packets):  # what ends a map
            raise RuntimeError(f"{self._codec!r} raised StopIteration")
        return items

    def _raise_error(self) -> None:
        if self._errors:
            self.counters.broken += 1
            raise self._errors.popleft()

    def release(self) -> tuple[list[T], bytes]:
        return [], b""


class TransportSource(PacketSource[T]):
    """Reads what a transport delivered, and waits only if asked to."""

    def __init__(
        self, protocol: MessageProtocol, codec: PacketCodec[T], counters: FramedCounters
    ) -> None:
        super().__init__(protocol.receive, protocol.receive_many, codec, counters)
        self._protocol = protocol

    # What waits is received without another coroutine, which would take longer than the rest.

    def _one_waits(self) -> object:
        protocol = self._protocol
        return protocol.kept and not (protocol.readers.waiting or self._errors or self.closed)

    async def recv(self) -> T:
        return self._decoded(self._protocol.take()) if self._one_waits() else await super().recv()

    async def __anext__(self) -> T:
        one_waits = self._one_waits()
        return self._decoded(self._protocol.take()) if one_waits else await super().__anext__()

    def recv_waiting(self) -> list[T]:
        """All items that wait, if any; what cannot be decoded is dropped, and counted."""
        self._check_open()
        items = self._decode_all(self._protocol.drain())
        self.counters.broken += len(self._errors)
        self._errors.clear()
        self.counters.received += len(items)
        return items

    async def readable(self, at_once: Callable[[], None]) -> None:
        """See `MessageProtocol.readable`."""
        await self._protocol.readable(at_once)


if native is not None:

    class NativeTransportSource(native.ItemSource, TransportSource[T]):
        """Gives an item that waits in C, and leaves all else to the twin."""

        def __init__(
            self, protocol: MessageProtocol, codec: PacketCodec[T], counters: FramedCounters
        ) -> None:
            super().__init__(protocol, codec, counters)
            decode = None if self._raw else self._decode
            self._bind(TransportSource, protocol, decode, counters, self._errors, CodecError)


def make_transport_source(
    protocol: MessageProtocol, codec: PacketCodec[T], counters: FramedCounters
) -> TransportSource[T]:
    """The native one where it is built."""
    kind = TransportSource if native is None else NativeTransportSource
    return kind(protocol, codec, counters)


def check_read_size(size: int) -> None:
    """Raise `ConfigError` for what no read can ask for: an empty one is the end of a stream."""
    if size < 1:
        raise ConfigError(f"read_size is at least 1, not {size}")


class ByteSource(Source[T]):
    """Decodes all that one read gives."""

    def __init__(
        self, stream: ByteStream, codec: StreamCodec[T], size: int, counters: FramedCounters
    ) -> None:
        super().__init__(counters)
        check_read_size(size)
        self._stream = stream
        self._decoder = codec.decoder()
        check_kind(self._decoder, f"what {codec!r}.decoder() returns", StreamDecoder)
        self._size = size
        self._items: deque[T] = deque()
        self._reading = False
        self._ended = False

    async def recv(self) -> T:
        if not self._items:
            await self._read()
        self.counters.received += 1
        return self._items.popleft()

    async def recv_many(self) -> list[T]:
        if not self._items:
            await self._read()
        items = list(self._items)
        self._items.clear()
        self.counters.received += len(items)
        return items

    async def _read(self) -> None:
        self._check_free()
        self._reading = True
        try:
            feed = self._decoder.feed
            items: list[T] = []
            while not items:  # an item or an error that waits comes before further reading
                items = feed(b"") or feed(await self._receive())
                if type(items) is not list:
                    check_kind(items, f"what {self._decoder!r}.feed() returns", list)
        except CodecError:
            self.counters.broken += 1
            raise
        finally:
            self._reading = False
        self._items += items

    async def _receive(self) -> bytes:
        data = b""
        if not (self._ended or self.closed):
            try:
                with own_errors():
                    data = await self._stream.receive(self._size)
            except ClosedError:
                pass
            except OSError:
                self._check_open()
                raise
        self._check_open()
        if data:
            return data
        if not self._ended:
            self._ended = True
            self._decoder.eof()
        raise ClosedError("the other side closed the stream")

    def release(self) -> tuple[list[T], bytes]:
        self._check_free()
        items = list(self._items)
        self._items.clear()
        return items, self._decoder.unused

    def _check_free(self) -> None:
        if self._reading:
            raise BusyError(errno.EBUSY, "another task is receiving from this end")
