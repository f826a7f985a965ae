"""MemoryTransport: one end of a pair of devices in memory; any thread may have the other."""

from __future__ import annotations

import asyncio

from ..platforms.base import nothing
from ..platforms.memory import MemoryQueue
from .calling import CallingTransport

__all__ = ["MemoryTransport"]


class MemoryTransport(CallingTransport):
    """The queue calls back when the peer has room, too."""

    _queue: MemoryQueue

    def _watch_writable(self) -> None:
        self._queue.on_writable = self._write_soon
        if self._queue.writable:
            self._write_soon()

    def _unwatch_writable(self) -> None:
        self._queue.on_writable = nothing

    def _write_soon(self) -> None:
        self._soon(self._write_ready)

    def _close_device(self) -> asyncio.Future[None]:
        closed = self._loop.create_future()
        self._ownership.close()  # nothing here blocks, and nothing needs a thread
        closed.set_result(None)
        return closed
