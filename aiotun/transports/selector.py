"""SelectorTransport: a queue that is a descriptor, watched by the loop's `add_reader`."""

from __future__ import annotations

from .packets import PacketTransport

__all__ = ["SelectorTransport"]


class SelectorTransport(PacketTransport):
    """For asyncio's selector loops and uvloop."""

    _comes_back = False

    def _watch_readable(self) -> None:
        if self._queue.direct is not None:
            self._loop.add_reader(self._queue.fileno(), self._port.read_ready)
        else:
            self._loop.add_reader(self._queue.fileno(), self._read_ready)
            self._come_back()

    def _read_ready(self) -> None:
        self._port.read_ready()
        self._come_back()

    def _come_back(self) -> None:
        """Read again in the loop's next turn, once: the descriptor tells nothing of held frames."""
        if self._queue.holds_frames and self.is_reading() and not self._comes_back:
            self._loop.call_soon(self._read_held)
            self._comes_back = True

    def _read_held(self) -> None:
        self._comes_back = False
        self._read_ready()

    def _unwatch_readable(self) -> None:
        self._loop.remove_reader(self._queue.fileno())

    def _watch_writable(self) -> None:
        if self._queue.retry_after is None:
            self._loop.add_writer(self._queue.fileno(), self._write_ready)
        else:
            self._write_later()

    def _unwatch_writable(self) -> None:
        super()._unwatch_writable()
        self._loop.remove_writer(self._queue.fileno())

    def _watch_events(self) -> None:
        self._loop.add_reader(self._events.fileno(), self._events_ready)

    def _events_ready(self) -> None:
        # uvloop ends its watch of a descriptor that had an error, as where events were lost.
        self._loop.remove_reader(self._events.fileno())
        self._watch_events()
        super()._events_ready()

    def _unwatch(self) -> None:
        super()._unwatch()
        self._loop.remove_reader(self._events.fileno())
