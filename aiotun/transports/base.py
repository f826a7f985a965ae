"""PacketTransport: a device as an asyncio transport, whatever tells that it is ready.

Everything that users see is decided here. A subclass says how to learn that
the queue is readable or writable and that the interface was changed.
"""

from __future__ import annotations

import asyncio
import errno
import functools
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..buffers import to_bytes
from ..errors import InterfaceGoneError, OffloadError, PacketError
from ..interfaces import InterfaceGone, LinkChanged
from ..native import native
from ..offload import NO_OFFLOAD, SuperPacket
from ..packetio import PACKET_MAX, READ_BATCH, PacketReader, PacketWriter, check_packet
from ..protocols import PacketProtocol
from .closing import close_off_loop
from .fastpath import Port
from .flushing import flush_since, tick_of
from .message import MessageTransport

if TYPE_CHECKING:
    from ..device import Device, DeviceLease
    from ..packetio import Counters

__all__ = ["WRITE_BATCH", "PacketTransport"]

WRITE_BATCH = 256
"""Packets that gather before they are written without waiting for the end of the tick."""


class PacketTransport(MessageTransport, asyncio.Transport):
    """Moves the packets of one device between the kernel and a `PacketProtocol`.

    Made by `create_device_endpoint`. Unlike a stream transport it keeps packet
    boundaries and counts in packets, not bytes. Not thread-safe, like all of
    asyncio's transports.

    Extra infos: `device`, `name`, `mtu`, `offload`, `fileno`; name and MTU
    follow the interface.
    """

    noun = "packet"
    protocol_kind = PacketProtocol

    def __init__(
        self, loop: asyncio.AbstractEventLoop, lease: DeviceLease, protocol: PacketProtocol
    ) -> None:
        self._check_protocol(protocol)
        self._ownership = lease
        self._device = device = lease.lent
        self._queue = device.queue
        self._events = device.interface.events()
        self._reader = PacketReader(self._queue, device.counters, self._report)
        self._writer = PacketWriter(self._queue, device.counters, self._report, device.logger)
        self._packet_max = PACKET_MAX[device.layer]
        self._tick = tick_of(loop)
        self._port = self._make_port()  # what is read, written and called goes there first
        self._port.pending.extend(lease.pending)
        self.write = self._port.write  # type: ignore[method-assign]
        infos = {
            "device": device,
            "name": device.name,
            "mtu": device.mtu,
            "offload": device.offload,
            "fileno": self._fileno(),
        }
        super().__init__(loop, infos)
        self.set_protocol(protocol)

    def _make_port(self) -> Port:
        queue, writer = self._queue, self._writer
        if native is None or not queue.direct:
            return Port(self, self._tick, self._packet_max, WRITE_BATCH)
        port = native.Port(
            self,
            self._tick,
            self._packet_max,
            WRITE_BATCH,
            READ_BATCH,
            queue.fileno(),
            queue.layer,
            queue.vnet_hdr,
            writer.table,
            writer.waiting,
            self._device.counters,
        )
        self.write_super = port.write_super  # type: ignore[assignment, method-assign]
        return port

    def _fileno(self) -> int | None:
        """The queue's descriptor, if it has one."""
        return self._queue.fileno()

    def _start(self) -> asyncio.Future[None]:
        """Call `connection_made`, then read; to be called once. Done when both happened."""
        started = self._loop.create_future()

        def start() -> None:
            self._call("connection_made", self)
            if not self._port.closed:
                self._watch_events()
                self._resume()
            if not started.done():
                started.set_result(None)

        self._loop.call_soon(start)
        return started

    # What it is.

    @property
    def device(self) -> Device:
        """What is asked about the interface and changes it; packets pass here alone."""
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
        port = self._port
        port.protocol = protocol
        port.target = None
        port.hold = True  # the batch being delivered stops, and goes on with the new one
        port.callback = next(
            (
                name
                for name in ("super_packets_received", "packets_received")
                if _overrides(protocol, name)
            ),
            "packet_received",
        )

    def _label(self) -> object:
        return self.name

    # From the device to the protocol.

    def pause_reading(self) -> None:
        """Deliver nothing more; the kernel's queue then fills, drops and counts.

        That the interface was changed or deleted is noticed all the same.
        """
        if self.is_reading():
            self._paused = self._port.hold = True
            self._unwatch_readable()

    def _resume(self) -> None:
        if self.is_reading():
            self._deliver([])
        if self.is_reading():
            self._watch_readable()

    def _read_ready(self) -> None:
        """For the subclass to call when the queue is readable: one bounded batch."""
        if not self.is_reading():
            return
        super_packets = self._port.callback == "super_packets_received"
        try:
            packets = self._reader.read_super() if super_packets else self._reader.read()
        except Exception as exc:
            self._fail(exc)
        else:
            self._deliver(packets)

    def _deliver(self, packets: Sequence[Any]) -> None:
        """Give the protocol what is pending and these, then flush what it wrote, wherever."""
        port, tick = self._port, self._tick
        pending = port.pending
        pending += packets
        outer = len(tick)
        port.due = True
        tick.append(port)
        try:
            while pending and self.is_reading():
                packets = pending.copy()
                pending.clear()
                port.hold = False
                self._hand_over(packets)
        finally:
            flush_since(tick, outer)

    def _hand_over(self, packets: list[Any]) -> None:
        callback = self._port.callback
        if callback == "packet_received":
            self._hand_over_each(packets)
            return
        if callback == "super_packets_received":
            # Plain packets are those that were pending when the protocol came.
            packets = [SuperPacket(NO_OFFLOAD + p) if isinstance(p, bytes) else p for p in packets]
        self._call(callback, packets)

    def _hand_over_each(self, packets: list[bytes]) -> None:
        port = self._port
        received = port.protocol.packet_received
        remaining = iter(packets)
        try:
            for packet in remaining:
                if port.hold:
                    port.pending.append(packet)
                    break
                received(packet)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._complain(exc, "packet_received")
        finally:
            port.pending.extend(remaining)

    def _malformed(self, frame: bytes) -> None:
        """For the port, which read it."""
        self._reader.refuse(frame)

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
        if type(data) is not bytes:
            data = to_bytes(data)
        if self._port.closed:
            self._refuse_late()
            return
        if not 0 < len(data) <= self._packet_max:
            self._refuse(data)
            return
        port = self._port
        port.append(data)
        if len(port) >= WRITE_BATCH:
            self.flush()
        elif not port.due:
            port.due = True
            if self._tick:
                self._tick.append(port)
            else:
                self._loop.call_soon(port.end_of_tick)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Write packets: `write` for each, boundaries kept."""
        write = self.write
        for data in list_of_data:
            write(data)

    def write_super(self, packet: SuperPacket) -> None:
        """Write a super-packet as it is, behind what was written before.

        It is split where the device lacks the offload for it. Raises
        `OffloadError` when its header contradicts its bytes, and `TypeError` for
        what is not a `SuperPacket`.
        """
        if not isinstance(packet, SuperPacket):
            raise TypeError(f"a super-packet is a SuperPacket, not {type(packet).__name__}")
        self.flush()
        if self._port.closed:
            self._refuse_late()
        else:
            self._write(self._writer.write_super, packet)

    def flush(self) -> None:
        """Hand everything written so far to the device now, coalesced."""
        packets = self._port.take()
        if packets:
            self._write(self._writer.write, packets)

    def _write_left(self, frames: list[bytes]) -> None:
        """For the port, which wrote what was before them."""
        self._write(self._writer.write_left, frames)

    def _write(self, write: Callable[[Any], None], packets: Any) -> None:
        try:
            write(packets)
        except OffloadError:
            raise
        except Exception as exc:
            self._fail(exc)
        if self._writer.backlog:
            self._watch_writable()
            self._pause_protocol()

    def _write_ready(self) -> None:
        """For the subclass to call when the queue is writable."""
        try:
            self._writer.resume()
        except Exception as exc:
            self._fail(exc)
            return
        if not self._writer.backlog:
            self._unwatch_writable()
        self._resume_protocol()
        if self._port.closed and not self._writer.backlog:
            self._finish(None)

    def get_write_buffer_size(self) -> int:
        """Packets (coalesced ones count as one) that wait for the device."""
        return len(self._port) + self._writer.backlog

    def _refuse(self, packet: bytes) -> None:
        self._device.counters.dropped_sent += 1
        try:
            check_packet(packet, self._queue.layer)
        except PacketError as exc:
            self._report(exc)

    def _refuse_late(self) -> None:
        self._warn_late()
        self._device.counters.dropped_sent += 1

    def _pass_to(self, other: PacketTransport) -> None:
        """Super-packets may go there without the protocol, which would do the same with them."""
        if type(self._port) is type(other._port):
            self._port.target = other._port

    # The end.

    def is_closing(self) -> bool:
        return self._port.closed

    def close(self) -> None:
        """Write what waits, give the device back (off the loop), then call `connection_lost`."""
        if self._port.closed:
            return
        self.flush()
        self._port.hold = self._port.closed = True
        self._unwatch_readable()
        if not self._writer.backlog:
            self._finish(None)

    def _fail(self, exc: Exception) -> None:
        """End because of an error that leaves nothing to go on with."""
        if not isinstance(exc, OSError):
            self._complain(exc, "the device's input and output")
        self._end(exc)

    def _end(self, exc: Exception | None) -> None:
        self._port.hold = self._port.closed = True
        self._device.counters.dropped_sent += len(self._port.take())
        self._writer.drop()
        self._finish(exc)

    def _finish(self, exc: Exception | None) -> None:
        if self._finished:
            return
        self._finished = True
        self._unwatch()
        self._close_device().add_done_callback(functools.partial(self._lost, exc))

    def _close_device(self) -> asyncio.Future[None]:
        """Closing a TUN blocks for some 20 ms (the kernel waits for its own readers)."""
        return close_off_loop(self._loop, self._ownership.close)

    def _lost(self, exc: Exception | None, closing: asyncio.Future[None]) -> None:
        failure = closing.exception()
        if failure is not None:
            self._complain(failure, "closing the device")
        self._device.counters.dropped_received += len(self._port.pending)
        self._port.pending.clear()
        try:
            self._call("connection_lost", exc)
        finally:
            self._closed.set_result(exc)

    def _abandon(self) -> None:
        self._ownership.close()

    def _report(self, exc: Exception) -> None:
        self._call("error_received", exc)

    # How a subclass learns that the device is ready. It calls `_read_ready`,
    # `_write_ready` and `_events_ready`, always from the loop, never from
    # within these methods, and watching twice is the same as once.

    @abstractmethod
    def _watch_readable(self) -> None: ...

    @abstractmethod
    def _unwatch_readable(self) -> None: ...

    @abstractmethod
    def _watch_writable(self) -> None: ...

    @abstractmethod
    def _unwatch_writable(self) -> None: ...

    @abstractmethod
    def _watch_events(self) -> None: ...

    @abstractmethod
    def _unwatch(self) -> None:
        """Watch nothing any more: the device is about to be closed."""


def _overrides(protocol: PacketProtocol, callback: str) -> bool:
    """Whether the class or the object brings a callback of its own."""
    method = getattr(protocol, callback, None)
    return method is not None and getattr(method, "__func__", None) is not getattr(
        PacketProtocol, callback
    )
