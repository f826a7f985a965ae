"""Timers: the peer whose time comes next, found without a look at the others."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from math import inf
from typing import Generic, Protocol, TypeVar

__all__ = ["Timed", "Timers"]

STALE_MIN = 64
"""Entries that are kept however few of them still count."""


class Timed(Protocol):
    """What has timers of its own, and is visited when the first of them may be due."""

    visit: float
    """When it is visited next; infinity: it is not. Only `Timers` sets it."""


Owner = TypeVar("Owner", bound=Timed)


class Timers(Generic[Owner]):
    """Visits, in the order of their times.

    A timer that begins moves its owner's visit forward; one that ends or moves back leaves
    the visit where it is, and then the visit finds nothing to do. So what every packet does
    to timers costs a comparison.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Owner]] = []
        """Time, order of entry, owner. Entries with another time than their owner's are stale."""
        self._number = itertools.count()
        self._max = STALE_MIN
        self.deadline = inf
        """The time of the next visit; infinity: there is none."""

    def begin(self, owner: Owner, due: float) -> None:
        """A timer of this owner begins to run: it is visited then, or earlier."""
        if due < owner.visit:
            owner.visit = due
            heapq.heappush(self._heap, (due, next(self._number), owner))
            if len(self._heap) > self._max:
                self._drop_stale()
            self.deadline = self._heap[0][0]

    def forget(self, owner: Owner) -> None:
        """Visit this owner no more."""
        owner.visit = inf

    def due(self, now: float) -> Iterator[Owner]:
        """Those whose visit is due; each is to `begin` its next timer while it is visited."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            due, _, owner = heapq.heappop(heap)
            self.deadline = heap[0][0] if heap else inf
            if due == owner.visit:
                owner.visit = inf
                yield owner

    def _drop_stale(self) -> None:
        """Rebuild the heap. It has doubled since the last time, so that each entry costs little."""
        kept = {id(entry[2]): entry for entry in self._heap if entry[0] == entry[2].visit}
        self._heap[:] = kept.values()
        heapq.heapify(self._heap)
        self._max = max(STALE_MIN, 2 * len(self._heap))
