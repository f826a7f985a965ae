"""Interrupt: ends the waiting of threads, from another thread or a signal handler."""

from __future__ import annotations

import os
import selectors
import socket
import sys
from contextlib import suppress

from .cancelling import Closing
from .forking import renew_in_child

if sys.platform == "win32":
    import _overlapped  # type: ignore[import-not-found]
    import _winapi

__all__ = ["Interrupt", "wait_for"]


class Interrupt(Closing):
    """A flag like `threading.Event` that carries a value, and that a device can wait for.

    >>> with Interrupt() as interrupt:
    ...     signal.signal(signal.SIGTERM, lambda number, frame: interrupt.set(number))
    ...     device.recv(interrupt=interrupt)      # raises InterruptError, its value SIGTERM

    While it is set, every call that it is handed to raises `InterruptError`;
    after `clear` it can be used again. One may be handed to many calls at once.

    A child process (fork(2)) has a flag of its own, which is as the parent's was.
    """

    def __init__(self) -> None:
        self._value: object = None
        # A pair of sockets, since every system can wait for these.
        self._reading, self._writing = _pair()
        renew_in_child(self)
        if sys.platform == "win32":  # where what is no socket is waited for by events
            self.event = _overlapped.CreateEvent(None, True, False, None)
            """The handle of an event that is set while this is."""

    def set(self, value: object = None) -> None:
        """Wake the calls that wait. Never blocks; may be called from a signal handler."""
        self._value = value
        with suppress(BlockingIOError):  # set many times already
            self._writing.send(b"\0")
        if sys.platform == "win32":
            _overlapped.SetEvent(self.event)

    def clear(self) -> None:
        """Take the value back: calls may wait with this interrupt again."""
        self._value = None
        with suppress(BlockingIOError):
            while self._reading.recv(4096):
                pass
        if sys.platform == "win32":
            _overlapped.ResetEvent(self.event)
            if self.is_set():  # meanwhile
                _overlapped.SetEvent(self.event)

    def is_set(self) -> bool:
        """Whether calls that wait for it end."""
        try:
            return bool(self._reading.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return False

    @property
    def value(self) -> object:
        """What it was last set with; None when it is not set."""
        return self._value

    def fileno(self) -> int:
        """A descriptor that is readable while it is set; -1 once closed."""
        return self._reading.fileno()

    def close(self) -> None:
        """Idempotent. No call may be waiting for it."""
        self._reading.close()
        self._writing.close()
        if sys.platform == "win32" and self.event:
            _winapi.CloseHandle(self.event)
            self.event = 0

    def _after_fork(self) -> None:
        if self.fileno() < 0:
            return
        was_set = self.is_set()
        reading, writing = _pair()
        with reading, writing:  # under the numbers that others know
            os.dup2(reading.fileno(), self._reading.fileno(), inheritable=False)
            os.dup2(writing.fileno(), self._writing.fileno(), inheritable=False)
        if was_set:
            self.set(self._value)


def _pair() -> tuple[socket.socket, socket.socket]:
    pair = socket.socketpair()
    for each in pair:
        each.setblocking(False)
    return pair


def wait_for(timeout: float | None, *interrupts: Interrupt) -> bool:
    """Block the calling thread until one of them is set; False after so many seconds."""
    with selectors.DefaultSelector() as selector:
        for interrupt in interrupts:
            selector.register(interrupt, selectors.EVENT_READ)
        return bool(selector.select(None if timeout is None else max(0.0, timeout)))
