"""Tick: what gathered while a delivery goes on, and leaves when that ends."""

from __future__ import annotations

import asyncio
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
    """End the delivery that began when the tick was so long."""
    written = tick[start:]
    del tick[start:]
    for each in written:
        each.end_of_tick()
