"""A program on an event loop until a signal ends it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine

__all__ = ["run"]


def run(program: Coroutine[None, None, None]) -> None:
    """On the faster loop where there is one, until it ends, or SIGINT or SIGTERM comes."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(_until_signal(program))
    else:
        uvloop.run(_until_signal(program))


async def _until_signal(program: Coroutine[None, None, None]) -> None:
    task = asyncio.ensure_future(program)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
