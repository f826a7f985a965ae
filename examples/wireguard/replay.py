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

    def accept(self, counters: tuple[int, ...]) -> list[bool]:
        """Which counters of authentic datagrams are new, in their order; none is afterwards."""
        if counters and counters[0] > self._newest:
            run = range(counters[0], counters[0] + len(counters))
            if (
                counters == tuple(run) and run.stop <= self._limit
            ):  # nothing was lost, nothing was overtaken
                self._advance(run)
                return [True] * len(counters)
        return [self._accept(counter) for counter in counters]

    def _accept(self, counter: int) -> bool:
        if counter >= self._limit:
            return False
        if counter > self._newest:
            self._advance(range(counter, counter + 1))
            return True
        if self._newest - counter > WINDOW:
            return False
        index, bit = counter // BLOCK % BLOCKS, 1 << counter % BLOCK
        if self._blocks[index] & bit:
            return False
        self._blocks[index] |= bit
        return True

    def _advance(self, run: range) -> None:
        """Move on to the end of counters that follow each other, beyond the newest one."""
        blocks = self._blocks
        block, last = self._newest // BLOCK, (run.stop - 1) // BLOCK
        for fresh in range(max(block + 1, last - BLOCKS + 1), last + 1):
            blocks[fresh % BLOCKS] = 0
        for block in range(max(run.start // BLOCK, last - BLOCKS + 1), last + 1):
            low = max(run.start - block * BLOCK, 0)
            high = min(run.stop - block * BLOCK, BLOCK)
            blocks[block % BLOCKS] |= (1 << high) - (1 << low)
        self._newest = run.stop - 1
