"""Throttle: what would be said for every packet is said once a second."""

from __future__ import annotations

from collections.abc import Hashable
from time import monotonic

__all__ = ["Throttle"]

INTERVAL = 1.0
"""Seconds for which nothing more of a kind is said."""

KINDS_MAX = 256
"""Kinds that are remembered. A peer that makes new kinds at will cannot fill the memory."""


class Throttle:
    """Lets the first message of a kind pass at once, and later ones at a rate.

    >>> held_back = throttle.admit(type(exc))
    >>> if held_back is not None:
    ...     logger.warning("%s (and %d more before it)", exc, held_back)
    """

    def __init__(self) -> None:
        self._kinds: dict[Hashable, tuple[float, int]] = {}
        """Of each: when the next one may pass, and how many were held back since the last."""

    def admit(self, kind: Hashable) -> int | None:
        """How many of the kind were held back before this one; None: hold this one back too."""
        now = monotonic()
        due, held_back = self._kinds.get(kind, (now, 0))
        if now < due:
            self._kinds[kind] = due, held_back + 1
            return None
        if len(self._kinds) >= KINDS_MAX:
            self._kinds.clear()
        self._kinds[kind] = now + INTERVAL, 0
        return held_back
