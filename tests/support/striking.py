"""A signal whose handler raises, at a random moment of what a program does."""

from __future__ import annotations

import contextlib
import dis
import random
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

__all__ = ["until_struck"]

LATEST = 0.002
"""Seconds after which the signal has come, unless the machine is busy."""


class Stop(BaseException):
    """What the handler raises, as Python's own for SIGINT does."""


def until_struck(call: Callable[[], object]) -> None:
    """Call again and again, until the handler has raised.

    What it raises in a finalizer is ignored. So no call may wait without end.
    """
    struck = False

    def strike(number: int, frame: FrameType | None) -> None:
        nonlocal struck
        struck = True
        if frame is None or not _is_faulty(frame):
            raise Stop

    def again() -> None:
        """By itself: CPython 3.14 forgets the blocks around a loop where a handler raises as it
        goes round (gh-130279)."""
        while not struck:
            call()

    with contextlib.suppress(Stop), _signal(strike):
        again()


def _is_faulty(frame: FrameType) -> bool:
    """Whether a context manager was entered just now, and would not be left: CPython 3.14 has that
    fault (gh-148874)."""
    return dis.opname[frame.f_code.co_code[frame.f_lasti - 2]] == "LOAD_SPECIAL"


if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    _kernel32 = ctypes.WinDLL("kernel32")
    _raise = ctypes.cast(getattr(ctypes.CDLL("ucrtbase"), "raise"), ctypes.c_void_p)
    _ALL_HAVE_RETURNED = wintypes.HANDLE(-1)

    @contextlib.contextmanager
    def _signal(handler: Callable[..., Any]) -> Iterator[None]:
        """A thread of the system calls C's raise(SIGINT), and waits for no lock of Python's."""
        before = signal.signal(signal.SIGINT, handler)
        timer = wintypes.HANDLE()
        after = random.randint(0, round(LATEST * 1000))
        try:
            _kernel32.CreateTimerQueueTimer(
                ctypes.byref(timer), None, _raise, signal.SIGINT, after, 0, 0
            )
            yield
        finally:
            _kernel32.DeleteTimerQueueTimer(None, timer, _ALL_HAVE_RETURNED)
            signal.signal(signal.SIGINT, before)

else:

    @contextlib.contextmanager
    def _signal(handler: Callable[..., Any]) -> Iterator[None]:
        before = signal.signal(signal.SIGALRM, handler)
        limit = signal.getitimer(signal.ITIMER_REAL)  # by which pytest-timeout ends a test, too
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0001, LATEST))
            yield
        finally:
            signal.signal(signal.SIGALRM, before)
            signal.setitimer(signal.ITIMER_REAL, *limit)
