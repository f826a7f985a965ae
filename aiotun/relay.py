"""relay: pass packets or frames on between two ends, by the fastest way both allow."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, overload

from .cancelling import despite_cancellation
from .codecs import Raw
from .errors import BusyError, ClosedError, CodecError, ConfigError, OffloadError, PacketError
from .framed import Framed
from .framed.base import Sink, Source
from .framed.sources import TransportSource
from .kinds import check_kind
from .lease import Lease, TransportLease
from .protocols import PacketProtocol
from .streams import PacketStream, StreamProtocol
from .transports import PacketTransport

if TYPE_CHECKING:
    from .interfaces import Event
    from .offload import SuperPacket

__all__ = ["DeviceEnd", "relay"]

T = TypeVar("T")

DeviceEnd = PacketTransport | PacketStream


@overload
async def relay(
    a: DeviceEnd, b: DeviceEnd, *, filter: Callable[[SuperPacket], bool] | None = None
) -> None: ...


@overload
async def relay(
    a: Framed[T],
    b: Framed[T],
    *,
    filter: Callable[[T], bool] | None = None,
    map: Callable[[T], T] | None = None,
) -> None: ...


@overload
async def relay(
    a: PacketStream,
    b: Framed[bytes],
    *,
    filter: Callable[[bytes], bool] | None = None,
    map: Callable[[bytes], bytes] | None = None,
) -> None: ...


@overload
async def relay(
    a: Framed[bytes],
    b: PacketStream,
    *,
    filter: Callable[[bytes], bool] | None = None,
    map: Callable[[bytes], bytes] | None = None,
) -> None: ...


async def relay(
    a: Any,
    b: Any,
    *,
    filter: Callable[[Any], bool] | None = None,
    map: Callable[[Any], Any] | None = None,
) -> None:
    """Forward what `a` receives to `b` and the reverse, until either is closed.

    A side that pushes back pauses the other. Raises what ended either side
    (`InterfaceGoneError`, `ConnectionResetError`), `ClosedError` if one is
    closed already, and `BusyError` for an end and itself, and for one that
    another relay has.

    Between devices, super-packets pass as they are, and are split only for a
    device without that offload. What a `PacketStream` had received already goes
    first. `filter` is asked about each super-packet (an ordinary packet is one
    too, with gso_type NONE): all its segments belong to one flow. It is dropped
    if the answer is false. When this returns, raises or is cancelled, what is
    still open goes back to the protocol or stream it had before, and reading is
    paused again if it was. Raises `ConfigError` for a TUN and a TAP, whose packets
    differ.

    Between framed ends, or one and a `PacketStream`, items pass: those for which
    `filter` is true, as `map` returns them. An item that cannot be decoded or
    encoded is dropped (`counters` tell) unless nothing can follow it. Both ends
    stay open; no item is lost when this is cancelled.
    """
    for end in (a, b):
        check_kind(end, "an end of a relay", PacketStream, PacketTransport, Framed)
    ends = [end.transport if isinstance(end, PacketStream) else end for end in (a, b)]
    if ends[0] is ends[1]:
        raise BusyError(errno.EBUSY, "an end is relayed to another, not to itself")
    if isinstance(a, Framed) or isinstance(b, Framed):
        with Lease(ends[0]), Lease(ends[1]):
            await _relay_items(_framed(a), _framed(b), filter, map)
    elif map is not None:
        raise ConfigError("super-packets are not mapped: relay framed ends instead")
    else:
        await _relay_super_packets(ends[0], ends[1], filter)


def _framed(end: PacketStream | Framed[T]) -> Framed[Any]:
    return end if isinstance(end, Framed) else Framed(end, Raw())


async def _relay_items(
    a: Framed[Any],
    b: Framed[Any],
    filter: Callable[[Any], bool] | None,
    map: Callable[[Any], Any] | None,
) -> None:
    a._sink.check_open()
    b._sink.check_open()

    def chosen(items: Iterator[Any]) -> Iterator[Any]:
        # No builtins: a StopIteration of these would end them, and nobody hear of the rest.
        for item in items:
            if filter is None or filter(item):
                yield item if map is None else map(item)

    choose = chosen if filter or map else iter

    def pass_on(items: Iterable[Any], sink: Sink[Any]) -> None:
        _put(sink, iter(items), choose)

    passing = [
        asyncio.ensure_future(_pass_items(reader._source, writer._sink, pass_on))
        for reader, writer in ((a, b), (b, a))
    ]
    try:
        await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in passing:
            task.cancel()
        await despite_cancellation(asyncio.wait(passing))
    for task in passing:
        if not task.cancelled():
            task.result()


async def _pass_items(
    source: Source[Any], sink: Sink[Any], pass_on: Callable[[Iterable[Any], Sink[Any]], None]
) -> None:
    delivered = source if isinstance(source, TransportSource) else None

    def take() -> None:
        """Pass on what waits. The delivery calls this, so no task runs and a batch leaves whole."""
        sink.check_open()
        if delivered is not None and not sink.full:
            pass_on(delivered.recv_waiting(), sink)

    with suppress(ClosedError):
        while True:
            await sink.ready()  # before receiving: what is received can be put at once
            try:
                if delivered is not None:
                    await delivered.readable(take)
                else:
                    pass_on(await source.recv_many(), sink)
            except CodecError as exc:
                if not exc.recoverable:
                    raise


def _put(
    sink: Sink[Any], items: Iterator[Any], choose: Callable[[Iterator[Any]], Iterator[Any]]
) -> None:
    """Put what is chosen. An item that raises is dropped, and the iterator goes on behind it."""
    while True:
        try:
            sink.put(choose(items))
            return
        except (CodecError, PacketError):
            pass


async def _relay_super_packets(
    a: PacketTransport, b: PacketTransport, filter: Callable[[SuperPacket], bool] | None
) -> None:
    layers = [end.device.layer for end in (a, b)]
    if layers[0] != layers[1]:
        raise ConfigError(f"a {layers[0]} and a {layers[1]} have different packets: no relay")
    for end in (a, b):
        if end.is_closing():
            raise ClosedError
        end._check_free()
    protocols = []
    for end, other in ((a, b), (b, a)):
        replaced = end.get_protocol()
        if isinstance(replaced, StreamProtocol):
            other.writelines(replaced.drain())
        protocols.append(_RelayProtocol(TransportLease(end), other, filter))
    for protocol in protocols:
        protocol.start()
    try:
        ended, _ = await asyncio.wait(
            [end._closed for end in (a, b)], return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        for protocol in protocols:
            protocol.lease.close()
    for exc in (each.result() for each in ended):
        if exc is not None:
            raise exc.with_traceback(None)


class _RelayProtocol(PacketProtocol):
    """Hands what one transport receives to the other, and all else to the protocol it replaces."""

    def __init__(
        self,
        lease: TransportLease[PacketTransport],
        other: PacketTransport,
        filter: Callable[[SuperPacket], bool] | None,
    ) -> None:
        self.lease = lease
        self._replaced = lease.protocol
        self._other = other
        self._filter = filter

    def start(self) -> None:
        transport = self.lease.lent
        transport.set_protocol(self)
        if self._filter is None:
            transport._pass_to(self._other)
        if self._other._protocol_paused:  # before there was a relay to be told of it
            transport.pause_reading()
        else:
            transport.resume_reading()

    def super_packets_received(self, packets: list[SuperPacket]) -> None:
        write_super = self._other.write_super
        for packet in packets:
            if self._filter is None or self._filter(packet):
                try:
                    write_super(packet)
                except OffloadError as exc:
                    self.error_received(exc)

    def connection_made(self, transport: PacketTransport) -> None:
        self._replaced.connection_made(transport)

    def pause_writing(self) -> None:
        self._other.pause_reading()
        self._replaced.pause_writing()

    def resume_writing(self) -> None:
        self._other.resume_reading()
        self._replaced.resume_writing()

    def error_received(self, exc: Exception) -> None:
        self._replaced.error_received(exc)

    def device_changed(self, event: Event) -> None:
        self._replaced.device_changed(event)

    def connection_lost(self, exc: Exception | None) -> None:
        self._replaced.connection_lost(exc)
