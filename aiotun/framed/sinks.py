"""Sinks encode the items that a framed end sends.

`PacketSink` writes to a stream of packets and `ByteSink` to a stream of bytes: both
gather the items of a tick. `TransportSink` writes to a transport directly, which
gathers by itself.
"""

from __future__ import annotations

import asyncio
import errno
from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import TypeVar

from ..buffers import to_bytes
from ..codecs.base import PacketCodec, StreamCodec
from ..codecs.raw import is_raw
from ..errors import ClosedError, UnsupportedError
from ..line import Line
from ..native import native
from ..streams import MessageProtocol, StreamProtocol
from .base import FramedCounters, PacketStreamLike, Sink
from .bytestreams import ByteStream, own_errors

if native is not None:
    from ..transports.fastpath import NativePort

__all__ = ["ByteSink", "PacketSink", "TransportSink", "make_transport_sink"]

T = TypeVar("T")


class TransportSink(Sink[T]):
    """The transport gathers, coalesces and pushes back."""

    def __init__(
        self, protocol: MessageProtocol, codec: PacketCodec[T], counters: FramedCounters
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

    async def send(self, item: T) -> None:
        if self.closed or not self._protocol.is_ready_to_write():
            await self.ready()
        self._protocol.write((self._encode(item),))
        self.counters.sent += 1

    def put(self, items: Iterable[T]) -> int:
        before = self._protocol.written
        try:
            # No map(): a StopIteration of the codec would end it, and nobody hear of the rest.
            return self._protocol.write(self._encode(item) for item in items)
        finally:
            self.counters.sent += self._protocol.written - before

    async def flush(self) -> None:
        self._protocol.transport.flush()
        await self._protocol.ready_to_write()


if native is not None:

    class NativeTransportSink(native.ItemSink, TransportSink[T]):
        """Puts items in C, sends one where there is room, and leaves all else to the twin."""

        def __init__(
            self,
            protocol: StreamProtocol,
            codec: PacketCodec[T],
            counters: FramedCounters,
            port: NativePort,
        ) -> None:
            super().__init__(protocol, codec, counters)
            encode = None if is_raw(codec) else self._encode
            self._bind(TransportSink, protocol, encode, counters, port)


def make_transport_sink(
    protocol: StreamProtocol, codec: PacketCodec[T], counters: FramedCounters
) -> TransportSink[T]:
    """The native one where the transport's port is, and packets go to that."""
    port = getattr(protocol.transport.write, "__self__", None)
    if native is None or not isinstance(port, NativePort):
        return TransportSink(protocol, codec, counters)
    return NativeTransportSink(protocol, codec, counters, port)


class GatheringSink(Sink[T]):
    """Gathers what one tick puts, and sends it from a task: a cancelled sender cuts nothing."""

    def __init__(
        self,
        codec: PacketCodec[T] | StreamCodec[T],
        encode: Callable[[T], list[bytes]],
        size: int,
        counters: FramedCounters,
    ) -> None:
        super().__init__(counters)
        self._codec = codec
        self._encode = encode
        self._size = size
        self._out: list[bytes] = []
        self._unsent = 0
        self._sending: asyncio.Task[None] | None = None
        self._error: Exception | None = None
        self._line = Line(lambda: self._sending is None or not self.full)

    def _as_bytes(self, buffers: Iterable[object]) -> list[bytes]:
        """What a codec made of an item, copied if it is mutable."""
        try:
            return [to_bytes(each, "buffer") for each in buffers]
        except TypeError as exc:
            raise TypeError(f"{self._codec!r} makes no bytes of it: {exc}") from exc

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
                buffers = encode(item)
                if type(buffers) is not list:
                    buffers = self._as_bytes(buffers)
                for each in buffers:
                    if type(each) is not bytes:
                        buffers = self._as_bytes(buffers)
                        break
                out += buffers
                count += 1
        finally:
            self._unsent += sum(map(len, out[start:]))
            self.counters.sent += count
            self._start()
        return count

    async def flush(self) -> None:
        self._start()
        for _ in range(2):  # one sending is under way; what gathered meanwhile is the other
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
            raise self._error.with_traceback(None)  # it grows with each raise


class ByteSink(GatheringSink[T]):
    def __init__(
        self, stream: ByteStream, codec: StreamCodec[T], size: int, counters: FramedCounters
    ) -> None:
        super().__init__(codec, codec.encode, size, counters)
        self._stream = stream
        self._out += self._as_bytes(codec.preamble)  # leaves with the first item or flush

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
        super().__init__(codec, lambda item: [codec.encode(item)], size, counters)
        self._stream = stream

    async def _send(self, buffers: list[bytes]) -> None:
        await self._stream.send_many(buffers)
