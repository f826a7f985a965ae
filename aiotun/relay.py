"""relay: pass packets on between two devices, by the fastest way both allow."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .errors import BusyError, ClosedError, ConfigError, OffloadError
from .protocols import PacketProtocol
from .streams import PacketStream, StreamProtocol
from .transports import PacketTransport

if TYPE_CHECKING:
    from .offload import SuperPacket
    from .platforms.base import Event

__all__ = ["End", "relay"]

End = PacketTransport | PacketStream


async def relay(a: End, b: End, *, filter: Callable[[SuperPacket], bool] | None = None) -> None:
    """Forward what `a` receives to `b` and the reverse, until either is closed.

    Super-packets pass as they are, and are split only for a device without that
    offload. What a `PacketStream` had received already goes first. A side that
    pushes back pauses the other.

    `filter` is asked about each super-packet (an ordinary packet is one too,
    with gso_type NONE): all its segments belong to one flow. It is dropped if
    the answer is false.

    When this returns, raises or is cancelled, what is still open goes back to
    the protocol or stream it had before. Raises what ended either side
    (`InterfaceGoneError`), `ClosedError` if one is closed already, and
    `ConfigError` for a TUN and a TAP, whose packets differ.
    """
    ends = [end.transport if isinstance(end, PacketStream) else end for end in (a, b)]
    layers = [end.get_extra_info("device").layer for end in ends]
    if layers[0] != layers[1]:
        raise ConfigError(f"a {layers[0]} and a {layers[1]} have different packets: no relay")
    if ends[0] is ends[1]:
        raise BusyError(errno.EBUSY, "a device is relayed to another, not to itself")
    if any(end.is_closing() for end in ends):
        raise ClosedError
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    protocols = [_RelayProtocol(end, other, filter, ended) for end, other in (ends, ends[::-1])]
    for protocol in protocols:
        protocol.start()
    try:
        await ended
    finally:
        for protocol in protocols:
            protocol.stop()


class _RelayProtocol(PacketProtocol):
    """Hands what one transport receives to the other, and all else to the protocol it replaces."""

    def __init__(
        self,
        transport: PacketTransport,
        other: PacketTransport,
        filter: Callable[[SuperPacket], bool] | None,
        ended: asyncio.Future[None],
    ) -> None:
        self._transport = transport
        self._other = other
        self._filter = filter
        self._ended = ended
        self._replaced: Any = transport.get_protocol()

    def start(self) -> None:
        if isinstance(self._replaced, StreamProtocol):
            self._other.writelines(self._replaced.packets)
            self._replaced.packets.clear()
        self._transport.set_protocol(self)
        self._transport.resume_reading()

    def stop(self) -> None:
        self._transport.set_protocol(self._replaced)
        self._transport.resume_reading()

    def super_packets_received(self, packets: list[SuperPacket]) -> None:
        write_super = self._other.write_super
        for packet in packets:
            if self._filter is None or self._filter(packet):
                try:
                    write_super(packet)
                except OffloadError as exc:
                    self.error_received(exc)

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
        if not self._ended.done():
            if exc is None:
                self._ended.set_result(None)
            else:
                self._ended.set_exception(exc)
