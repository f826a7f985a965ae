"""The two halves of a framed end: where its items come from, and where they go.

A source decodes what it reads, a sink encodes what it writes; there is one of
each for packets, for bytes, and for devices, which give and take packets
without waiting.
"""

from __future__ import annotations

import asyncio
import errno
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from ..codecs.base import PacketCodec, StreamCodec
from ..errors import BusyError, ClosedError, CodecError, UnsupportedError
from ..line import Line
from ..streams import StreamProtocol
from .bytestreams import ByteStream, own_errors

__all__ = [
    "ByteSink",
    "ByteSource",
    "DeviceSink",
    "DeviceSource",
    "FramedCounters",
    "PacketSink",
    "PacketSource",
    "PacketStreamLike",
    "Sink",
    "Source",
]

T = TypeVar("T")


@dataclass
class FramedCounters:
    """What passed through a framed end, in items."""

    received: int = 0
    sent: int = 0
    broken: int = 0
    """Received, but a `CodecError` for the one who asked."""


class PacketStreamLike(Protocol):
    """What a framed end needs of a stream of packets. A `PacketStream` is one."""

    async def recv(self) -> bytes:
        """The next packet; `ClosedError` at the end. A cancelled call loses none."""

    async def recv_many(self) -> list[bytes]:
        """All packets that wait, at least one."""

    async def send_many(self, packets: Iterable[bytes], /) -> None:
        """Send packets, and wait while the other side takes no more."""

    async def aclose(self) -> None:
        """Send what waits, and close; at once when cancelled."""


class Source(ABC, Generic[T]):
    """Items as they come."""

    def __init__(self, counters: FramedCounters) -> None:
        self.counters = counters
        self.closed = False

    @abstractmethod
    async def recv(self) -> T:
        """The next item. Raises `CodecError`, `ClosedError` at the end, or what broke it."""

    @abstractmethod
    async def recv_many(self) -> list[T]:
        """All items that wait, at least one; raises as `recv` does."""

    @abstractmethod
    def release(self) -> tuple[list[T], bytes]:
        """Items decoded and not received, and bytes that are no whole item yet."""

    def _check_open(self) -> None:
        if self.closed:
            raise ClosedError("this end is closed")


class PacketSource(Source[T]):
    """Reads nothing ahead: other readers of the same stream find all that is not received here."""

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
        self._decode = codec.decode
        self._errors: deque[CodecError] = deque()

    async def recv(self) -> T:
        if self.closed or self._errors:
            self._check_open()
            self._raise_error()
        packet = await self._take()
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

    def _decode_all(self, packets: list[bytes]) -> list[T]:
        decode = self._decode
        try:
            return list(map(decode, packets))
        except CodecError:  # rare: once more, one by one
            items: list[T] = []
            for packet in packets:
                try:
                    items.append(decode(packet))
                except CodecError as exc:
                    self._errors.append(exc)
            return items

    def _raise_error(self) -> None:
        if self._errors:
            self.counters.broken += 1
            raise self._errors.popleft()

    def release(self) -> tuple[list[T], bytes]:
        return [], b""


class DeviceSource(PacketSource[T]):
    """Gives what was delivered without waiting, too."""

    def __init__(
        self, protocol: StreamProtocol, codec: PacketCodec[T], counters: FramedCounters
    ) -> None:
        super().__init__(protocol.receive, protocol.receive_many, codec, counters)
        self._protocol = protocol

    def recv_waiting(self) -> list[T]:
        """All items that wait, if any; what cannot be decoded is dropped, and counted."""
        self._check_open()
        items = self._decode_all(self._protocol.drain())
        self.counters.broken += len(self._errors)
        self._errors.clear()
        self.counters.received += len(items)
        return items

    async def readable(self, at_once: Callable[[], None]) -> None:
        """See `StreamProtocol.readable`."""
        await self._protocol.readable(at_once)


class ByteSource(Source[T]):
    """Decodes all that one read gives."""

    def __init__(
        self, stream: ByteStream, codec: StreamCodec[T], size: int, counters: FramedCounters
    ) -> None:
        super().__init__(counters)
        self._stream = stream
        self._decoder = codec.decoder()
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
            while not items:  # what waits, an error among it, before reading on
                items = feed(b"") or feed(await self._receive())
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


class Sink(ABC, Generic[T]):
    """Takes items."""

    def __init__(self, counters: FramedCounters) -> None:
        self.counters = counters
        self.closed = False

    def check_open(self) -> None:
        """Raise `ClosedError`, or what broke the stream, if anything did."""
        if self.closed:
            raise ClosedError("this end is closed")

    @property
    @abstractmethod
    def full(self) -> bool:
        """Whether `ready` would wait."""

    @abstractmethod
    async def ready(self) -> None:
        """Wait until there is room; raises as `check_open` does."""

    @abstractmethod
    def put(self, items: Iterable[T]) -> int:
        """Take items, to be sent at the end of the tick at the latest, and say how many.

        Raises `CodecError` for what cannot be encoded, after taking those before.
        """

    @abstractmethod
    async def flush(self) -> None:
        """Hand over all that was put, and wait until it is taken."""

    async def send_eof(self) -> None:
        raise UnsupportedError(errno.EOPNOTSUPP, "packets have no end of stream")

    def abort(self) -> None:
        """Take nothing more, and drop what waits."""
        self.closed = True


class DeviceSink(Sink[T]):
    """The transport gathers, coalesces and pushes back."""

    def __init__(
        self, protocol: StreamProtocol, codec: PacketCodec[T], counters: FramedCounters
    ) -> None:
        super().__init__(counters)
        self._protocol = protocol
        self._encode = codec.encode

    @property
    def full(self) -> bool:
        return not self._protocol.writable

    def check_open(self) -> None:
        super().check_open()
        self._protocol.check_open()

    async def ready(self) -> None:
        if self.closed:
            super().check_open()
        await self._protocol.ready_to_write()

    def put(self, items: Iterable[T]) -> int:
        before = self._protocol.written
        try:
            return self._protocol.write(map(self._encode, items))
        finally:
            self.counters.sent += self._protocol.written - before

    async def flush(self) -> None:
        self._protocol.transport.flush()
        await self._protocol.ready_to_write()


class GatheringSink(Sink[T]):
    """Gathers what one tick puts, and sends it from a task: a cancelled sender cuts nothing."""

    def __init__(self, size: int, counters: FramedCounters) -> None:
        super().__init__(counters)
        self._size = size
        self._out: list[bytes] = []
        self._unsent = 0
        self._sending: asyncio.Task[None] | None = None
        self._error: Exception | None = None
        self._line = Line(lambda: self._sending is None or not self.full)

    @abstractmethod
    def _encode(self, item: T) -> Iterable[bytes]: ...

    @abstractmethod
    async def _send(self, buffers: list[bytes]) -> None: ...

    @property
    def full(self) -> bool:
        return self._unsent >= self._size

    async def ready(self) -> None:
        if self.full or self._line.waiting:
            await self._line.turn()
        self.check_open()

    def check_open(self) -> None:
        super().check_open()
        self._check_sound()

    def put(self, items: Iterable[T]) -> int:
        encode, out = self._encode, self._out
        start, count = len(out), 0
        try:
            for item in items:
                out += encode(item)
                count += 1
        finally:
            self._unsent += sum(map(len, out[start:]))
            self.counters.sent += count
            self._start()
        return count

    async def flush(self) -> None:
        self._start()
        for _ in range(2):  # what is on its way, and what has gathered since
            if self._sending is not None:
                await asyncio.wait([self._sending])
        self._check_sound()

    def abort(self) -> None:
        super().abort()
        self._fail(ClosedError("this end was closed"))
        if self._sending is not None:
            self._sending.cancel()

    def _start(self) -> None:
        if self._out and self._sending is None and self._error is None:
            self._sending = asyncio.get_running_loop().create_task(self._send_gathered())

    async def _send_gathered(self) -> None:
        buffers, self._out = self._out, []
        size = self._unsent
        try:
            with own_errors():
                await self._send(buffers)
            self._unsent -= size
        except asyncio.CancelledError:
            self._fail(ClosedError("this end was closed"))
            raise
        except Exception as exc:
            self._fail(exc)
        finally:
            self._sending = None
            self._start()
            self._line.serve()

    def _fail(self, exc: Exception) -> None:
        self._error = self._error or exc
        self._out.clear()
        self._unsent = 0

    def _check_sound(self) -> None:
        if self._error is not None:
            raise self._error


class ByteSink(GatheringSink[T]):
    def __init__(
        self, stream: ByteStream, codec: StreamCodec[T], size: int, counters: FramedCounters
    ) -> None:
        super().__init__(size, counters)
        self._stream = stream
        self._codec = codec
        self._out += codec.preamble  # leaves with the first item, or with the first flush

    def _encode(self, item: T) -> list[bytes]:
        return self._codec.encode(item)

    async def _send(self, buffers: list[bytes]) -> None:
        await self._stream.send(b"".join(buffers))

    async def send_eof(self) -> None:
        await self.flush()
        try:
            with own_errors():
                await self._stream.send_eof()
        except NotImplementedError as exc:
            raise UnsupportedError(
                errno.EOPNOTSUPP, "this stream cannot be closed in one direction alone"
            ) from exc
        self.closed = True


class PacketSink(GatheringSink[T]):
    def __init__(
        self, stream: PacketStreamLike, codec: PacketCodec[T], size: int, counters: FramedCounters
    ) -> None:
        super().__init__(size, counters)
        self._stream = stream
        self._codec = codec

    def _encode(self, item: T) -> tuple[bytes]:
        return (self._codec.encode(item),)

    async def _send(self, buffers: list[bytes]) -> None:
        await self._stream.send_many(buffers)
