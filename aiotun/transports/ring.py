"""RingTransport: a queue whose ring does not tell when it has room again (Wintun)."""

from __future__ import annotations

import asyncio

from .calling import CallingTransport

__all__ = ["RingTransport"]

RETRY = 0.001
"""Seconds after which a ring that was full is tried again."""


class RingTransport(CallingTransport):
    """For asyncio's proactor and selector loops on Windows, and winloop."""

    _timer: asyncio.TimerHandle | None = None

    def _watch_writable(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(RETRY, self._try_again)

    def _unwatch_writable(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _try_again(self) -> None:
        self._timer = None
        self._watch_writable()  # until there is no backlog
        self._write_ready()
