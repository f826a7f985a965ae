"""The replay window: which counters were seen (RFC 6479)."""

from __future__ import annotations

from .algorithms import COUNTER_MAX

__all__ = ["WINDOW", "ReplayWindow"]

BLOCK = 64
"""Bits in a block."""

BLOCKS = 128
"""As many as Linux has (drivers/net/wireguard/messages.h)."""

WINDOW = (BLOCKS - 1) * BLOCK
"""How far a datagram may come behind the newest one."""


class ReplayWindow:
    """A ring of blocks of bits: moving on clears blocks, and shifts nothing."""

    __slots__ = ("_blocks", "_limit", "_newest")

    def __init__(self, limit: int) -> None:
        """Counters from `limit` on are never accepted.

        Raises `OverflowError` for one beyond 64 bits, here and in `accept`.
        """
        _check(limit)
        self._limit = limit
        self._blocks = [0] * BLOCKS
        self._newest = -1

    def accept(self, counter: int, /) -> bool:
        """Whether an authentic datagram's counter is new; it is not afterwards."""
        _check(counter)
        block, bit = counter // BLOCK, 1 << counter % BLOCK
        index = block % BLOCKS
        if counter > self._newest:
            if counter >= self._limit:
                return False
            if block != self._newest // BLOCK:
                self._clear(block)
            self._newest = counter
        elif self._newest - counter > WINDOW or self._blocks[index] & bit:
            return False
        self._blocks[index] |= bit
        return True

    def _clear(self, last: int) -> None:
        """Make the blocks ready that come after the newest counter's, up to this one."""
        for block in range(max(self._newest // BLOCK + 1, last - BLOCKS + 1), last + 1):
            self._blocks[block % BLOCKS] = 0


def _check(counter: int) -> None:
    if not 0 <= counter <= COUNTER_MAX:
        raise OverflowError("a counter has 64 bits")
