"""Queues of Windows: an event says that frames came, and whoever takes them looks again."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import _overlapped  # type: ignore[import-not-found]
import _winapi
import errno
import threading
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ...errors import ClosedError, InterfaceDownError, InterfaceGoneError
from ..base import CallingQueue, nothing
from .waits import RegisteredWait, wait_for_events

if TYPE_CHECKING:
    from ...interrupt import Interrupt

__all__ = ["EventQueue"]


class EventQueue(CallingQueue):
    """One packet is one frame, and nothing stands in front. Any thread may use it.

    While the interface is down nothing can be read, and writing raises
    `InterfaceDownError`. A subclass says how frames begin and end to pass, and takes and
    puts one; each of these is called with the lock.
    """

    vnet_hdr = tcp_offload = udp_offload = False
    retry_after = 0.001  # no event tells that a full queue has room
    persistent = False
    """Whether the interface stays when the queue is closed."""

    def __init__(self) -> None:
        self._lock = threading.Condition()  # guards all that follows
        self._up = False
        self._ready = 0  # the event that says that frames came; the wait that returns it resets it
        self._changed = _overlapped.CreateEvent(None, True, False, None)
        """Set when those that wait have to look again: `_ready` comes or goes."""
        self._changing = False
        self._waiting = 0
        self._full = False
        self._peeked: deque[bytes] = deque()  # one at most, read in order to know that it waits
        self._wait: RegisteredWait | None = None
        self._on_readable: Callable[[], None] = nothing
        self._gone = self._closed = False
        self._native = self.direct  # native code would read past what was peeked at

    @abstractmethod
    def driver_version(self) -> tuple[int, int] | None:
        """Of the driver that runs; None if none does."""

    @abstractmethod
    def _begin(self) -> int:
        """Let frames pass: the event that says that some came."""

    @abstractmethod
    def _end(self) -> None:
        """Let none pass any more."""

    @abstractmethod
    def _take(self) -> bytes:
        """The next frame. Before it raises `BlockingIOError` it sees to it that the event comes."""

    @abstractmethod
    def _put(self, frame: bytes) -> None:
        """As `write`."""

    @abstractmethod
    def _release(self) -> None:
        """Give all back to the system."""

    # Up and down.

    @property
    def is_up(self) -> bool:
        """Whether frames pass. Raises `ClosedError`."""
        if self._closed:
            raise ClosedError
        return self._up

    def set_up(self, up: bool) -> None:
        """Let frames pass or not. Raises `InterfaceGoneError` and `ClosedError`."""
        with self._lock:
            self._check_open()
            if up and not self._up:
                with self._change():
                    self._ready = self._begin()
                    self._up = True
                self._register()
                _overlapped.SetEvent(self._ready)  # of a TAP it is the first look that reads
            elif not up:
                self._set_down()

    def _set_down(self) -> None:
        if not self._up:
            return
        with self._change():
            self._up = False
            if self._wait is not None:
                self._wait.close()
                self._wait = None
            self._end()

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

    def _lost(self, why: str) -> InterfaceGoneError:
        """What to raise once the adapter is gone: those that wait look again, and raise it, too."""
        self._gone = True
        self.direct = self._native = None  # native code does not ask whether it is gone
        _overlapped.SetEvent(self._changed)
        return InterfaceGoneError(errno.ENODEV, f"the adapter was removed ({why})")

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._set_down()
                self._closed = True
                self._on_readable = nothing
                self._release()
                _winapi.CloseHandle(self._changed)

    # Frames.

    def read(self) -> bytes:
        with self._lock:
            if not self._peeked:
                return self._next()
            self.direct = self._native
            return self._peeked.popleft()

    def _next(self) -> bytes:
        self._check_open()
        if not self._up:
            raise BlockingIOError(errno.EAGAIN, "the interface is down")
        return self._take()

    def write(self, frame: bytes) -> None:
        with self._lock:
            self._check_open()
            if not self._up:
                raise InterfaceDownError(
                    errno.EIO, "the interface is down", remedies=("set it up first",)
                )
            try:
                self._put(frame)
            except BlockingIOError:
                self._full = True
                raise
            self._full = False

    # Waiting in a thread.

    def wait_readable(self, timeout: float | None, *interrupts: Interrupt) -> bool:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._lock:
                self._lock.wait_for(lambda: not self._changing)
                if self._peek():  # frames that came before set no event again
                    if self._waiting:
                        _overlapped.SetEvent(self._ready)  # for the other threads, too
                    return True
                events = [*(each.event for each in interrupts), self._changed]
                if self._up:
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

    def _peek(self) -> bool:
        """Whether `read` would do anything but raise `BlockingIOError`."""
        if not self._peeked:
            try:
                self._peeked.append(self._next())
                self.direct = None
            except BlockingIOError:
                return False
            except (InterfaceGoneError, ClosedError):
                pass
        return True

    def wait_writable(self, timeout: float | None, *interrupts: Interrupt) -> bool:
        """Wait for a moment: that a queue has room again nothing tells, and so nothing knows."""
        with self._lock:
            if not self._full or self._closed:
                return True
        pause = self.retry_after if timeout is None else min(timeout, self.retry_after)
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
        if self._wait is None and self._on_readable is not nothing and self._up:
            self._wait = RegisteredWait(self._ready, self._came)

    def _came(self) -> None:
        self._on_readable()
