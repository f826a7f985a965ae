"""MemoryTransport: one end of a pair of devices in memory; any thread may have the other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from ..device import DeviceLease
from ..platforms.memory import MemoryEvents, MemoryQueue, nothing
from ..protocols import PacketProtocol
from .packets import PacketTransport

__all__ = ["MemoryTransport"]


class MemoryTransport(PacketTransport):
    """The queue's callbacks say that it is ready; the loop's next turn acts on it."""

    _queue: MemoryQueue
    _events: MemoryEvents

    def __init__(
        self, loop: asyncio.AbstractEventLoop, lease: DeviceLease, protocol: PacketProtocol
    ) -> None:
        super().__init__(loop, lease, protocol)
        self._due: set[Callable[[], None]] = set()
        self._thread = threading.get_ident()

    def _fileno(self) -> None:
        return None

    def _watch_readable(self) -> None:
        self._queue.on_readable = self._read_soon
        if self._queue.readable:
            self._read_soon()

    def _unwatch_readable(self) -> None:
        self._queue.on_readable = nothing

    def _read_soon(self) -> None:
        self._soon(self._read_turn)

    def _read_turn(self) -> None:
        self._port.read_ready()
        if self.is_reading() and self._queue.readable:
            self._read_soon()

    def _watch_writable(self) -> None:
        self._queue.on_writable = self._write_soon
        if self._queue.writable:
            self._write_soon()

    def _unwatch_writable(self) -> None:
        self._queue.on_writable = nothing

    def _write_soon(self) -> None:
        self._soon(self._write_ready)

    def _watch_events(self) -> None:
        self._events.on_event = self._events_soon
        self._events_soon()

    def _events_soon(self) -> None:
        self._soon(self._events_ready)

    def _unwatch(self) -> None:
        super()._unwatch()
        self._events.on_event = nothing

    def _soon(self, act: Callable[[], None]) -> None:
        if act not in self._due:
            self._due.add(act)
            same = threading.get_ident() == self._thread
            call_soon = self._loop.call_soon if same else self._loop.call_soon_threadsafe
            call_soon(self._turn, act)

    def _turn(self, act: Callable[[], None]) -> None:
        self._due.discard(act)
        if not self._finished:
            act()

    def _close_device(self) -> asyncio.Future[None]:
        closed = self._loop.create_future()
        self._ownership.close()  # nothing here blocks, and nothing needs a thread
        closed.set_result(None)
        return closed
