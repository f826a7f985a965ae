"""SelectorTransport: a queue that is a descriptor, watched by the loop's `add_reader`."""

from __future__ import annotations

from .packets import PacketTransport

__all__ = ["SelectorTransport"]


class SelectorTransport(PacketTransport):
    """For asyncio's selector loops and uvloop."""

    def _watch_readable(self) -> None:
        self._loop.add_reader(self._queue.fileno(), self._port.read_ready)

    def _unwatch_readable(self) -> None:
        self._loop.remove_reader(self._queue.fileno())

    def _watch_writable(self) -> None:
        self._loop.add_writer(self._queue.fileno(), self._write_ready)

    def _unwatch_writable(self) -> None:
        self._loop.remove_writer(self._queue.fileno())

    def _watch_events(self) -> None:
        self._loop.add_reader(self._events.fileno(), self._events_ready)

    def _unwatch(self) -> None:
        super()._unwatch()
        self._loop.remove_reader(self._events.fileno())
