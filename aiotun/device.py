"""Device: a TUN or TAP device without an event loop, its blocking calls and its life."""

from __future__ import annotations

import errno
import math
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast
from weakref import WeakSet

from . import platforms
from .buffers import to_bytes
from .cancelling import Closing
from .config import AS_FOUND, DeviceConfig, DeviceSettings, KeptSettings, Layer, make_config
from .errors import (
    BusyError,
    ClosedError,
    InterruptError,
    PacketError,
)
from .forking import renew_in_child
from .interfaces import Event
from .interrupt import Interrupt, wait_for
from .kinds import check_fd, check_kind
from .lease import Lease, Lendable
from .logs import NamedLogger
from .native import native
from .packetio import (
    PACKET_MAX,
    Counters,
    PacketReader,
    PacketWriter,
    are_packets,
    check_packet,
)
from .platforms.base import Framing, Interface, Queue
from .platforms.tapped import Tap, TappedQueue
from .settings import InterfaceSettings
from .turns import Call, Turns
from .waiters import Waiters

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from .transports.fastpath import Port

__all__ = ["Device", "DeviceLease"]


T = TypeVar("T")

_are_packets = native.are_packets if native else are_packets

Buffer = bytearray | memoryview
"""Where a packet is received into: writable, and a sequence of bytes."""


WAIT_MAX = 24 * 3600.0
"""Seconds of one wait, behind which comes another: poll(2) takes 24 days at most."""

MOMENT = 0.001
"""Seconds after which who closes looks again whether others still use the device."""


class Device(InterfaceSettings, Closing, Lendable):
    """An open TUN or TAP device.

    >>> with Device(addresses=["10.9.0.1/24"]) as device:
    ...     packet = device.recv(timeout=1.0)

    Takes the fields of `DeviceConfig` as keywords, or one whole as `config`.
    Raises a `ConfigError` for values that no device can have, and another
    `TunError` when the system refuses; nothing is left open then.

    Packets are whole: an IP packet (TUN) or Ethernet frame (TAP) each, with
    complete checksums and nothing in front. Super-packets that the kernel hands
    out are split, and what `send_many` gets is coalesced.

    Every method may be called from several threads; each packet is received by one of them.
    Calls that wait take a `timeout` in seconds: None waits without end, and 0 never waits.
    They raise `TimeoutError` when it is over, and `InterruptError` as soon as the
    `interrupt` that they were given is set.

    `interface` and `queue` are the two parts a device is made of, see
    `platforms.base`.
    """

    _busy = "the device belongs to a transport: use that"

    def __init__(
        self, *, config: DeviceConfig | None = None, **settings: Unpack[DeviceSettings]
    ) -> None:
        config = make_config(config, settings)
        self._assemble(*platforms.open_device(config))

    @classmethod
    def from_fd(
        cls,
        fd: int,
        *,
        closefd: bool = True,
        framing: Framing | None = None,
        layer: Layer = "tun",
        mtu: int = 1500,
        **kept: Unpack[KeptSettings],
    ) -> Self:
        """A device of a descriptor that is open and attached to an interface.

        The device owns the descriptor from now on; with `closefd=False` it only borrows
        it, and leaves it open. It is made non-blocking.

        The system tells what it is where it can: Linux, Android, OpenHarmony, and for a utun
        macOS, iOS and tvOS. Elsewhere, and for a descriptor that the system knows nothing of,
        `framing` names what stands in front of its packets: "none" nothing, "vnet" a
        virtio_net_hdr, "pi" Linux' packet information, "family" the address family (macOS,
        BSD).

        On Linux and macOS the interface is configured as any other; its settings stay as they
        are. Elsewhere, where the system refuses that (a phone, a sandbox, another namespace), and
        with a `framing`, whoever handed the descriptor over configures the interface, and `mtu` is
        as given; so is `layer` unless the kernel tells it. `udp_zero_checksum`, and `ipv6_quiet`,
        `dad`, `connected_routes` and `metric`, which later changes follow, are what they are in
        `DeviceConfig`.

        Raises `UnsupportedError` when the system cannot tell (so for a macvtap), and
        `ConfigError` for what no device has, `ValueError` for a number that no descriptor has.
        The descriptor stays open then, and as it was.
        """
        check_fd(fd, "fd")
        config = DeviceConfig(**AS_FOUND, **kept)
        return cls.from_parts(
            *platforms.adopt(fd, config, closefd=closefd, layer=layer, framing=framing, mtu=mtu)
        )

    @classmethod
    def from_parts(cls, interface: Interface, queue: Queue) -> Self:
        """A device of parts that stand already, and that it owns from now on."""
        self = cls.__new__(cls)
        self._assemble(interface, queue)
        return self

    def _assemble(self, interface: Interface, queue: Queue) -> None:
        self.interface = interface
        self.queue = queue
        self.udp_zero_checksum = interface.config.udp_zero_checksum
        """Whether UDP without a checksum is coalesced too, see `DeviceConfig`."""
        self.io = queue
        """The queue as packets pass through it: `queue` itself, or a tap's around it."""
        self.users: WeakSet[Port] = WeakSet()
        """The ports of transports, which are told when `io` changes."""
        self.logger = NamedLogger(interface.name)
        """The logger `aiotun`, with the interface's name in each line."""
        self._counters = Counters()
        self._closed = self._shut = False
        self._read_errors: list[Exception] = []
        self._write_errors: list[Exception] = []
        self._reader = PacketReader(queue, self._counters, self._read_errors.append)
        self._writer = PacketWriter(
            queue,
            self._counters,
            self._write_errors.append,
            self.logger,
            self.udp_zero_checksum,
        )
        self._size_max = PACKET_MAX[queue.layer]
        self._pending: list[bytes] = []  # packets already split, the next one last
        self._make_locks()
        self._readers = Waiters()  # for packets
        self._writers = Waiters()  # for the system, which pushes back
        self._all_waiters = self._readers, self._writers
        renew_in_child(self)

    def _make_locks(self) -> None:
        self._receiving = Turns()
        self._sending = Turns()
        self._ending = threading.RLock()  # of the thread that closes
        # Of waiters, turns, what is pending, `_shut`, `io` and the lease.
        self._guard = threading.RLock()

    def _after_fork(self) -> None:
        self._make_locks()
        for waiters in self._all_waiters:
            waiters.forget_others()

    @property
    def counters(self) -> Counters:
        """What passed between this program and the device; `statistics` are the kernel's."""
        return self._counters

    def events(self) -> list[Event]:
        """What was changed on the interface since the last call, by whomever. Never waits.

        A transport gives its device's events to `PacketProtocol.device_changed`.
        """
        self._check_usable()
        return self.interface.events().read()

    def set_tap(self, tap: Tap | None) -> None:
        """Let the tap see each frame between this program and the system; None ends that.

        It may come and go while the device is used, also by a transport. Meanwhile the Python
        functions read and write instead of the native ones. Raises `BusyError` where another
        tap is, and `ClosedError`.
        """
        with self._guard:
            if tap is not None:
                if self._closed:
                    raise ClosedError
                if self.io is not self.queue:
                    raise BusyError(errno.EBUSY, f"{self.name} is being captured already")
            self.io = self.queue if tap is None else TappedQueue(self.queue, tap)
            self._reader.queue = self._writer.queue = self.io
            for port in self.users:
                port.set_queue(self.io)
            if self._receiving.others:  # the thread that waits does so at the queue of before
                self._readers.wake()

    def fileno(self) -> int:
        """The queue's descriptor; `UnsupportedError` where there is none.

        It being readable is not the whole truth about `recv`: packets already
        split may be pending.
        """
        return self.queue.fileno()

    # Packets.

    def recv(self, timeout: float | None = None, *, interrupt: Interrupt | None = None) -> bytes:
        """The next packet.

        Raises `TimeoutError`, `InterruptError`, `InterfaceGoneError`, `ClosedError`,
        and for a frame that is dropped `OffloadError` if it is malformed, `PacketError`
        if it is empty.
        """
        return self._receive(list.pop, timeout, interrupt)

    def recv_many(
        self, timeout: float | None = None, *, interrupt: Interrupt | None = None
    ) -> list[bytes]:
        """All packets that wait, at least one; waits and raises as `recv` does."""
        return self._receive(_take_all, timeout, interrupt)

    def recv_into(
        self,
        *buffers: Buffer,
        timeout: float | None = None,
        interrupt: Interrupt | None = None,
    ) -> int:
        """Put the next packet into a buffer, or one part after the other into several.

        Returns its size. Room for a header of one's own is left by handing over the
        rest: `memoryview(buffer)[16:]`. Waits and raises as `recv` does; `PacketError`
        (EMSGSIZE) when the packet is larger than the buffers: it is received next, then.
        """
        views = [memoryview(buffer).cast("B") for buffer in buffers]

        def take(pending: list[bytes]) -> int:
            _scatter(pending[-1], views)
            return len(pending.pop())

        return self._receive(take, timeout, interrupt)

    def recv_many_into(
        self,
        buffers: Iterable[Buffer],
        timeout: float | None = None,
        *,
        headroom: int = 0,
        interrupt: Interrupt | None = None,
    ) -> list[int]:
        """Put the packets that wait into a buffer each, `headroom` bytes from its start.

        Returns the packets' sizes, at least one and at most as many as there are
        buffers. Waits and raises as `recv_into` does; the error comes for the first
        packet only, those before it are received first.
        """
        views = [memoryview(buffer).cast("B")[headroom:] for buffer in buffers]
        if not views:
            raise ValueError("no buffer to receive into")

        def take(pending: list[bytes]) -> list[int]:
            sizes: list[int] = []
            for view in views[: len(pending)]:
                if sizes and len(pending[-1]) > len(view):
                    break
                _scatter(pending[-1], [view])
                sizes.append(len(pending.pop()))
            return sizes

        return self._receive(take, timeout, interrupt)

    def send(
        self,
        *buffers: bytes | Buffer,
        timeout: float | None = None,
        interrupt: Interrupt | None = None,
    ) -> None:
        """Write one packet, given whole or in parts. Waits and raises as `send_many` does."""
        packet = buffers[0] if len(buffers) == 1 else b"".join(map(to_bytes, buffers))
        self.send_many([packet], timeout, interrupt=interrupt)

    def send_many(
        self,
        packets: Iterable[bytes | Buffer],
        timeout: float | None = None,
        *,
        interrupt: Interrupt | None = None,
    ) -> None:
        """Write packets, coalesced where the device can take that, in order within a flow.

        Waits where the system pushes back; what could not be written before
        `TimeoutError` or `InterruptError` is dropped and counted. Raises, before anything
        is written, `PacketError` for what cannot be a packet and `TypeError` for what is
        not bytes. What the system refuses does not keep back the rest: the first such error
        is raised at the end (`InterfaceDownError`, `PacketError`, or an `OSError` with its
        errno).
        `InterfaceGoneError` and `ClosedError` are raised at once.
        """
        batch = cast("list[bytes]", list(packets))
        if not _are_packets(batch, self._size_max):
            batch = list(map(to_bytes, batch))
            for packet in batch:
                check_packet(packet, self.layer)
        deadline = _deadline(timeout)
        try:
            with self._guard:
                self._check(interrupt)
                mine = self._sending.take()
            if not mine:
                if not self._stand_in_line(self._sending, deadline, interrupt):
                    raise _timed_out("no packet was sent", timeout)
                self._check(interrupt)
            self._write(batch, timeout, deadline, interrupt)
        finally:
            try:
                self._give_back()
            except BaseException:  # a signal handler's, amid that
                self._give_back()
                raise

    def wait_readable(
        self, timeout: float | None = None, *, interrupt: Interrupt | None = None
    ) -> bool:
        """Wait until `recv` has something, a packet or an error; False if time is over before.

        It knows of packets that were read and split already, which the descriptor does not.
        """
        self._check(interrupt)
        return self._wait_readable(_deadline(timeout), interrupt)

    def wait_writable(
        self, timeout: float | None = None, *, interrupt: Interrupt | None = None
    ) -> bool:
        """Wait until the device takes packets; False if time is over before."""
        self._check(interrupt)
        return self._wait_writable(_deadline(timeout), interrupt)

    def __iter__(self) -> Iterator[bytes]:
        """Packets as they come, until the device is closed or shut down."""
        while not self._shut:
            try:
                packet = self.recv()
            except ClosedError:
                return
            yield packet

    def _receive(
        self,
        take: Callable[[list[bytes]], T],
        timeout: float | None,
        interrupt: Interrupt | None,
    ) -> T:
        """Wait for packets, and return what `take` makes of them. The next packet is their last.

        One thread reads, or waits where there is nothing to read; the others wait in line.
        """
        deadline = _deadline(timeout)
        try:
            return self._receive_in_turn(take, timeout, deadline, interrupt)
        finally:
            try:
                self._end_receiving()
            except BaseException:  # a signal handler's, amid that
                self._end_receiving()
                raise

    def _receive_in_turn(
        self,
        take: Callable[[list[bytes]], T],
        timeout: float | None,
        deadline: float | None,
        interrupt: Interrupt | None,
    ) -> T:
        """By itself for the same reason as `_wait_in_line`."""
        while True:
            with self._guard:
                self._check(interrupt)
                if self._pending:
                    return take(self._pending)
                if self._read_errors:
                    _raise_first(self._read_errors)
                wake = self._readers.interrupt if self._receiving.take() else None
            if wake is None:
                if self._stand_in_line(self._receiving, deadline, interrupt):
                    continue
                raise _timed_out("no packet came", timeout)
            left = None if deadline is None else min(deadline - time.monotonic(), WAIT_MAX)
            interrupts = (wake,) if interrupt is None else (wake, interrupt)
            packets = self._reader.receive(left, interrupts)
            # What was read is received, whatever happened meanwhile. If nothing was, all is
            # looked at anew: a signal handler may have received, too, and given the turn away.
            with self._guard:
                self._pending += packets[::-1]
                if self._pending:
                    return take(self._pending)
                if self._read_errors:
                    _raise_first(self._read_errors)
                self._readers.sleep()
            if left is not None and left <= 0:
                raise _timed_out("no packet came", timeout)

    def _end_receiving(self) -> None:
        with self._guard:
            self._receiving.give_back()
            if self._pending or self._read_errors or self._readers.awake:
                self._tell_of_pending()

    def _tell_of_pending(self) -> None:
        """Wake the threads that wait for packets if something was left for them."""
        if (self._pending or self._read_errors) and self._readers.threads:
            self._readers.wake()
        else:
            self._readers.sleep()

    def _write(
        self,
        packets: list[bytes],
        timeout: float | None,
        deadline: float | None,
        interrupt: Interrupt | None,
    ) -> None:
        """Write while it is this thread's turn."""
        try:
            self._writer.write(packets)
            if self._writer.waiting:
                self._write_backlog(timeout, deadline, interrupt)
            if self._write_errors:
                _raise_first(self._write_errors)
        except BaseException:
            self._writer.drop_backlog()
            self._write_errors.clear()
            raise

    def _write_backlog(
        self, timeout: float | None, deadline: float | None, interrupt: Interrupt | None
    ) -> None:
        while self._writer.backlog:
            if not self._wait_writable(deadline, interrupt):
                raise _timed_out("not all packets were sent", timeout)
            self._writer.resume()

    def _wait_readable(self, deadline: float | None, interrupt: Interrupt | None) -> bool:
        return self._wait_among(self._readers, self.queue.wait_readable, deadline, interrupt)

    def _wait_writable(self, deadline: float | None, interrupt: Interrupt | None) -> bool:
        return self._wait_among(self._writers, self.queue.wait_writable, deadline, interrupt)

    def _wait_among(
        self,
        waiters: Waiters,
        wait: Callable[..., bool],
        deadline: float | None,
        interrupt: Interrupt | None,
    ) -> bool:
        """Wait as one of them, for whom `close` waits."""
        thread = threading.get_ident()
        before = waiters.threads.get(thread, 0)
        try:
            with self._guard:
                self._check()
                wake = waiters.join()
            # This thread is known to wait before it looks here. A thread that leaves something
            # looks at the two in the opposite order, so one of them sees the other.
            if waiters is self._readers and (self._pending or self._read_errors):
                return True
            return self._wait(wait, deadline, wake, interrupt)
        finally:
            # No exception of a signal handler comes before this: the interpreter looks for signals
            # behind calls and jumps alone.
            waiters.threads[thread] = before
            if not before:
                waiters.threads.pop(thread, None)

    def _stand_in_line(
        self, turns: Turns, deadline: float | None, interrupt: Interrupt | None
    ) -> bool:
        """Wait for this thread's turn, and take it; False if time is over before."""
        with Call() as call:
            try:
                with self._guard:
                    turns.line.append(call)
                return self._wait_in_line(turns, call, deadline, interrupt)
            finally:
                try:
                    self._leave(turns, call)
                except BaseException:  # a signal handler's, amid that
                    self._leave(turns, call)
                    raise

    def _wait_in_line(
        self, turns: Turns, call: Call, deadline: float | None, interrupt: Interrupt | None
    ) -> bool:
        """By itself: CPython 3.14 forgets the blocks around a loop where a signal handler raises as
        it goes round (gh-130279)."""
        while True:
            with self._guard:
                if turns.take_in_line(call):
                    return True
            self._check()  # behind that, which may forget the call of `shutdown`
            if not self._wait(wait_for, deadline, call, interrupt):
                return False

    def _leave(self, turns: Turns, call: Call) -> None:
        with self._guard:
            turns.leave(call)

    def _give_back(self) -> None:
        with self._guard:
            self._sending.give_back()

    def _wait(
        self,
        wait: Callable[..., bool],
        deadline: float | None,
        wake: Interrupt,
        interrupt: Interrupt | None,
    ) -> bool:
        interrupts = [wake] if interrupt is None else [wake, interrupt]
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            found = wait(None if left is None else min(left, WAIT_MAX), *interrupts)
            self._check(interrupt)
            if found or left is None or left <= WAIT_MAX:
                return found

    def _check(self, interrupt: Interrupt | None = None) -> None:
        if self._shut:
            raise ClosedError
        self._check_free()
        if interrupt is not None:
            check_kind(interrupt, "interrupt=", Interrupt)
            if interrupt.is_set():
                raise InterruptError(interrupt.value)

    def _check_usable(self) -> None:
        if self._closed:
            raise ClosedError
        self._check_free()

    # Its life.

    def open_queue(self) -> Self:
        """Another queue of the same interface: a device for another thread, loop or process.

        The kernel spreads the flows over the queues; closing one leaves the others
        open. Raises `UnsupportedError` unless the device was made with
        `multi_queue`, and `QueueLimitError` (Linux has 256).
        """
        return self.from_parts(*self.interface.open_queue())

    def detach(self) -> int:
        """Give the descriptor away, open and non-blocking; the device is closed then.

        Packets that were read and not received yet are lost: `recv_many` gives them.
        Raises `UnsupportedError` where there is no descriptor.
        """
        with self._ending:
            with self._guard:
                self._check_usable()
                self.queue.fileno()  # raises before anything has ended
                self.shutdown()
            self._end_waiting()
            fd = self.queue.detach()
            self._closed = True
            self.interface.close()
            return fd

    def shutdown(self) -> None:
        """End all use: calls that wait, in whatever thread, raise `ClosedError`, and so do others.

        The interface stays until `close`. May be called from a signal handler. Idempotent.
        """
        with self._guard:
            self._shut = True
            for waiters in self._all_waiters:
                waiters.end()
            self._receiving.end()
            self._sending.end()

    def close(self) -> None:
        """Shut down and give the device back; without another queue its interface is gone then.

        Blocks for some 20 ms. Not for signal handlers: it waits for the threads in other
        calls to leave these. Idempotent. Raises `BusyError` when a transport owns the device.
        """
        with self._guard:
            if self._closed:
                return
            self._check_free()
            self.shutdown()  # no transport gets it now
        self._close()

    def _close(self) -> None:
        with self._ending:
            if not self._closed:
                self._end_waiting()
                self._closed = True
                self.queue.close()
                self.interface.close()

    def _end_waiting(self) -> None:
        """Wait until no thread uses the queue any more, and let none begin."""
        self.shutdown()
        # They are looked at again and again: who is ended by a signal handler's exception may tell
        # nobody.
        while any(each.others for each in (*self._all_waiters, self._receiving, self._sending)):
            time.sleep(MOMENT)
        for waiters in self._all_waiters:
            waiters.close()

    def __exit__(self, *exc_info: Any) -> None:
        if self._lease is None:
            super().__exit__(*exc_info)

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            message = f"unclosed device {self!r}"
            try:
                warnings.warn(message, ResourceWarning, stacklevel=2, source=self)
            finally:  # it raises where warnings are errors
                self._close()

    def __repr__(self) -> str:
        kind = f"{type(self).__name__} {self.layer}"
        if self._closed:
            return f"<{kind} closed>"
        try:
            return f"<{kind} {self.name} open>"
        except OSError:  # the interface was deleted, or moved to where this process cannot look
            return f"<{kind} gone>"


class DeviceLease(Lease[Device]):
    """A device in the hands of a transport, which alone may use it from now on, and closes it."""

    def __init__(self, device: Device) -> None:
        """Raises `BusyError` also while a thread receives or waits, and `ClosedError`."""
        check_kind(device, "device=", Device)
        with device._guard:
            device._check()
            waiting = device._receiving, device._readers, device._writers
            if any(each.others for each in waiting):
                raise BusyError(errno.EBUSY, "a thread is waiting for this device")
            super().__init__(device)
            self.pending = device._pending[::-1]
            """Packets that were read, and not received."""
            device._pending.clear()

    def close(self) -> None:
        """Close the device, which no other can have then; this blocks as `Device.close` does."""
        self.lent._close()


def _take_all(pending: list[bytes]) -> list[bytes]:
    packets = pending[::-1]
    pending.clear()
    return packets


def _scatter(packet: bytes, views: list[memoryview]) -> None:
    """Copy the packet into the views, one after the other. Raises `PacketError`."""
    room = sum(map(len, views))
    if len(packet) > room:
        raise PacketError(
            errno.EMSGSIZE, f"a packet of {len(packet)} bytes waits, the buffer has {room}"
        )
    start = 0
    for view in views:
        part = packet[start : start + len(view)]
        view[: len(part)] = part
        start += len(part)


def _deadline(timeout: float | None) -> float | None:
    if timeout is None:
        return None
    if math.isnan(timeout):
        raise ValueError("a timeout is a number of seconds, or None, not nan")
    return time.monotonic() + timeout


def _timed_out(what: str, timeout: float | None) -> TimeoutError:
    return TimeoutError(errno.ETIMEDOUT, f"{what} within {timeout} s")


def _raise_first(errors: list[Exception]) -> NoReturn:
    first = errors[0]
    errors.clear()
    raise first
