"""Queues of Windows: an event says that frames came, and whoever takes them looks again."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import _overlapped  # type: ignore[import-not-found]
import errno
import threading
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...errors import ClosedError, InterfaceDownError, InterfaceGoneError
from ..base import CallingQueue, nothing
from .waits import Event, RegisteredWait, wait_for_events

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
        # One of C, between whose steps no signal handler comes.
        self._lock = threading.RLock()  # guards all that follows
        self._ready: Event | None = None
        """While up, the event that says that frames came; the wait that returns it resets it."""
        self._changed = Event.new()
        """Set, and replaced by a new one, when those that wait have to look again: `_ready` comes
        or goes, or all ends."""
        self._waiting: set[object] = set()  # one of each call that waits for frames
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
        return self._ready is not None

    def set_up(self, up: bool) -> None:
        """Let frames pass or not. Raises `InterfaceGoneError` and `ClosedError`."""
        with self._lock:
            self._check_open()
            if up and self._ready is None:
                self._ready = Event.same(self._begin())
                self._register()
                _overlapped.SetEvent(self._ready.handle)  # of a TAP it is the first look that reads
                self._tell()
            elif not up:
                self._set_down()

    def _set_down(self) -> None:
        ready, self._ready = self._ready, None
        if ready is None:
            return
        if self._wait is not None:
            self._wait.close()  # before the event is
            self._wait = None
        self._end()
        self._tell()

    def _tell(self) -> None:
        """Have those that wait look again."""
        told, self._changed = self._changed, Event.new()
        _overlapped.SetEvent(told.handle)

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError
        if self._gone:
            raise InterfaceGoneError(errno.ENODEV, "the adapter was removed")

    def _lost(self, why: str) -> InterfaceGoneError:
        """What to raise once the adapter is gone: those that wait look again, and raise it, too."""
        self._gone = True
        self.direct = self._native = None  # native code does not ask whether it is gone
        self._tell()
        return InterfaceGoneError(errno.ENODEV, f"the adapter was removed ({why})")

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._set_down()
                self._closed = True
                self._on_readable = nothing
                self._release()
                self._tell()

    # Frames.

    def read(self) -> bytes:
        with self._lock:
            if not self._peeked:
                return self._next()
            self.direct = self._native
            return self._peeked.popleft()

    def _next(self) -> bytes:
        self._check_open()
        if self._ready is None:
            raise BlockingIOError(errno.EAGAIN, "the interface is down")
        return self._take()

    def write(self, frame: bytes) -> None:
        with self._lock:
            self._check_open()
            if self._ready is None:
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
        waiting = {object()}
        try:
            return self._wait_readable(timeout, interrupts, waiting)
        finally:
            # No exception of a signal handler comes before the call: the interpreter looks for
            # signals behind calls and jumps alone.
            self._waiting -= waiting
            ready = self._ready
            if self._waiting and ready is not None:
                _overlapped.SetEvent(ready.handle)  # for the others: this call may have reset it

    def _wait_readable(
        self, timeout: float | None, interrupts: tuple[Interrupt, ...], waiting: set[object]
    ) -> bool:
        """By itself: CPython 3.14 forgets the blocks around a loop where a signal handler raises as
        it goes round (gh-130279)."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._lock:
                if self._peek():  # frames that came before set no event again
                    return True
                self._waiting |= waiting
                # The last is what the wait that returns it resets.
                events = [self._changed, *filter(None, [self._ready])]
            left = None if deadline is None else deadline - time.monotonic()
            handles = [*(each.event for each in interrupts), *(each.handle for each in events)]
            found = wait_for_events(handles, left)
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
            changed = self._changed
        pause = self.retry_after if timeout is None else min(timeout, self.retry_after)
        events = [each.event for each in interrupts]
        found = wait_for_events([*events, changed.handle], pause)
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
        ready = self._ready
        if self._wait is None and self._on_readable is not nothing and ready is not None:
            self._wait = RegisteredWait(ready.handle, self._came)

    def _came(self) -> None:
        self._on_readable()
