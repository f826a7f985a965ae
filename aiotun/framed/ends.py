"""Framed: items instead of bytes, over a device or a stream."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterable, AsyncIterator, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar, overload

from ..cancelling import AsyncClosing
from ..codecs.base import PacketCodec, StreamCodec
from ..errors import ConfigError, UnsupportedError
from ..lease import Lendable
from ..streams import PacketStream
from ..udp import UdpTransport
from .base import FramedCounters, PacketStreamLike, Sink, Source
from .bytestreams import AsyncioStream, ByteStream, own_errors
from .datagrams import DatagramProtocol, DatagramSource
from .sinks import ByteSink, PacketSink, TransportSink, make_transport_sink
from .sources import ByteSource, PacketSource, make_transport_source

__all__ = ["Framed", "FramedReader", "FramedWriter", "Released"]

T = TypeVar("T")

BUFFER = 65536
"""Bytes of one read, and bytes that gather before `send` waits; asyncio's own limit."""

BATCH = 128
"""Items between two looks at whether there is room."""


@dataclass(frozen=True)
class Released(Generic[T]):
    """What `Framed.release` gives back."""

    stream: Any
    """What the framed end was made of."""
    items: list[T]
    """Decoded, and not received yet."""
    unused: bytes
    """Read behind these, and no whole item yet."""


class _Underneath:
    """The stream of a framed end, closed when both halves are."""

    def __init__(
        self, stream: PacketStreamLike | UdpTransport | ByteStream, *halves: object
    ) -> None:
        self.stream = stream
        self.open_halves = set(halves)

    async def close_half(self, half: object) -> None:
        if self.open_halves == {half}:
            await self.close()
        self.open_halves.discard(half)

    async def close(self) -> None:
        self.open_halves.clear()
        with suppress(OSError), own_errors():  # closed is closed, however politely
            await self.stream.aclose()

    async def close_at_once(self) -> None:
        closing = asyncio.ensure_future(self.close())
        await asyncio.sleep(0)  # so that it begins
        closing.cancel()
        await asyncio.wait([closing])


class FramedReader(AsyncClosing, Generic[T]):
    """The reading half of a framed end.

    Iteration ends when the other side closes or this end is closed, and raises
    what broke the stream otherwise.
    """

    # `recv` and `send` give what the source or sink gives: a coroutine of their own around it
    # would cost as much again. So does iteration, which is the source's own.

    _source: Source[T]
    _underneath: _Underneath

    def __init__(self, source: Source[T], underneath: _Underneath) -> None:
        self._source = source
        self._underneath = underneath

    @property
    def counters(self) -> FramedCounters:
        """Items that passed, both ways, and those that could not be decoded."""
        return self._source.counters

    def recv(self) -> Coroutine[Any, Any, T]:
        """The next item. A call that is cancelled or timed out loses none.

        Raises `ClosedError` at the end, `CodecError` for what cannot be decoded
        (with a recoverable one the next call goes on behind it), `BusyError` if
        another task is receiving from the same stream of bytes, or what broke
        the stream, such as `ConnectionResetError` and `InterfaceGoneError`.
        """
        return self._source.recv()

    async def recv_many(self) -> list[T]:
        """All items that wait, at least one; raises as `recv` does."""
        return await self._source.recv_many()

    def __aiter__(self) -> AsyncIterator[T]:
        return self._source

    def __anext__(self) -> Coroutine[Any, Any, T]:
        return self._source.__anext__()

    async def aclose(self) -> None:
        """Receive no more; the stream is closed when the writing half is, too."""
        self._source.closed = True
        await self._underneath.close_half(self._source)


class FramedWriter(AsyncClosing, Generic[T]):
    """The writing half of a framed end. Any number of tasks may send."""

    _sink: Sink[T]
    _underneath: _Underneath

    def __init__(self, sink: Sink[T], underneath: _Underneath) -> None:
        self._sink = sink
        self._underneath = underneath

    @property
    def full(self) -> bool:
        """Whether `send` would have to wait. A program that would rather drop asks first."""
        return self._sink.full

    def send(self, item: T) -> Coroutine[Any, Any, None]:
        """Send an item, after waiting until there is room.

        It leaves with the others of this tick. A cancelled call has not sent.
        Raises `CodecError` for what cannot be encoded, `ClosedError`, or what
        broke the stream.
        """
        return self._sink.send(item)

    async def send_all(self, items: Iterable[T] | AsyncIterable[T]) -> None:
        """`send` each item. If this raises or is cancelled, the items before were sent."""
        if isinstance(items, AsyncIterable):
            async for item in items:
                await self.send(item)
            return
        remaining = iter(items)
        while True:
            await self._sink.ready()
            if self._sink.put(islice(remaining, BATCH)) < BATCH:
                return

    async def flush(self) -> None:
        """Hand over what was sent, and wait until the stream or device has taken it.

        Raises what broke the stream meanwhile.
        """
        await self._sink.flush()

    async def send_eof(self) -> None:
        """Flush, and tell the other side that nothing follows; receiving goes on.

        Raises `UnsupportedError` where the stream cannot say that without being
        closed: TLS, and everything that carries packets.
        """
        await self._sink.send_eof()

    async def aclose(self) -> None:
        """Flush and send no more: `send_eof` where the stream has it.

        The stream is closed when the reading half is, too.
        """
        if self._sink not in self._underneath.open_halves:
            return
        try:
            with suppress(OSError):
                await self._sink.flush()
                await self._sink.send_eof()
        except BaseException:
            self._sink.abort()
            if self._underneath.open_halves == {self._sink}:
                await self._underneath.close_at_once()
            raise
        self._sink.closed = True
        await self._underneath.close_half(self._sink)


class Framed(FramedReader[T], FramedWriter[T], Lendable):
    """A codec over a stream: a packet codec over packets, a stream codec over bytes.

    >>> framed = Framed(tun, codecs.Dpkt())
    >>> framed = Framed((reader, writer), codecs.LengthPrefixed(2))
    >>> async for item in framed:
    ...     await framed.send(item)

    Packets come from a `PacketStream`, or from anything else with the methods of
    `PacketStreamLike`. Several framed ends may share a `PacketStream`: each
    packet goes to one that waits, in turn, and none reads ahead. A connected UDP
    endpoint carries an item in each datagram; the framed end takes the place of
    the protocol that the endpoint was made with, which is told of its end and of flow control.

    Bytes come from asyncio's reader and writer as a tuple, or anything with the
    methods of `ByteStream`, such as anyio's streams. `read_size` is how many are
    read at a time, and so bounds what is decoded ahead; `write_size` how many
    gather before `send` waits.

    A task that waits for items is ended by `ClosedError` when another one closes
    this end. Raises `ConfigError` for a codec that does not fit the stream and for
    an endpoint without a peer, `BusyError` for an endpoint that another framed end
    has, and `UnsupportedError` where no event loop of asyncio's runs, as on trio.
    """

    _busy = "another relay has this end"

    @overload
    def __init__(self, stream: PacketStreamLike | UdpTransport, codec: PacketCodec[T]) -> None: ...

    @overload
    def __init__(
        self,
        stream: ByteStream | tuple[asyncio.StreamReader, asyncio.StreamWriter],
        codec: StreamCodec[T],
        *,
        read_size: int = BUFFER,
        write_size: int = BUFFER,
    ) -> None: ...

    def __init__(
        self,
        stream: Any,
        codec: PacketCodec[T] | StreamCodec[T],
        *,
        read_size: int = BUFFER,
        write_size: int = BUFFER,
    ) -> None:
        if not _asyncio_runs():
            raise UnsupportedError(
                errno.EOPNOTSUPP,
                "a framed end needs asyncio's event loop, running: with anyio, "
                'anyio.run(..., backend="asyncio")',
            )
        self._given = stream
        if isinstance(stream, tuple):
            stream = AsyncioStream(*stream)
        counters = FramedCounters()
        of_packets = hasattr(stream, "recv_many")
        if isinstance(codec, PacketCodec) and isinstance(stream, PacketStream):
            self._source = make_transport_source(stream._protocol, codec, counters)
            self._sink = make_transport_sink(stream._protocol, codec, counters)
        elif isinstance(codec, PacketCodec) and isinstance(stream, UdpTransport):
            protocol = DatagramProtocol(stream)
            self._source = DatagramSource(protocol, codec, counters)
            self._sink = TransportSink(protocol, codec, counters)
        elif isinstance(codec, PacketCodec) and of_packets:
            self._source = PacketSource(stream.recv, stream.recv_many, codec, counters)
            self._sink = PacketSink(stream, codec, write_size, counters)
        elif isinstance(codec, StreamCodec) and hasattr(stream, "receive") and not of_packets:
            self._source = ByteSource(stream, codec, read_size, counters)
            self._sink = ByteSink(stream, codec, write_size, counters)
        else:
            raise ConfigError(
                f"{codec!r} does not fit {stream!r}: "
                "a packet codec goes over packets, a stream codec over bytes"
            )
        self._underneath = _Underneath(stream, self._source, self._sink)

    def split(self) -> tuple[FramedReader[T], FramedWriter[T]]:
        """Two halves, for two tasks to own; each is closed by itself."""
        return FramedReader(self._source, self._underneath), FramedWriter(
            self._sink, self._underneath
        )

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What asyncio's transport underneath, if there is one, knows by that name."""
        stream = self._underneath.stream
        if isinstance(stream, PacketStream):
            return stream.transport.get_extra_info(name, default)
        if isinstance(stream, (AsyncioStream, UdpTransport)):
            return stream.get_extra_info(name, default)
        return default

    async def release(self) -> Released[T]:
        """Flush, and give back the stream, open, with what was read and not received.

        This end is closed then. Raises `BusyError` while a task is receiving
        from a stream of bytes.
        """
        await self._sink.flush()
        items, unused = self._source.release()
        self._source.closed = self._sink.closed = True
        self._underneath.open_halves.clear()
        return Released(self._given, items, unused)

    async def aclose(self) -> None:
        """Flush, and close what is underneath; without waiting for either when cancelled."""
        if not self._underneath.open_halves:
            return
        try:
            with suppress(OSError):  # what broke it, the next call was told or will be
                await self._sink.flush()
        except BaseException:
            self._source.closed = True
            self._sink.abort()
            await self._underneath.close_at_once()
            raise
        self._source.closed = self._sink.closed = True
        await self._underneath.close()


def _asyncio_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
