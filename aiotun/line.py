"""Line: tasks that wait for the same thing, one behind the other."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Line"]


@dataclass(eq=False)
class _Place:
    """One task in the line."""

    called: asyncio.Future[None]
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
        """Wait for this task's turn. The next task is called when the loop comes round again.

        If there is an `at_once`, `serve` calls it in place of the task, and moves the
        task to the end of the line. The task itself goes on only if the line is still
        ready after that, or if `at_once` raised: then this raises the same.
        """
        if at_once is None and not self.waiting and self._ready():
            return
        loop = asyncio.get_running_loop()
        place = _Place(loop.create_future(), at_once)
        self.waiting.append(place)
        try:
            self.serve()
            await place.called
            while not self._ready():  # any more: it was when this task was called
                place.called = loop.create_future()
                await place.called
        finally:
            self.waiting.remove(place)
            if self.waiting:
                loop.call_soon(self.serve)

    def serve(self) -> None:
        """Call the first task, unless it has to wait on."""
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
        place.called.set_result(None)
