"""Outbox: the packets written in a tick. The native module has the same in C."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Outbox"]


class Outbox:
    """Gathers packets while it is open; what is not plain goes to the transport."""

    def __init__(self, otherwise: Callable[[Any], None], size_max: int, limit: int) -> None:
        self._otherwise = otherwise
        self._size_max = size_max
        self._limit = limit
        self.packets: list[bytes] = []
        self.open = False

    def write(self, data: object) -> None:
        """Append bytes of 1 to `size_max`, below the limit; call `otherwise` with all else."""
        if (
            self.open
            and type(data) is bytes
            and 0 < len(data) <= self._size_max
            and len(self.packets) + 1 < self._limit
        ):
            self.packets.append(data)
        else:
            self._otherwise(data)
