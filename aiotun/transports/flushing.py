"""Tick: the transports that gathered messages during a delivery, and send them at its end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Protocol
from weakref import WeakKeyDictionary

__all__ = ["Flushed", "Tick", "flush_since", "tick_of"]


class Flushed(Protocol):
    """A transport that gathers messages, as a tick knows it."""

    def _end_of_tick(self) -> None: ...


Tick = list[Flushed]
"""The transports to flush. It is empty while no delivery goes on."""

_ticks: WeakKeyDictionary[asyncio.AbstractEventLoop, Tick] = WeakKeyDictionary()


def tick_of(loop: asyncio.AbstractEventLoop) -> Tick:
    """The tick of a loop: all of its transports share one list."""
    return _ticks.setdefault(loop, [])


def flush_since(tick: Tick, start: int) -> None:
    """End the delivery that began when the tick was so long.

    All that is in it is flushed, whatever the flush of one raises.
    """
    first = tick.pop(start)
    if len(tick) == start:  # it is the only one, as when one packet was delivered
        first._end_of_tick()
        return
    written = [first]
    while len(tick) > start:  # one by one: a finalizer may write at any time, and add to it
        written.append(tick.pop(start))
    _flush(iter(written))


def _flush(remaining: Iterator[Flushed]) -> None:
    try:
        for each in remaining:
            each._end_of_tick()
    except BaseException:
        _flush(remaining)
        raise
