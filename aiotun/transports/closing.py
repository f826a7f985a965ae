"""Closing devices off the loop, many at the same time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from weakref import WeakKeyDictionary

__all__ = ["close_off_loop"]

THREADS = 64
"""Of a loop, at most. A closing one only waits for the kernel, so they are not a matter of cores;
those of the loop's default executor are, and the program's own calls would wait behind ours."""


class _Closers:
    """The threads of one loop; they end when there is nothing left to close."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        self._left = 0

    def call(
        self, loop: asyncio.AbstractEventLoop, close: Callable[[], None]
    ) -> asyncio.Future[None]:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, "aiotun-close")
        try:
            closing = loop.run_in_executor(self._threads, close)
        except RuntimeError:  # there can be no more threads: a limit, or the interpreter ends
            closing = _call_here(loop, close)
        self._left += 1
        closing.add_done_callback(self._closed)
        return closing

    def _closed(self, closing: asyncio.Future[None]) -> None:
        self._left -= 1
        if self._threads is not None and not self._left:
            self._threads.shutdown(wait=False)
            self._threads = None


def _call_here(loop: asyncio.AbstractEventLoop, close: Callable[[], None]) -> asyncio.Future[None]:
    called = loop.create_future()
    try:
        close()
    except Exception as exc:
        called.set_exception(exc)
    else:
        called.set_result(None)
    return called


_closers: WeakKeyDictionary[asyncio.AbstractEventLoop, _Closers] = WeakKeyDictionary()


def close_off_loop(
    loop: asyncio.AbstractEventLoop, close: Callable[[], None]
) -> asyncio.Task[None]:
    """Call it in a thread. The task cannot be cancelled: `asyncio.run` waits for it at its end.

    Where no thread can be had it is called here, and the loop waits. It may be called once more
    then, by a thread that there is: it has to be idempotent.
    """
    closing = _closers.setdefault(loop, _Closers()).call(loop, close)
    return loop.create_task(_wait(closing))


async def _wait(closing: asyncio.Future[None]) -> None:
    while not closing.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([closing])
    closing.result()
