"""Turns: threads that use the same thing one at a time, and that all get to it."""

from __future__ import annotations

import threading
import time
from collections import deque

from .interrupt import Interrupt

__all__ = ["Turns"]

SLICE = 0.005
"""Seconds after which a turn that is given back goes to the thread that waits longest. Before, any
thread may take it, often the one that had it: so no other thread has to wake for each turn."""


class Turns:
    """The caller's lock guards all but `take`, `pause` and `end`.

    Only `end` may come at any moment, from a signal handler.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # of the thread whose turn it is
        self.line: deque[Interrupt] = deque()
        """What each thread waits for, the first one first."""
        self._called: Interrupt | None = None  # the first, if it was woken to try for itself
        self._handed = 0.0  # when a turn was handed over last

    def take(self) -> bool:
        """Whether it is the calling thread's turn now: it was nobody's."""
        return self._lock.acquire(blocking=False)

    def take_in_line(self, call: Interrupt) -> bool:
        """The same for a thread in the line, which leaves it then; the turn may be its own already.

        Otherwise it waits for the call once more.
        """
        if call in self.line:
            call.clear()
            self._forget(call)
            if not self.take():
                return False
            self.line.remove(call)
        return True

    def leave(self, call: Interrupt) -> bool:
        """Leave the line, for whatever reason. Whether it is this thread's turn, all the same."""
        if call not in self.line:
            return True
        self.line.remove(call)
        self._forget(call)
        self._call_first()
        return False

    def give_back(self) -> None:
        """End the calling thread's turn."""
        now = time.monotonic()
        if self.line and now - self._handed > SLICE:
            self._handed = now
            self.line.popleft().set()
        else:
            self._lock.release()
            self._call_first()

    def _call_first(self) -> None:
        if self.line and self._called is not self.line[0]:
            self._called = self.line[0]
            self._called.set()

    def _forget(self, call: Interrupt) -> None:
        if self._called is call:
            self._called = None

    def end(self) -> None:
        """Wake all that wait."""
        for call in list(self.line):
            call.set()

    def pause(self) -> None:
        """Wait until it is nobody's turn."""
        with self._lock:
            pass
