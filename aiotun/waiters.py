"""Waiters: threads that wait for the same, counted and woken together."""

from __future__ import annotations

import threading

from .interrupt import Interrupt

__all__ = ["Waiters"]


class Waiters:
    """The caller's lock guards it. Only `end` may come at any moment, from a signal handler.

    So what `end` did is looked at again after each step that could undo it.
    """

    def __init__(self) -> None:
        self.threads: dict[int, int] = {}
        """Those that wait, and how often each does: a signal handler may wait within a wait."""
        self._interrupt: Interrupt | None = None  # made for the first of them
        self.awake = False
        """Whether they go on, `sleep` has not been called yet."""
        self._ended = False

    @property
    def others(self) -> bool:
        """Whether another thread waits. That the calling one does may be left from an exception."""
        thread = threading.get_ident()
        return any(times and each != thread for each, times in list(self.threads.items()))

    @property
    def interrupt(self) -> Interrupt:
        """What they wait for; until `close` has been called, by whom nobody waits any more."""
        if self._interrupt is None:
            self._interrupt = Interrupt()  # who gets none does not wait
        if self._ended:
            self._interrupt.set()
        return self._interrupt

    def join(self) -> Interrupt:
        """For a thread about to wait: what to wait for. It takes itself out of `threads`."""
        interrupt = self.interrupt
        thread = threading.get_ident()
        self.threads[thread] = self.threads.get(thread, 0) + 1
        return interrupt

    def wake(self) -> None:
        """Let all go on that wait, and that will wait until `sleep`."""
        if self._interrupt is not None and not self.awake:
            self.awake = True
            self._interrupt.set()

    def sleep(self) -> None:
        """Let all wait from now on."""
        if self._interrupt is not None and self.awake:
            self._interrupt.clear()
            self.awake = False
            if self._ended:
                self._interrupt.set()

    def end(self) -> None:
        """Let nobody wait any more."""
        self._ended = True
        if self._interrupt is not None:
            self._interrupt.set()

    def forget_others(self) -> None:
        """In a child process (fork(2)), which has this thread alone."""
        thread = threading.get_ident()
        self.threads = {thread: self.threads[thread]} if thread in self.threads else {}

    def close(self) -> None:
        """Idempotent. Nobody may be waiting, or wait from now on."""
        interrupt, self._interrupt = self._interrupt, None  # `end` may still come
        if interrupt is not None:
            interrupt.close()
