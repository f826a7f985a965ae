"""What a child process (fork(2)) gets along with the memory, and must not share with its parent."""

from __future__ import annotations

import os
import sys
from typing import Protocol
from weakref import WeakSet

__all__ = ["renew_in_child"]


class Renewed(Protocol):
    def _after_fork(self) -> None:
        """In the child, before anything else: part from the parent.

        Of the parent's threads only the one that forked is here. What the others held they hold
        for ever.
        """


_all: WeakSet[Renewed] = WeakSet()


def renew_in_child(renewed: Renewed) -> None:
    """Have it told in each child process from now on."""
    _all.add(renewed)


def _after_fork() -> None:
    for each in _all:
        each._after_fork()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_after_fork)
