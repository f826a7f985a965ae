"""PacketTransport: a device as an asyncio transport.

Packets pass through the transport's port (fastpath.py). The transport itself does what
happens more rarely: it keeps settings, pauses, and closes. A subclass knows how to learn
that the queue is readable or writable, and that the interface was changed.
"""

from __future__ import annotations

import asyncio
import errno
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from ..errors import InterfaceGoneError
from ..interfaces import InterfaceGone, LinkChanged
from ..protocols import PacketProtocol
from .base import MessageTransport
from .closing import close_off_loop
from .fastpath import Callback, Port, make_port
from .flushing import tick_of

if TYPE_CHECKING:
    from ..device import Device, DeviceLease
    from ..flows.translate import Rewrite
    from ..offload import SuperPacket
    from ..packetio import Counters

__all__ = ["PacketTransport"]


class PacketTransport(MessageTransport, asyncio.Transport):
    """Moves the packets of one device between the kernel and a `PacketProtocol`.

    Made by `create_device_endpoint`. Unlike a stream transport it keeps packet
    boundaries and counts in packets, not bytes. Not thread-safe, like all of
    asyncio's transports.

    Extra infos: `device`, `name`, `mtu`, `offload`, `fileno`; name and MTU
    follow the interface.
    """

    _noun = "packet"
    _protocol_kind = PacketProtocol
    _port: Port
    _retry: asyncio.TimerHandle | None = None

    def __init__(
        self, loop: asyncio.AbstractEventLoop, lease: DeviceLease, protocol: PacketProtocol
    ) -> None:
        self._check_protocol(protocol)
        self._ownership = lease
        self._device = device = lease.lent
        self._queue = device.queue
        self._events = device.interface.events()
        self._tick = tick_of(loop)
        self._port = make_port(self, loop, self._tick, device, self._report)
        self._port.pending.extend(lease.pending)
        for name, method in _PASSED_ON.items():
            if getattr(type(self), name) is method:  # nobody has replaced it
                setattr(self, name, getattr(self._port, name))
        infos = {
            "device": device,
            "name": device.name,
            "mtu": device.mtu,
            "offload": device.offload,
            "fileno": self._fileno(),
        }
        super().__init__(loop, infos)
        self.set_protocol(protocol)

    def _fileno(self) -> int | None:
        """The queue's descriptor, if it has one."""
        return self._queue.fileno()

    def _begin(self) -> None:
        self._watch_events()
        super()._begin()

    # What it is.

    @property
    def device(self) -> Device:
        """The device, to ask about its interface and to change it. Its packets pass here alone."""
        return self._device

    @property
    def name(self) -> str:
        """The interface's name, which follows it when it is renamed."""
        name: str = self._infos["name"]
        return name

    @property
    def mtu(self) -> int:
        """The interface's MTU in bytes, which follows it when it is changed."""
        mtu: int = self._infos["mtu"]
        return mtu

    @property
    def counters(self) -> Counters:
        """The device's counters: packets, super-packets, bytes and drops, both ways."""
        return self._device.counters

    def get_protocol(self) -> PacketProtocol:  # type: ignore[override]
        protocol: PacketProtocol = self._port.protocol
        return protocol

    def set_protocol(self, protocol: PacketProtocol) -> None:  # type: ignore[override]
        """The packets that follow go to this protocol, also those already read.

        Raises `TypeError` unless it is a `PacketProtocol` whose callbacks are plain functions.
        """
        self._check_protocol(protocol)
        self._port.set_protocol(protocol, _callback_of(protocol))

    def _label(self) -> object:
        return self.name

    # From the device to the protocol.

    def pause_reading(self) -> None:
        """Deliver nothing more; the kernel's queue then fills, drops and counts.

        That the interface was changed or deleted is noticed all the same.
        """
        if self.is_reading():
            self._paused = True
            self._port.reading = False
            self._unwatch_readable()

    def _resume(self) -> None:
        if self.is_reading():
            self._port.reading = True
            self._port.deliver()
        if self.is_reading():
            self._watch_readable()

    def _events_ready(self) -> None:
        """For the subclass to call when the interface's events are readable."""
        for event in self._events.read():
            if isinstance(event, InterfaceGone):
                self._fail(InterfaceGoneError(errno.ENODEV, f"interface {self.name} was deleted"))
                return
            if isinstance(event, LinkChanged):
                self._infos.update(name=event.name, mtu=event.mtu)
                self._device.logger.subject = event.name
            self._call("device_changed", event)

    # From the protocol to the device.

    def can_write_eof(self) -> bool:
        return False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write one packet; it leaves at the end of the tick, coalesced with others.

        Never blocks. Mutable buffers are copied. A packet may be larger than the
        MTU, which limits what the system sends, not what it receives. One that is
        empty or larger than an IP packet or frame can be (65535 bytes and 18 of
        Ethernet header) is dropped, counted and reported to `error_received`, like
        one that the kernel refuses (no IP packet; the interface is down). After
        `close` packets are dropped and counted. Raises `TypeError` for what is no bytes.
        """
        self._port.write(data)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Write packets as `write` does, boundaries kept. It does not go through `write`."""
        self._port.writelines(list_of_data)

    def write_super(self, packet: SuperPacket) -> None:
        """Write a super-packet as it is, behind what was written before.

        It is split where the device lacks the offload for it. One of gso_type NONE that is
        empty or too large fares as with `write`. Raises `OffloadError` when its header
        contradicts its bytes, and `TypeError` for what is not a `SuperPacket`.
        """
        self._port.write_super(packet)

    def flush(self) -> None:
        """Hand everything written so far to the device now, coalesced."""
        self._port.flush()

    @property
    def turns(self) -> int:
        return self._port.turns

    def _pushed_back(self) -> None:
        if not self._finished:
            self._watch_writable()
        self._pause_protocol()

    def _write_later(self) -> None:
        """Watch a queue that tells nobody when it takes packets again: see `Queue.retry_after`."""
        assert self._queue.retry_after is not None
        if self._retry is None:
            self._retry = self._loop.call_later(self._queue.retry_after, self._write_again)

    def _write_again(self) -> None:
        self._retry = None
        self._watch_writable()  # until there is no backlog
        self._write_ready()

    def _unwatch_writable(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _has_backlog(self) -> bool:
        return bool(self._port.writer.waiting)

    def _write_backlog(self) -> None:
        try:
            self._port.writer.resume()
        except Exception as exc:
            self._fail(exc)

    def get_write_buffer_size(self) -> int:
        """Packets (coalesced ones count as one) that wait for the device."""
        return len(self._port.packets) + self._port.writer.backlog

    def _pass_to(self, other: PacketTransport) -> None:
        """Super-packets may go there without the protocol, which would do the same with them."""
        if type(self._port) is type(other._port):
            self._port.target = other._port

    def _write_back(self, rewrites: Mapping[bytes, Rewrite]) -> None:
        """What these are for may be written back without the protocol: see `Port.rewrites`."""
        self._port.rewrites = rewrites

    # The end.

    def is_closing(self) -> bool:
        return self._port.closed

    def _fail(self, exc: Exception) -> None:
        """End because of an error after which nothing can be read or written."""
        if not isinstance(exc, OSError):
            self._complain(exc, "the device's input and output")
        if not isinstance(exc, MemoryError):  # next time there may be some
            self._end(exc)

    def _stop(self) -> None:
        self._port.closed = True
        self._port.reading = False

    def _drop(self) -> None:
        self._port.drop_written()

    def _release(self, released: Callable[[], None]) -> None:
        def closed(closing: asyncio.Future[None]) -> None:
            failure = closing.exception()
            if failure is not None:
                self._complain(failure, "closing the device")
            self._port.drop_pending()
            released()

        self._close_device().add_done_callback(closed)

    def _close_device(self) -> asyncio.Future[None]:
        """Closing a TUN blocks for some 20 ms (the kernel waits for its own readers)."""
        return close_off_loop(self._loop, self._ownership.close)

    def _abandon(self) -> None:
        self._ownership.close()

    def _report(self, exc: Exception) -> None:
        self._call("error_received", exc)

    # A subclass calls `_port.read_ready`, `_write_ready` and `_events_ready`.

    @abstractmethod
    def _watch_events(self) -> None: ...


_PASSED_ON = {name: getattr(PacketTransport, name) for name in ("write", "write_super")}
"""The methods that a program calls for each packet, and that only call the port's. A transport
takes the port's in their place, which spares a call of Python for each packet."""


def _callback_of(protocol: PacketProtocol) -> Callback:
    """Which of its methods gets what was read: the first that the class or object overrides."""
    ways: tuple[Callback, ...] = ("super_packets_received", "packets_received")
    for way in ways:
        method = getattr(protocol, way)
        if getattr(method, "__func__", None) is not getattr(PacketProtocol, way):
            return way
    return "packet_received"
