"""CallingTransport: a queue that calls back, in whatever thread; the loop's next turn acts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

from ..device import DeviceLease
from ..platforms.base import CallingEvents, CallingQueue, nothing
from ..protocols import PacketProtocol
from .packets import PacketTransport

__all__ = ["CallingTransport"]


class CallingTransport(PacketTransport):
    """For every kind of loop, Windows' among them: it only asks for `call_soon_threadsafe`."""

    _queue: CallingQueue
    _events: CallingEvents

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
        self._read_soon()

    def _unwatch_readable(self) -> None:
        self._queue.on_readable = nothing

    def _watch_writable(self) -> None:
        self._write_later()

    def _read_soon(self) -> None:
        self._soon(self._read_turn)

    def _read_turn(self) -> None:
        """Read a batch; and again in the next turn, until one finds nothing."""
        before = self.counters.frames_received
        self._port.read_ready()
        if self.is_reading() and self.counters.frames_received != before:
            self._read_soon()

    def _watch_events(self) -> None:
        self._events.on_event = self._events_soon
        self._events_soon()

    def _events_soon(self) -> None:
        self._soon(self._events_ready)

    def _unwatch(self) -> None:
        super()._unwatch()
        self._events.on_event = nothing

    def _soon(self, act: Callable[[], None]) -> None:
        if act in self._due:
            return
        self._due.add(act)
        try:
            if threading.get_ident() == self._thread:
                self._loop.call_soon(self._turn, act)
            else:
                with suppress(RuntimeError):  # the loop was closed
                    self._loop.call_soon_threadsafe(self._turn, act)
        except MemoryError:
            self._due.discard(act)  # the next call sees to it
            raise

    def _turn(self, act: Callable[[], None]) -> None:
        self._due.discard(act)
        if not self._finished:
            act()
