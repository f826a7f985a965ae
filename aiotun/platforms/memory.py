"""Two devices joined back to back in memory: what one sends the other receives.

For tests, and for machines without TUN. Frames carry a virtio_net_hdr like those
of Linux, so that the same code splits and coalesces them.
"""

from __future__ import annotations

import errno
import itertools
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..addresses import Address
from ..config import DeviceConfig
from ..errors import AddressError, ClosedError, InterfaceDownError, InterfaceGoneError, OffloadError
from ..forking import renew_in_child
from ..interfaces import (
    AddressAdded,
    AddressRemoved,
    Event,
    InterfaceDetails,
    InterfaceGone,
    InterfaceStatistics,
    LinkChanged,
)
from ..interrupt import Interrupt
from ..offload import VirtioNetHeader
from .base import CallingEvents, CallingQueue, Interface, nothing

__all__ = ["MemoryEvents", "MemoryInterface", "MemoryQueue", "open_pair"]

_indexes = itertools.count(1)
_counting = threading.Lock()  # which without the GIL gives no number twice


def open_pair(
    config: DeviceConfig, *, capacity: int, push_back: bool
) -> list[tuple[MemoryInterface, MemoryQueue]]:
    """Two interfaces with their queues, joined, both made after one configuration.

    `capacity` is the number of frames that wait for a reader. What comes on top
    is dropped and counted, as a TUN does; with `push_back` the writer gets
    `BlockingIOError` instead, as from a ring that is full.
    """
    pair = _Pair()
    first, second = (MemoryQueue(config, capacity, push_back, pair) for _ in range(2))
    first.peer, second.peer = second, first
    return [(MemoryInterface(config, queue), queue) for queue in (first, second)]


class MemoryQueue(CallingQueue):
    """The frames that wait to be read here; writing appends to the peer's.

    Any thread may use it.
    """

    peer: MemoryQueue

    def __init__(self, config: DeviceConfig, capacity: int, push_back: bool, pair: _Pair) -> None:
        self.layer = config.layer
        self.vnet_hdr = bool(config.offload)
        self.tcp_offload = config.offload in (True, "tcp")
        self.udp_offload = config.offload in (True, "udp")
        self.up = bool(config.up)
        self.on_readable: Callable[[], None] = nothing
        """Called, in the thread that wrote, when `readable` became true."""
        self.on_writable: Callable[[], None] = nothing
        """Called, in the thread that read, when `writable` became true."""
        self.packets = [0, 0]  # received, sent
        self.bytes = [0, 0]
        self.dropped = 0
        self._frames: deque[bytes] = deque()
        self.capacity = capacity
        self._push_back = push_back
        self._pair = pair
        self._gone = self._closed = False

    @property
    def readable(self) -> bool:
        """Whether `read` would do anything but raise `BlockingIOError`."""
        with self._pair.lock:
            return bool(self._frames) or self._gone or self._closed

    @property
    def writable(self) -> bool:
        """Whether `write` would do anything but raise `BlockingIOError`."""
        with self._pair.lock:
            return self.peer._has_room or not self._push_back or self._gone or self._closed

    @property
    def _has_room(self) -> bool:
        return len(self._frames) < self.capacity

    def read(self) -> bytes:
        with self._pair.lock:
            self.check_open()
            if not self._frames:
                raise BlockingIOError(errno.EAGAIN, "no frame is waiting")
            was_full = not self._has_room
            frame = self._frames.popleft()
            self.packets[0] += 1
            self.bytes[0] += len(frame)
            if was_full:
                self._wake(self.peer.on_writable)
            return frame

    def write(self, frame: bytes) -> None:
        with self._pair.lock:
            self.check_open()
            if not self.up:
                raise InterfaceDownError(errno.EIO, "the interface is down: set it up")
            self._check_frame(frame)
            if not self.writable:
                raise BlockingIOError(errno.EAGAIN, "the peer's queue is full")
            self.packets[1] += 1
            self.bytes[1] += len(frame)
            self.peer._arrive(frame)

    def _check_frame(self, frame: bytes) -> None:
        """Refuse what a TUN refuses."""
        packet = frame
        if self.vnet_hdr:
            packet = frame[VirtioNetHeader.SIZE :]
            try:
                VirtioNetHeader.unpack(frame).check(packet, self.layer)
            except OffloadError as exc:
                raise OSError(errno.EINVAL, str(exc)) from exc
        if self.layer == "tun" and (not packet or packet[0] >> 4 not in (4, 6)):
            raise OSError(errno.EINVAL, "neither IPv4 nor IPv6")

    def _arrive(self, frame: bytes) -> None:
        if self._closed or self._gone or not self.up or not self._has_room:
            self.dropped += 1
            return
        self._frames.append(frame)
        self._wake(self.on_readable)

    def delete(self) -> None:
        """What `ip link delete` does to a device that is open."""
        with self._pair.lock:
            self._gone = True
            self._wake(self.on_readable)

    def close(self) -> None:
        with self._pair.lock:
            self._closed = True
            self._frames.clear()
            self._wake(self.peer.on_writable)

    def check_open(self) -> None:
        """Raise `InterfaceGoneError` or `ClosedError` if it is no more."""
        if self._closed:
            raise ClosedError
        if self._gone:
            raise InterfaceGoneError(errno.ENODEV, "the interface was deleted")

    def wait_readable(self, timeout: float | None, *interrupts: Interrupt) -> bool:
        return self._wait(lambda: self.readable, timeout, interrupts)

    def wait_writable(self, timeout: float | None, *interrupts: Interrupt) -> bool:
        return self._wait(lambda: self.writable, timeout, interrupts)

    def _wait(
        self, ready: Callable[[], bool], timeout: float | None, interrupts: tuple[Interrupt, ...]
    ) -> bool:
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._pair.waiting() as waker, selectors.DefaultSelector() as selector:
            for interrupt in (waker, *interrupts):
                selector.register(interrupt, selectors.EVENT_READ)
            while not ready():
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                woken = [key.fileobj for key, _ in selector.select(left)]
                if woken != [waker]:
                    return bool(woken)
                waker.clear()
        return True

    def _wake(self, callback: Callable[[], None]) -> None:
        self._pair.wake()
        callback()


class _Pair:
    """What both queues share: a lock, and the threads that wait for either."""

    def __init__(self) -> None:
        self._after_fork()
        self._interrupts: set[Interrupt] = set()
        renew_in_child(self)

    def _after_fork(self) -> None:
        self.lock = threading.RLock()  # taken again by a queue that is closed as garbage

    @contextmanager
    def waiting(self) -> Iterator[Interrupt]:
        """What wakes the calling thread."""
        with Interrupt() as interrupt:
            with self.lock:
                self._interrupts.add(interrupt)
            try:
                yield interrupt
            finally:  # before its descriptor is closed
                with self.lock:
                    self._interrupts.discard(interrupt)

    def wake(self) -> None:
        """With the lock: wake all that wait."""
        # A signal handler's exception may have left one here that is closed.
        self._interrupts = {each for each in self._interrupts if each.fileno() >= 0}
        for interrupt in self._interrupts:
            interrupt.set()


class MemoryEvents(CallingEvents):
    """Changes of a memory interface."""

    def __init__(self) -> None:
        self.on_event: Callable[[], None] = nothing
        """Called, in the thread that made the change, when `read` has something."""
        self._waiting: deque[Event] = deque()  # any thread may use it

    def put(self, event: Event) -> None:
        self._waiting.append(event)
        self.on_event()

    def read(self) -> list[Event]:
        return [self._waiting.popleft() for _ in range(len(self._waiting))]

    def close(self) -> None:
        self.on_event = nothing


class MemoryInterface(Interface):
    """Remembers what it was given; nothing of it reaches the operating system."""

    def __init__(self, config: DeviceConfig, queue: MemoryQueue) -> None:
        self.config = config
        with _counting:
            self._index = next(_indexes)
        self._name = (config.name or "mem%d").replace("%d", str(self._index))
        self._mtu = config.mtu or 1500
        self._addresses = list(config.addresses)
        self._queue = queue
        self._events = MemoryEvents()

    @property
    def name(self) -> str:
        return self._name

    @property
    def index(self) -> int:
        return self._index

    @property
    def mtu(self) -> int:
        return self._mtu

    def set_mtu(self, mtu: int) -> None:
        self._queue.check_open()
        self._mtu = mtu
        self._link_changed()

    @property
    def is_up(self) -> bool:
        return self._queue.up

    def set_up(self, up: bool) -> None:
        self._queue.check_open()
        self._queue.up = up
        self._link_changed()

    def addresses(self) -> list[Address]:
        return list(self._addresses)

    def add_address(self, address: Address) -> None:
        self._queue.check_open()
        if address in self._addresses:
            raise AddressError(f"the interface has address {address} already", errno.EEXIST)
        self._addresses.append(address)
        self._events.put(AddressAdded(address))

    def remove_address(self, address: Address) -> None:
        self._queue.check_open()
        if address not in self._addresses:
            raise AddressError(f"the interface has no address {address}")
        self._addresses.remove(address)
        self._events.put(AddressRemoved(address))

    def delete(self) -> None:
        """What `ip link delete` does to a device that is open."""
        self._queue.delete()
        self._events.put(InterfaceGone())

    def set_name(self, name: str) -> None:
        self._queue.check_open()
        self._name = name
        self._link_changed()

    def details(self) -> InterfaceDetails:
        return InterfaceDetails(
            mac=None,
            tx_queue_len=self._queue.capacity,
            is_running=self._queue.up,
            carrier=True,
            persistent=False,
            owner=None,
            group=None,
            queues=1,
            packet_information=False,
        )

    def statistics(self) -> InterfaceStatistics:
        queue = self._queue
        return InterfaceStatistics(
            packets_received=queue.packets[0],
            bytes_received=queue.bytes[0],
            dropped_received=queue.dropped,
            packets_sent=queue.packets[1],
            bytes_sent=queue.bytes[1],
            dropped_sent=0,
            errors_sent=0,
        )

    def events(self) -> MemoryEvents:
        return self._events

    def close(self) -> None:
        self._events.close()

    def _link_changed(self) -> None:
        self._events.put(LinkChanged(self._name, self._mtu, self._queue.up))
