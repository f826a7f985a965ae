"""A program on an event loop until a signal ends it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from ...probes.everywhere import UVLOOP

__all__ = ["on_signal", "run"]

if sys.platform == "win32":
    ENDING = (signal.SIGINT, signal.SIGBREAK)
    """Windows sends SIGBREAK for ctrl-break, and when the console is closed."""
else:
    ENDING = (signal.SIGINT, signal.SIGTERM)


def run(program: Coroutine[Any, Any, None]) -> None:
    """On the faster loop where there is one, until it ends, or SIGINT or SIGTERM comes."""
    try:
        loop: Any = importlib.import_module(UVLOOP)
    except ImportError:
        loop = asyncio
    loop.run(_until_signal(program))


async def _until_signal(program: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(program)
    for number in ENDING:
        on_signal(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def on_signal(number: int, callback: Callable[[], object]) -> None:
    """Call back in the loop that runs here, in the main thread."""
    loop = asyncio.get_running_loop()
    if sys.platform == "win32":  # whose loops have no `add_signal_handler`
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(callback))
    else:
        loop.add_signal_handler(number, callback)
