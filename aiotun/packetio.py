"""PacketReader and PacketWriter: packets out of a queue's frames, and frames out of packets.

`Device` and the transports share them. The reader splits the frames that it reads, and
the writer coalesces the packets that it writes. Neither blocks, but for `PacketReader.receive`.

If the queue is a descriptor, the native module reads and writes. It stops at the first
frame that is not plain (an error, a malformed frame, a full queue), and the code here
goes on from there. Without the native module the code here does everything.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

from .errors import InterfaceGoneError, OffloadError, PacketError
from .logs import NamedLogger
from .native import Counted, Counts, native
from .offload import NO_OFFLOAD, GROTable, SuperPacket, VirtioNetHeader, gso_split
from .offload.virtio import Layout
from .platforms.base import Queue

if TYPE_CHECKING:
    from .config import Layer
    from .interrupt import Interrupt

__all__ = [
    "NO_OFFLOAD",
    "PACKET_MAX",
    "READ_BATCH",
    "Counters",
    "PacketReader",
    "PacketWriter",
    "check_packet",
    "weigh",
]


READ_BATCH = 128
"""Packets after which one wake-up reads no further frame."""

PACKET_MAX = {"tun": 65535, "tap": 65535 + 18}
"""An IP packet's total length has 16 bits; an Ethernet header with one VLAN tag has 18 bytes."""


@dataclass
class Counters(Counted, Counts):
    """What passed between the program and its queue; `InterfaceStatistics` is the kernel's view.

    A super-packet counts as the packets that it stands for, whether it is split or not. Packets
    that were dropped are counted among those that were sent or received too.
    """

    frames_received: int = field(default_factory=int)
    """Reads that gave something: packets and super-packets alike."""
    super_packets_received: int = field(default_factory=int)
    packets_received: int = field(default_factory=int)
    bytes_received: int = field(default_factory=int)
    dropped_received: int = field(default_factory=int)
    """Read but not delivered: the transport closed, or a frame was malformed. One that was to be
    split is no packet that was received."""
    packets_sent: int = field(default_factory=int)
    """Packets that the program handed over."""
    bytes_sent: int = field(default_factory=int)
    frames_sent: int = field(default_factory=int)
    """What they became after coalescing: packets and super-packets alike."""
    super_packets_sent: int = field(default_factory=int)
    dropped_sent: int = field(default_factory=int)
    """Packets that the kernel refused, that have an impossible size, that waited for the device
    at an `abort`, or came after `close`."""


def check_packet(packet: bytes | bytearray | memoryview, layer: Layer) -> None:
    """Raise `PacketError` for a packet whose size no device of the layer can carry."""
    if not packet:
        raise PacketError(errno.EINVAL, "an empty packet was written, and dropped")
    if len(packet) > PACKET_MAX[layer]:
        raise PacketError(
            errno.EMSGSIZE,
            f"a packet of {len(packet)} bytes was written, and dropped: "
            f"a {layer} carries {PACKET_MAX[layer]} at most",
        )


def are_packets(packets: list[Any], size_max: int) -> bool:
    """Whether all are bytes, not empty, and no larger than that."""
    return {*map(type, packets)} <= {bytes} and all(
        0 < size <= size_max for size in {*map(len, packets)}
    )


def weigh(frame: bytes, layer: Layer) -> tuple[int, int]:
    """How many packets a frame stands for, and the bytes in them. A malformed one is a packet."""
    size = max(len(frame) - VirtioNetHeader.SIZE, 0)
    if frame[1:2] > b"\0":
        with suppress(OffloadError):
            header = VirtioNetHeader.unpack(frame)
            headers = header.layout(frame[VirtioNetHeader.SIZE :], layer).payload
            more = max(size - headers - 1, 0) // header.gso_size
            return 1 + more, size + more * headers
    return 1, size


class PacketReader:
    """Reads frames and splits them."""

    def __init__(
        self, queue: Queue, counters: Counters, report: Callable[[Exception], None]
    ) -> None:
        self.queue = queue
        """It changes when the device's does, as `Device.tap` says."""
        self._counters = counters
        self._report = report

    def read(self, limit: int = READ_BATCH) -> list[bytes]:
        """The packets that wait, oldest first; empty if none.

        Reading stops once there are `limit` packets; the last frame may take it
        some beyond. Raises `InterfaceGoneError`.
        """
        return self._count(_read_packets(self.queue, limit))

    def receive(self, timeout: float | None, interrupts: tuple[Interrupt, ...]) -> list[bytes]:
        """`read`; but where no frame waits, wait for one, and read that.

        This ends empty after `timeout` seconds, as soon as one of the interrupts is set, and now
        and then without a reason: so behind a signal, whose handler may have changed what the
        caller knows.
        """
        queue = self.queue
        if native and queue.direct is not None and queue.polled:
            return self._count(_read_packets(queue, READ_BATCH, (timeout, interrupts)))
        batch = _read_packets(queue, READ_BATCH)
        if batch[2]:
            return self._count(batch)
        queue.wait_readable(timeout, *interrupts)
        return []

    def _count(self, batch: Batch) -> list[bytes]:
        packets, size, frames, super_packets, malformed = batch
        counters = self._counters
        counters.frames_received += frames
        counters.super_packets_received += super_packets
        counters.packets_received += len(packets)
        counters.bytes_received += size
        if malformed is not None:
            self.refuse(malformed)
        return packets

    def refuse(self, malformed: bytes) -> None:
        """Count and report a frame that is empty or cannot be split."""
        self._counters.dropped_received += 1
        if not malformed:
            self._report(PacketError(errno.EINVAL, "an empty frame was read, and dropped"))
            return
        try:
            gso_split(malformed, self.queue.layer)
        except OffloadError as exc:
            self._report(exc)

    def read_super(self, limit: int = READ_BATCH) -> list[SuperPacket]:
        """Read at most `limit` super-packets, and split none."""
        frames = _read_frames(self.queue, limit)
        counters = self._counters
        if frames and not frames[-1]:
            counters.frames_received += 1
            self.refuse(frames.pop())
        if self.queue.vnet_hdr:
            counters.super_packets_received += sum(1 for frame in frames if frame[1:2] > b"\0")
        else:
            frames = [NO_OFFLOAD + frame for frame in frames]
        counters.frames_received += len(frames)
        for frame in frames:
            packets, size = weigh(frame, self.queue.layer)
            counters.packets_received += packets
            counters.bytes_received += size
        return list(map(SuperPacket, frames))


Batch: TypeAlias = "tuple[list[bytes], int, int, int, bytes | None]"
Wait: TypeAlias = "tuple[float | None, tuple[Interrupt, ...]]"
"""Seconds, None without end, and what else ends the wait."""


def _read_packets(queue: Queue, limit: int, wait: Wait | None = None) -> Batch:
    """See `_native.pyi`; without a frame where none waits. Raises `InterfaceGoneError`."""
    if not queue.vnet_hdr:
        packets = _read_frames(queue, limit, wait)
        frames = len(packets)
        empty = packets.pop() if packets and not packets[-1] else None
        return packets, sum(map(len, packets)), frames, 0, empty
    if native and queue.direct is not None:
        result = native.read_packets(queue.channel(), limit, queue.layer, wait)
        if result is None:
            return [], 0, 0, 0, None
        if result[2]:
            return result
    packets = []
    frames = super_packets = 0
    malformed = None
    for frame in _each_frame(queue):
        frames += 1
        try:
            segments = gso_split(frame, queue.layer)
        except OffloadError:
            malformed = frame
            break  # whatever the frames are, one call ends
        packets += segments
        super_packets += len(segments) > 1
        if len(packets) >= limit:
            break
    return packets, sum(map(len, packets)), frames, super_packets, malformed


def _read_frames(queue: Queue, limit: int, wait: Wait | None = None) -> list[bytes]:
    """See `_native.pyi`; none where none waits, the last one may be empty. Raises
    `InterfaceGoneError`."""
    if native and queue.direct is not None:
        channel, many = queue.channel(), queue.recvmsg_x
        frames = native.read_frames(channel, limit, queue.families, many, wait)
        if frames is None:
            return []
        if frames:
            return frames
    return list(islice(_each_frame(queue), limit))


def _each_frame(queue: Queue) -> Iterator[bytes]:
    """Until no more wait, or one is empty.

    Only the first read raises: a lasting error comes again.
    """
    try:
        frame = queue.read()
    except BlockingIOError:
        return
    with suppress(OSError):
        while frame:
            yield frame
            frame = queue.read()
        yield frame


class PacketWriter:
    """Coalesces packets and writes them, in order within each flow.

    What the queue does not take for now waits in the backlog. What it refuses
    is dropped, counted and reported, once for each kind of error and call.
    """

    def __init__(
        self,
        queue: Queue,
        counters: Counters,
        report: Callable[[Exception], None],
        logger: NamedLogger,
        udp_zero_checksum: bool,
    ) -> None:
        self.queue = queue
        self._counters = counters
        self._report = report
        self._logger = logger
        self.table = GROTable(queue.layer, queue.tcp_offload, queue.udp_offload, udp_zero_checksum)
        """What is coalesced; it changes with what the queue refuses."""
        self.waiting: deque[bytes] = deque()
        """The backlog; always the same object."""

    @property
    def backlog(self) -> int:
        """Frames that wait until the queue takes more."""
        return len(self.waiting)

    def write(self, packets: Sequence[bytes]) -> None:
        """Coalesce and write. Raises `InterfaceGoneError`; all else is reported."""
        counters, queue, table = self._counters, self.queue, self.table
        frames: Sequence[bytes] = packets
        try:
            if native and queue.vnet_hdr and queue.direct is not None and not self.waiting:
                size, written, super_packets, frames = native.write_packets(
                    queue.channel(),
                    packets,
                    queue.layer,
                    table.tcp,
                    table.udp,
                    table.udp_zero_checksum,
                )
                counters.frames_sent += written
                counters.super_packets_sent += super_packets
            else:
                size = sum(map(len, packets))
                if queue.vnet_hdr:
                    frames = table.coalesce(packets)
        except MemoryError:
            self.drop(packets)
            raise
        counters.packets_sent += len(packets)
        counters.bytes_sent += size
        if frames:
            self.write_left(frames)

    def refuse(self, packet: bytes) -> None:
        """Count and report a packet that no device of the layer carries."""
        self.drop([packet])
        try:
            check_packet(packet, self.queue.layer)
        except PacketError as exc:
            self._report(exc)

    def write_left(self, frames: Collection[bytes]) -> None:
        """Write coalesced frames, whose packets were counted. Raises `InterfaceGoneError`."""
        self._counters.frames_sent += len(frames)
        if self.queue.vnet_hdr:
            self._counters.super_packets_sent += sum(1 for frame in frames if frame[1])
        self._write_frames(frames)

    def write_super(self, packet: SuperPacket) -> None:
        """Write a super-packet as it is, or split where the queue or the kernel cannot take it.

        One of gso_type NONE that no device carries is refused. Raises `OffloadError`
        when its header contradicts its bytes (the kernel drops some such frames without an
        error), and `InterfaceGoneError`.
        """
        counters, queue, table = self._counters, self.queue, self.table
        frame = packet.frame
        written = (
            native is not None
            and queue.direct is not None
            and queue.vnet_hdr
            and not self.waiting
            and native.write_super(queue.channel(), frame, queue.layer, table.tcp, table.udp)
        )
        if not written:
            header = packet.header
            layout = header.check(packet.packet, queue.layer)
            if layout is None and not 0 < len(packet) <= PACKET_MAX[queue.layer]:
                self.refuse(packet.packet)
                return
            if not self._takes(header, layout):
                self.write(packet.split(queue.layer))
                return
        self._count_super(frame)
        counters.frames_sent += 1
        if frame[1]:
            counters.super_packets_sent += 1
        if not written:
            self._write_frames([frame])

    def resume(self) -> None:
        """Write what waits, as far as the queue takes it. Raises `InterfaceGoneError`."""
        waiting = self.waiting
        self._write_frames([waiting.popleft() for _ in range(len(waiting))])

    def drop(self, packets: Collection[bytes]) -> None:
        """Count packets that were handed over, and are not written."""
        self._counters.packets_sent += len(packets)
        self._counters.bytes_sent += sum(map(len, packets))
        self._counters.dropped_sent += len(packets)

    def drop_super(self, packet: SuperPacket) -> None:
        """The same for a super-packet."""
        self._counters.dropped_sent += self._count_super(packet.frame)

    def _count_super(self, frame: bytes) -> int:
        """Count what was handed over; how many packets that is."""
        packets, size = weigh(frame, self.queue.layer)
        self._counters.packets_sent += packets
        self._counters.bytes_sent += size
        return packets

    def drop_backlog(self) -> None:
        """Forget what waits, and count it; among what was sent it is counted already."""
        for frame in self.waiting:
            self._drop_frame(frame)
        self.waiting.clear()

    def _drop_frame(self, frame: bytes) -> None:
        packets = weigh(frame, self.queue.layer)[0] if self.queue.vnet_hdr else 1
        self._counters.dropped_sent += packets

    def _takes(self, header: VirtioNetHeader, layout: Layout | None) -> bool:
        """Whether the queue takes a packet with these headers as it is."""
        if not self.queue.vnet_hdr:
            return False
        if layout is None:
            return True
        if header.is_udp:
            return self.table.udp
        # Linux 6.12 and later take TCP behind IPv6 destination options or a routing
        # header, and drop it without an error where they forward it.
        return self.table.tcp and not layout.has_extensions

    def _write_frames(self, frames: Collection[bytes]) -> None:
        backlog = self.waiting
        if backlog:  # order: nothing overtakes what waits
            backlog.extend(frames)
            return
        write = self.queue.write
        errors: dict[int | None, OSError] = {}
        written = 0
        if native and self.queue.direct is not None:
            written = native.write_frames(self.queue.channel(), frames, self.queue.families)
        remaining = islice(frames, written, None)
        try:
            for frame in remaining:
                try:
                    write(frame)
                except BlockingIOError:
                    backlog.append(frame)
                except InterfaceGoneError:
                    self._drop_frame(frame)
                    raise
                except OSError as exc:
                    for error in self._refused(frame, exc):
                        errors.setdefault(error.errno, error)
                if backlog:
                    break
        finally:
            backlog.extend(remaining)
        for error in errors.values():
            self._report(error)

    def _refused(self, frame: bytes, exc: OSError) -> list[OSError]:
        """What to do about a refused frame: the errors that remain after doing it."""
        if not (self.queue.vnet_hdr and frame[1]):
            self._counters.dropped_sent += 1
            return [self._explain(exc)]
        # A refused super-packet says little: EIO is also an interface that is
        # down, EINVAL also a bad packet. Its packets one by one tell.
        errors: list[OSError] = []
        packets = deque(gso_split(frame, self.queue.layer))
        while packets:
            packet = NO_OFFLOAD + packets[0]
            try:
                self.queue.write(packet)
            except BlockingIOError:
                self.waiting.extend(NO_OFFLOAD + packet for packet in packets)
                return errors
            except InterfaceGoneError:
                self._counters.dropped_sent += len(packets)
                raise
            except OSError as error:
                self._counters.dropped_sent += 1
                errors.append(self._explain(error))
            packets.popleft()
        if not errors:
            self._do_without(VirtioNetHeader.unpack(frame), exc)
        return errors

    def _do_without(self, header: VirtioNetHeader, exc: OSError) -> None:
        kind = "TCP" if header.is_tcp else "UDP"
        if header.is_tcp:
            self.table.tcp = False
        else:
            self.table.udp = False
        self._logger.warning(
            "the kernel refuses %s super-packets (%s) and takes their packets: "
            "%s is sent without offload from now on",
            kind,
            exc.strerror,
            kind,
        )

    def _explain(self, exc: OSError) -> OSError:
        if exc.errno == errno.EINVAL:
            what = "no IP packet" if self.queue.layer == "tun" else "no Ethernet frame"
            return PacketError(
                errno.EINVAL, f"the kernel refused a packet, which was dropped: it is {what}"
            )
        return exc
