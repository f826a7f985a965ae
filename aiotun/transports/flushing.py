"""Tick: what gathered while a delivery goes on, and leaves when that ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Protocol
from weakref import WeakKeyDictionary

__all__ = ["Flushed", "Tick", "flush_since", "tick_of"]


class Flushed(Protocol):
    """What can be part of a tick."""

    def end_of_tick(self) -> None: ...


Tick = list[Flushed]
"""What is to be flushed; empty: no delivery goes on."""

_ticks: WeakKeyDictionary[asyncio.AbstractEventLoop, Tick] = WeakKeyDictionary()


def tick_of(loop: asyncio.AbstractEventLoop) -> Tick:
    """The same list for all transports of a loop."""
    return _ticks.setdefault(loop, [])


def flush_since(tick: Tick, start: int) -> None:
    """End the delivery that began when the tick was so long.

    All that is in it is flushed, whatever the flush of one raises.
    """
    written: list[Flushed] = []
    while len(tick) > start:  # one by one: a finalizer may write at any time, and add to it
        written.append(tick.pop(start))
    _flush(iter(written))


def _flush(remaining: Iterator[Flushed]) -> None:
    try:
        for each in remaining:
            each.end_of_tick()
    except BaseException:
        _flush(remaining)
        raise
