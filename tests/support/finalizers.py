"""Garbage that is collected within a call: its finalizer may do what it likes, at a bad time."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from typing import TypeVar

__all__ = ["collecting_within"]

T = TypeVar("T")


class _Garbage:
    def __init__(self, acts: Iterable[Callable[[], object]], after: int) -> None:
        self.itself = self
        self.acts = acts
        self.after = after

    def __del__(self) -> None:
        if self.after:
            _Garbage(self.acts, self.after - 1)
        else:
            for act in self.acts:
                act()


def collecting_within(
    call: Callable[[], T], acts: Iterable[Callable[[], object]], after: int = 0, every: int = 1
) -> T:
    """Call a function, while a finalizer acts in one of the collections that it brings about.

    The first one, or so many later. One starts when more than `every` objects were
    allocated. Before Python 3.12 it starts with the allocation itself, so within
    functions in C, too.
    """
    thresholds = gc.get_threshold()
    gc.freeze()  # all else: a collection then takes no time
    gc.disable()
    _Garbage(acts, after)
    in_use = [[] for _ in range(100)]  # type: ignore[var-annotated] # so that lists are allocated
    gc.set_threshold(every)
    gc.enable()
    try:
        return call()
    finally:
        gc.set_threshold(*thresholds)
        for _ in range(after + 1):
            gc.collect()
        gc.unfreeze()
        in_use.clear()
