"""Turns: threads that use the same thing one at a time, and that all get to it."""

from __future__ import annotations

import time
from collections import deque
from threading import get_ident

from .interrupt import Interrupt

__all__ = ["Call", "Turns"]

SLICE = 0.005
"""Seconds after which a turn that is given back goes to the thread that waits longest. Before, any
thread may take it, often the one that had it: so no other thread has to wake for each turn."""


class Call(Interrupt):
    """What a thread in the line waits for."""

    def __init__(self) -> None:
        super().__init__()
        self.thread = get_ident()


class Turns:
    """The caller's lock guards it. Only `end` may come at any moment, from a signal handler.

    An exception of a signal handler may come at any moment too, even where a turn was taken and
    nobody knows yet that it is to be given back. So a turn is its thread's, which takes it again.
    And what such an exception ends of `leave` and `give_back` a second call does.
    """

    def __init__(self) -> None:
        self.thread: int | None = None
        """Whose turn it is."""
        self.line: deque[Call] = deque()
        """What each thread waits for, the first one first."""
        self._called: Call | None = None  # the first, if it was woken to try for itself
        self._handed = 0.0  # when a turn was handed over last

    @property
    def others(self) -> bool:
        """Whether it is another thread's turn."""
        return self.thread not in (None, get_ident())

    def take(self) -> bool:
        """Whether it is the calling thread's turn now: it was nobody's, or its own."""
        thread = get_ident()
        if self.thread is None:
            self.thread = thread
        return self.thread == thread

    def take_in_line(self, call: Call) -> bool:
        """The same for a thread in the line, which leaves it then.

        Otherwise it waits for the call once more.
        """
        call.clear()
        self._forget(call)
        if not self.take():
            return False
        self.leave(call)
        return True

    def leave(self, call: Call) -> None:
        """Leave the line, for whatever reason. `give_back` is to follow."""
        if call in self.line:
            self.line.remove(call)
        self._forget(call)

    def give_back(self) -> None:
        """End the calling thread's turn, if it is that."""
        if self.thread not in (None, get_ident()):
            return
        self.thread = None
        if not self.line:
            return
        first = self.line[0]
        if self._called is not first:
            first.set()
            self._called = first
        now = time.monotonic()
        if now - self._handed > SLICE:
            self._handed = now
            self.thread = first.thread

    def _forget(self, call: Call) -> None:
        if self._called is call:
            self._called = None

    def end(self) -> None:
        """Wake all that wait."""
        for call in list(self.line):
            call.set()
