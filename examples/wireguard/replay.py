"""The replay window: which counters were seen (RFC 6479)."""

from __future__ import annotations

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
        """Counters from `limit` on are never accepted."""
        self._limit = limit
        self._blocks = [0] * BLOCKS
        self._newest = -1

    def accept(self, counters: list[int]) -> list[bool]:
        """Which counters of authentic datagrams are new, in their order; none is afterwards."""
        count = len(counters)
        if count > 1 and counters[0] > self._newest:
            run = range(counters[0], counters[0] + count)
            # Whether nothing was lost, nothing was overtaken.
            if run.stop <= self._limit and counters == list(run):
                self._advance(run)
                return [True] * count
        return [self._accept(counter) for counter in counters]

    def _accept(self, counter: int) -> bool:
        if counter >= self._limit:
            return False
        block, bit = counter // BLOCK, 1 << counter % BLOCK
        index = block % BLOCKS
        if counter > self._newest:
            if block != self._newest // BLOCK:
                self._clear(block)
            self._newest = counter
        elif self._newest - counter > WINDOW or self._blocks[index] & bit:
            return False
        self._blocks[index] |= bit
        return True

    def _advance(self, run: range) -> None:
        """Move on to the end of counters that follow each other, beyond the newest one."""
        blocks = self._blocks
        last = (run.stop - 1) // BLOCK
        self._clear(last)
        for block in range(max(run.start // BLOCK, last - BLOCKS + 1), last + 1):
            low = max(run.start - block * BLOCK, 0)
            high = min(run.stop - block * BLOCK, BLOCK)
            blocks[block % BLOCKS] |= (1 << high) - (1 << low)
        self._newest = run.stop - 1

    def _clear(self, last: int) -> None:
        """Make the blocks ready that come after the newest counter's, up to this one."""
        for block in range(max(self._newest // BLOCK + 1, last - BLOCKS + 1), last + 1):
            self._blocks[block % BLOCKS] = 0
