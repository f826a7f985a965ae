"""Trains: datagrams of one length that stand one behind the other, the last one perhaps shorter.

This is what a UDP socket takes and gives as one message (UDP_SEGMENT and UDP_GRO in udp(7)).
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Train", "batches", "cut"]

Train = tuple[bytes, int]
"""Its bytes, and the size of each datagram but the last; what is not shorter than its bytes, or
0, says that there is one."""

SEGMENTS_MAX = 64
"""Datagrams in one message: UDP_MAX_SEGMENTS of include/linux/udp.h, 128 in newer kernels."""

SIZE_MAX = 65_000
"""Bytes in one message of many: an IP packet's length has 16 bits, and near them the
receiving side no longer joins what was sent together."""


def batches(datagrams: Sequence[bytes]) -> list[list[bytes]]:
    """Cut into runs that can be trains.

    An empty datagram is a run of its own: a segment cannot be empty.
    """
    found: list[list[bytes]] = []
    batch: list[bytes] = []
    segment = size = 0
    for datagram in datagrams:
        length = len(datagram)
        if not (
            batch
            and 0 < length <= segment
            and not size % segment
            and len(batch) < SEGMENTS_MAX
            and size + length <= SIZE_MAX
        ):
            batch = []
            found.append(batch)
            segment, size = length, 0
        batch.append(datagram)
        size += length
    return found


def cut(data: bytes, segment: int) -> list[bytes]:
    """The datagrams of a train."""
    if not 0 < segment < len(data):
        return [data]
    return [data[at : at + segment] for at in range(0, len(data), segment)]
