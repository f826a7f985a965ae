"""The queue of a Wintun adapter: a session with its two rings."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import _overlapped  # type: ignore[import-not-found]
import _winapi
import ctypes
import errno
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import c_uint32, c_void_p
from typing import TYPE_CHECKING

from ...errors import ClosedError, InterfaceDownError, InterfaceGoneError
from ..base import CallingQueue, nothing
from .waits import RegisteredWait, wait_for_events
from .wintun import (
    ERROR_BUFFER_OVERFLOW,
    ERROR_NO_MORE_ITEMS,
    Adapter,
    Ring,
)

if TYPE_CHECKING:
    from ...config import Layer
    from ...interrupt import Interrupt

__all__ = ["RETRY", "RingQueue"]

PACKET_MAX = 0xFFFF
"""WINTUN_MAX_IP_PACKET_SIZE. The driver ends a session in whose ring a larger one stands."""

HEADERS = {4: 20, 6: 40}
"""The bytes that a packet of each IP version has at least; the driver drops any other."""

RETRY = 0.001
"""Seconds after which a full ring is tried again: no event tells that it has room."""

_kernel32 = ctypes.WinDLL("kernel32")
for _name in ("AcquireSRWLockExclusive", "ReleaseSRWLockExclusive"):
    getattr(_kernel32, _name).argtypes = [c_void_p]
    getattr(_kernel32, _name).restype = None


class RingQueue(CallingQueue):
    """One packet is one frame, and nothing stands in front. Any thread may use it.

    While the interface is down there is no session: nothing can be read, and writing
    raises `InterfaceDownError`.
    """

    layer: Layer = "tun"
    vnet_hdr = tcp_offload = udp_offload = False
    direct: int | None = 0

    def __init__(self, adapter: Adapter, capacity: int) -> None:
        self._adapter = adapter
        self._capacity = capacity
        functions = adapter.wintun.functions
        self._receive = functions["WintunReceivePacket"]
        self._release = functions["WintunReleaseReceivePacket"]
        self._allocate = functions["WintunAllocateSendPacket"]
        self._send = functions["WintunSendPacket"]
        addresses = (
            ctypes.cast(each, c_void_p).value
            for each in (self._receive, self._release, self._allocate, self._send)
        )
        self._ring = Ring(None, None, *addresses)
        self._lock = threading.Condition()  # guards all that follows, and the session in `_ring`
        self._ready = 0  # the event that says that packets came
        self._changed = _overlapped.CreateEvent(None, True, False, None)
        """Set when those that wait have to look again: the session begins or ends."""
        self._changing = False
        self._waiting = 0
        self._full = False
        self._peeked: deque[bytes] = deque()  # one at most, read in order to know that it waits
        self._wait: RegisteredWait | None = None
        self._on_readable: Callable[[], None] = nothing
        self._gone = self._closed = False

    def driver_version(self) -> tuple[int, int] | None:
        return self._adapter.wintun.driver_version()

    # Its session.

    @property
    def is_up(self) -> bool:
        """Whether there is a session. Raises `ClosedError`."""
        if self._closed:
            raise ClosedError
        return self._ring.session is not None

    def set_up(self, up: bool) -> None:
        """Start or end the session. Raises `InterfaceGoneError` and `ClosedError`."""
        with self._lock:
            self._check_open()
            if up and self._ring.session is None:
                session = self._adapter.start(self._capacity)
                with self._change():
                    self._ready = self._adapter.wintun.functions["WintunGetReadWaitEvent"](session)
                    self._ring.session = session
                self._register()
            elif not up:
                self._end_session()

    def _end_session(self) -> None:
        session = self._ring.session
        if session is None:
            return
        with self._change():
            _kernel32.AcquireSRWLockExclusive(ctypes.byref(self._ring))
            self._ring.session = None
            _kernel32.ReleaseSRWLockExclusive(ctypes.byref(self._ring))
            if self._wait is not None:
                self._wait.close()
                self._wait = None
            self._adapter.wintun.functions["WintunEndSession"](session)

    @contextmanager
    def _change(self) -> Iterator[None]:
        """With the lock: no thread waits for what is changed; those that did look again."""
        self._changing = True
        _overlapped.SetEvent(self._changed)
        try:
            self._lock.wait_for(lambda: not self._waiting)
            yield
        finally:
            _overlapped.ResetEvent(self._changed)
            self._changing = False
            self._lock.notify_all()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError
        if self._gone:
            raise InterfaceGoneError(errno.ENODEV, "the adapter was removed")

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._end_session()
                self._closed = True
                self._on_readable = nothing
                self._adapter.close()
                _winapi.CloseHandle(self._changed)

    # Packets.

    def channel(self) -> int:
        return ctypes.addressof(self._ring)

    def read(self) -> bytes:
        with self._lock:
            if not self._peeked:
                return self._take()
            self.direct = 0
            return self._peeked.popleft()

    def _take(self) -> bytes:
        self._check_open()
        session = self._ring.session
        if session is None:
            raise BlockingIOError(errno.EAGAIN, "the interface is down")
        size = c_uint32()
        packet = self._receive(session, size)
        if packet:
            data = ctypes.string_at(packet, size.value)
            self._release(session, packet)
            return data
        if ctypes.get_last_error() == ERROR_NO_MORE_ITEMS:
            raise BlockingIOError(errno.EAGAIN, "no packet is waiting")
        raise self._lost()

    def write(self, frame: bytes) -> None:
        with self._lock:
            self._check_open()
            session = self._ring.session
            if session is None:
                raise InterfaceDownError(
                    errno.EIO, "the interface is down", remedies=("set it up first",)
                )
            least = HEADERS.get(frame[0] >> 4 if frame else 0, len(frame) + 1)
            if not least <= len(frame) <= PACKET_MAX:
                raise OSError(errno.EINVAL, "neither IPv4 nor IPv6")
            packet = self._allocate(session, len(frame))
            if packet:
                ctypes.memmove(packet, frame, len(frame))
                self._send(session, packet)
                self._full = False
                return
            if ctypes.get_last_error() == ERROR_BUFFER_OVERFLOW:
                self._full = True
                raise BlockingIOError(errno.EAGAIN, "the ring is full")
            raise self._lost()

    def _lost(self) -> InterfaceGoneError:
        """The adapter was removed (ERROR_HANDLE_EOF), or a ring is broken (ERROR_INVALID_DATA)."""
        self._gone = True
        _overlapped.SetEvent(self._changed)
        error = ctypes.get_last_error()
        return InterfaceGoneError(
            errno.ENODEV, f"the adapter was removed ({ctypes.FormatError(error)})"
        )

    # Waiting in a thread.

    def wait_readable(self, timeout: float | None, *interrupts: Interrupt) -> bool:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._lock:
                self._lock.wait_for(lambda: not self._changing)
                if self._peek():  # packets that came before set no event again
                    return True
                events = [*(each.event for each in interrupts), self._changed]
                if self._ring.session is not None:
                    events.append(self._ready)  # the last, as the wait that returns it resets it
                self._waiting += 1
            try:
                left = None if deadline is None else deadline - time.monotonic()
                found = wait_for_events(events, left)
            finally:
                with self._lock:
                    self._waiting -= 1
                    self._lock.notify_all()
            if found is None or found < len(interrupts):
                return found is not None
            if found > len(interrupts) and self._waiting:
                _overlapped.SetEvent(self._ready)  # for the other threads, too

    def _peek(self) -> bool:
        """Whether `read` would do anything but raise `BlockingIOError`."""
        if not self._peeked:
            try:
                self._peeked.append(self._take())
                self.direct = None  # native code would read past it
            except BlockingIOError:
                return False
            except (InterfaceGoneError, ClosedError):
                pass
        return True

    def wait_writable(self, timeout: float | None, *interrupts: Interrupt) -> bool:
        """Wait for a moment: that the ring has room again nothing tells, and so nothing knows."""
        with self._lock:
            if not self._full or self._closed:
                return True
        pause = RETRY if timeout is None else min(timeout, RETRY)
        events = [each.event for each in interrupts]
        found = wait_for_events([*events, self._changed], pause)
        self._full = found is None and timeout is not None and timeout <= pause
        return not self._full

    # Calling back.

    @property
    def on_readable(self) -> Callable[[], None]:
        return self._on_readable

    @on_readable.setter
    def on_readable(self, callback: Callable[[], None]) -> None:
        with self._lock:
            self._on_readable = callback
            self._register()

    def _register(self) -> None:
        """With the lock: be called back, once somebody wants to."""
        if self._wait is None and self._on_readable is not nothing and self._ring.session:
            self._wait = RegisteredWait(self._ready, self._came)

    def _came(self) -> None:
        self._on_readable()
