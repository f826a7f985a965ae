"""Line: tasks that wait for the same thing, one behind the other."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from typing import Any

__all__ = ["Line"]


class _Call(asyncio.Future[None]):
    """What a task waits for until it is called."""

    _waiting: tuple[Context, Callable[[Any], object]] | None = None
    """What wakes the task, and the context that it runs in."""

    def add_done_callback(
        self, fn: Callable[[Any], object], /, *, context: Context | None = None
    ) -> None:
        if context is not None:
            self._waiting = context, fn
        super().add_done_callback(fn, context=context)

    def run_task(self) -> None:
        """Have the task go on within this; but in the loop's next turn while another one runs."""
        loop = self.get_loop()
        if (
            self._waiting is not None
            and asyncio._get_running_loop() is loop
            and asyncio.current_task(loop) is None
        ):
            context, wake = self._waiting
            with suppress(RuntimeError):  # the context is in use: somebody has shared it
                context.run(self._wake, wake)
        if not self.done():
            self.set_result(None)

    def _wake(self, wake: Callable[[Any], object]) -> None:
        self.remove_done_callback(wake)
        self.set_result(None)
        wake(self)


@dataclass(eq=False)
class _Place:
    """One task in the line."""

    called: _Call
    at_once: Callable[[], None] | None


class Line:
    """Tasks go on in the order in which they came, and a newcomer stands behind all of them.

    `ready` tells whether the first may go on. It is asked when a task comes, when
    one leaves, and when `serve` is called.
    """

    def __init__(self, ready: Callable[[], object]) -> None:
        self._ready = ready
        self.waiting: deque[_Place] = deque()
        """The tasks that wait, the first one first. Others ask only whether it is empty."""

    async def turn(self, at_once: Callable[[], None] | None = None) -> None:
        """Wait for this task's turn.

        If there is an `at_once`, `serve` calls it in place of the task, and moves the
        task to the end of the line. The task itself goes on only if the line is still
        ready after that, or if `at_once` raised: then this raises the same.
        """
        if at_once is None and not self.waiting and self._ready():
            return
        loop = asyncio.get_running_loop()
        place = _Place(_Call(loop=loop), at_once)
        self.waiting.append(place)
        try:
            self.serve()
            await place.called
            while not self._ready():  # any more: it was when this task was called
                place.called = _Call(loop=loop)
                await place.called
        finally:
            self.waiting.remove(place)
            if self.waiting:
                loop.call_soon(self.serve)

    def serve(self, *, now: bool = False) -> None:
        """Call the first task, unless it has to wait on.

        It goes on in the loop's next turn. With `now` it does so within this, where it can: what
        it writes then leaves with the delivery that calls this, and a turn of the loop is spared.
        """
        if not (self.waiting and self._ready()):
            return
        place = self.waiting[0]
        if place.called.done():
            return
        if place.at_once is not None:
            self.waiting.rotate(-1)
            try:
                place.at_once()
            except Exception as exc:
                place.called.set_exception(exc)
                return
            if not self._ready():
                return
        if now:
            place.called.run_task()
        else:
            place.called.set_result(None)
