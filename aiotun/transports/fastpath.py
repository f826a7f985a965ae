"""Port: the way of packets between a queue and a protocol, in Python and in C.

`Port` is the specification. `NativePort` does the same in C for what every packet needs,
and calls the functions of `Port` for all that is rare: errors, malformed frames, a queue
that is full. The tests drive both with the same random scripts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ..buffers import to_bytes
from ..errors import OffloadError
from ..native import native
from ..offload import NO_OFFLOAD, SuperPacket
from ..packetio import PACKET_MAX, READ_BATCH, PacketReader, PacketWriter, weigh
from .flushing import flush_since

if TYPE_CHECKING:
    from ..device import Device
    from ..flows.translate import Rewrite
    from ..platforms.base import Queue
    from .flushing import Tick

__all__ = ["WRITE_BATCH", "Callback", "Owner", "Port", "make_port"]

WRITE_BATCH = 256
"""Packets that gather before they are written without waiting for the end of the tick."""

Callback = Literal["packet_received", "packets_received", "super_packets_received"]
"""A protocol's method that gets what was read."""


class Owner(Protocol):
    """The calls that a port makes to its transport."""

    def _complain(self, exc: BaseException, where: str) -> None:
        """A callback raised."""

    def _fail(self, exc: Exception) -> None:
        """The queue raised an error after which the transport has to end, or memory was refused."""

    def _pushed_back(self) -> None:
        """The queue does not take all that was written: the rest waits in the writer."""

    def _warn_late(self) -> None:
        """Something was written after the end, and dropped."""

    def _unused(self) -> None:
        """The transport is closed, and the port no longer reads or writes."""


class Port:
    """Reads and delivers, gathers and flushes. Not thread-safe.

    While one delivers, what is written to any transport of the loop is due when
    the delivery ends (see flushing.py); else at the end of the loop's turn.
    """

    def __init__(
        self,
        owner: Owner,
        loop: asyncio.AbstractEventLoop,
        tick: Tick,
        device: Device,
        report: Callable[[Exception], None],
    ) -> None:
        self.owner = owner
        self.loop = loop
        self.tick = tick
        self.reader = PacketReader(device.io, device.counters, report)
        self.writer = PacketWriter(
            device.io, device.counters, report, device.logger, device.udp_zero_checksum
        )
        self.counters = device.counters
        self.layer = device.layer
        self.size_max = PACKET_MAX[device.layer]
        device.users.add(self)
        self.protocol: Any = None
        self.callback: Callback = "packet_received"
        """The one of the protocol's methods that is called."""
        self.target: Port | None = None
        """Where all that the protocol does is to write each super-packet to that port, as a
        relay's does. The native port then spares the way over the protocol where both sides
        have a virtio_net_hdr, or neither has."""
        self.rewrites: Mapping[bytes, Rewrite] | None = None
        """By packets' keys. Where one is plain, all that the protocol does with a packet of TCP
        without SYN, FIN and RST is to write it back, rewritten. The native port spares that too."""
        self.pending: list[bytes | SuperPacket] = []
        """Packets that were read and not delivered yet."""
        self.packets: list[bytes] = []
        """Packets that were written and not flushed yet."""
        self.reading = False
        """Whether to read and deliver: neither paused nor closed."""
        self.closed = False
        self.uses = 0
        """Calls that read or write the queue, one within the other. It stays open meanwhile."""
        self.turns = 0
        """Ticks that have ended, of those in which a flush followed."""
        self.due = False
        """A flush follows: at the end of the delivery that goes on, or of the loop's turn."""

    def _use(self, act: Callable[..., None], *args: Any) -> None:
        """Do what reads or writes the queue. It stays open meanwhile, whatever ends the transport:
        a callback, or a finalizer or a signal handler that runs within this."""
        self.uses += 1
        try:
            act(*args)
        finally:
            self._leave()

    def _leave(self) -> None:
        self.uses -= 1
        if self.closed and not self.uses:
            self.owner._unused()

    def set_queue(self, queue: Queue) -> None:
        """Read from and write to this one from now on: the same one, watched or not any more."""
        self.reader.queue = self.writer.queue = queue

    # From the queue to the protocol.

    def set_protocol(self, protocol: object, callback: Callback) -> None:
        """What follows goes to this protocol, also within a batch that is being delivered."""
        self.protocol = protocol
        self.callback = callback
        self.target = None
        self.rewrites = None

    def read_ready(self) -> None:
        """The queue is readable: read one bounded batch, deliver it, flush what was written."""
        self._use(self._read)
        self.deliver()

    def _read(self) -> None:
        if not self.reading:
            return
        try:
            packets: Sequence[bytes | SuperPacket]
            if self.callback == "super_packets_received":
                packets = self.reader.read_super()
            else:
                packets = self.reader.read()
            self.pending += packets
        except Exception as exc:
            self.owner._fail(exc)

    def deliver(self) -> None:
        """Give the protocol what is pending, then flush what was written meanwhile, wherever."""
        if not (self.pending and self.reading):
            return
        tick = self.tick
        outer = len(tick)
        tick.append(self)
        try:
            self.due = True
            while self.pending and self.reading:
                self._hand_over()
        finally:
            flush_since(tick, outer)

    def _hand_over(self) -> None:
        packets, self.pending = self.pending, []
        callback = self.callback
        try:
            received = getattr(self.protocol, callback)
            if callback == "packet_received":
                self._hand_over_each(received, self.protocol, iter(self._as_packets(packets)))
            elif callback == "packets_received":
                received(self._as_packets(packets))
            else:
                received(_as_super_packets(packets))
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self.owner._complain(exc, callback)

    def _hand_over_each(
        self, received: Callable[[bytes], None], protocol: object, packets: Iterator[bytes]
    ) -> None:
        try:
            for packet in packets:
                received(packet)
                if not self.reading or self.protocol is not protocol:
                    break
        finally:
            self.pending.extend(packets)

    def _as_packets(self, packets: list[Any]) -> list[bytes]:
        """What a protocol that takes no super-packets gets of what was read for one that did."""
        if SuperPacket not in map(type, packets):
            return packets
        split: list[bytes] = []
        for packet in packets:
            try:
                split += packet.split(self.layer) if type(packet) is SuperPacket else [packet]
            except OffloadError:
                self.reader.refuse(packet.frame)
        return split

    def drop_pending(self) -> None:
        """Drop and count the packets that were read and not delivered."""
        self.counters.dropped_received += sum(
            weigh(each.frame, self.layer)[0] if type(each) is SuperPacket else 1
            for each in self.pending
        )
        self.pending = []

    # From the protocol to the queue.

    def write(self, data: bytes | bytearray | memoryview, /) -> None:
        """See `PacketTransport.write`."""
        if type(data) is not bytes:
            data = to_bytes(data)
        if self.closed:
            self.writer.drop([data])
            self.owner._warn_late()
        elif not 0 < len(data) <= self.size_max:
            self.writer.refuse(data)
        else:
            self.packets.append(data)
            if len(self.packets) >= WRITE_BATCH:
                self.flush()
            elif not self.due:
                if self.tick:
                    self.tick.append(self)
                else:
                    self.loop.call_soon(self._end_of_tick)
                self.due = True  # unless that raised: then the next packet's sees to it

    def writelines(self, packets: Iterable[bytes | bytearray | memoryview]) -> None:
        """`write` for each."""
        for packet in packets:
            self.write(packet)

    def write_super(self, packet: SuperPacket, /) -> None:
        """See `PacketTransport.write_super`."""
        if not isinstance(packet, SuperPacket):
            raise TypeError(f"a super-packet is a SuperPacket, not {type(packet).__name__}")
        self.flush()
        self.write_super_flushed(packet)

    def write_super_flushed(self, packet: SuperPacket) -> None:
        """Write it, as what was written before has been flushed."""
        self._use(self._write_super, packet)

    def _write_super(self, packet: SuperPacket) -> None:
        if self.closed:
            self.writer.drop_super(packet)
            self.owner._warn_late()
        else:
            self._write(self.writer.write_super, packet)

    def flush(self) -> None:
        """Hand what gathered to the queue, coalesced."""
        if self.packets:
            self._use(self._flush)

    def _flush(self) -> None:
        packets = self._take_written()
        if packets:
            self._write(self.writer.write, packets)

    def _end_of_tick(self) -> None:
        self.turns += 1
        self.due = False
        self.flush()

    def write_left(self, frames: list[bytes]) -> None:
        """Write frames, the rest of what the native port has coalesced and counted."""
        self._write(self.writer.write_left, frames)

    def drop_written(self) -> None:
        """Drop and count the packets that were not written yet."""
        self.writer.drop(self._take_written())
        self.writer.drop_backlog()

    def _take_written(self) -> list[bytes]:
        none: list[bytes] = []  # before all else: a finalizer may write and flush
        packets, self.packets = self.packets, none
        return packets

    def _write(self, write: Callable[[Any], None], packets: Any) -> None:
        try:
            write(packets)
        except OffloadError:
            raise
        except Exception as exc:
            self.owner._fail(exc)
        finally:
            if self.writer.backlog:
                self.owner._pushed_back()


def _as_super_packets(packets: list[Any]) -> list[SuperPacket]:
    """What a protocol that takes super-packets gets of what was read for one that did not."""
    return [SuperPacket(NO_OFFLOAD + each) if type(each) is bytes else each for each in packets]


def direct_channel(queue: Queue) -> int:
    """What C reads and writes by itself; -1 where it leaves all to the twin."""
    return -1 if queue.direct is None else queue.channel()


if native is not None:

    class NativePort(native.Port, Port):
        """The attributes that change with each packet, and their methods, are those in C."""

        def __init__(
            self,
            owner: Owner,
            loop: asyncio.AbstractEventLoop,
            tick: Tick,
            device: Device,
            report: Callable[[Exception], None],
        ) -> None:
            super().__init__(owner, loop, tick, device, report)
            queue = device.queue
            self._bind(
                Port,
                direct_channel(device.io),
                queue.layer,
                queue.vnet_hdr,
                queue.families,
                self.writer.table,
                self.writer.waiting,
                device.counters,
                READ_BATCH,
                WRITE_BATCH,
                self.size_max,
                queue.recvmsg_x,
            )

        def set_queue(self, queue: Queue) -> None:
            super().set_queue(queue)
            self._set_channel(direct_channel(queue))


def make_port(
    owner: Owner,
    loop: asyncio.AbstractEventLoop,
    tick: Tick,
    device: Device,
    report: Callable[[Exception], None],
) -> Port:
    """The native one where it is built, and the queue is a plain descriptor."""
    kind = Port if native is None or device.queue.direct is None else NativePort
    return kind(owner, loop, tick, device, report)
