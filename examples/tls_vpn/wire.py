"""What server and client have in common: the frames, and how they know that the other lives.

Behind the handshake of TLS the server sends one frame with the client's
addresses, as JSON. Each frame that follows, either way, is an IP packet, or
empty: a sign of life.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import aiotun

__all__ = ["CODEC", "MTU", "PORT", "addresses_of", "stay_alive", "while_alive"]

PORT = 4433
MTU = 1400

CODEC = aiotun.codecs.LengthPrefixed(2, max_frame=MTU)

INTERVAL = 5.0
"""Seconds between two signs of life; after three without any the other side counts as gone."""


def addresses_of(packet: bytes) -> tuple[bytes, bytes]:
    """Source and destination of an IP packet, two empty ones of anything else."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 20:
        return packet[12:16], packet[16:20]
    if version == 6 and len(packet) >= 40:
        return packet[8:24], packet[24:40]
    return b"", b""


async def stay_alive(framed: aiotun.Framed[bytes], interval: float = INTERVAL) -> None:
    """Tell the other side that this one lives; raise `TimeoutError` when it is silent itself."""
    while True:
        for _ in range(3):
            received = framed.counters.received
            if not framed.full:
                await framed.send(b"")
            await asyncio.sleep(interval)
            if framed.counters.received > received:
                break
        else:
            raise TimeoutError("the other side is silent")


async def while_alive(framed: aiotun.Framed[bytes], work: Coroutine[None, None, object]) -> None:
    """Do that until it ends or the other side is silent; raise what either raises."""
    tasks = [asyncio.ensure_future(each) for each in (work, stay_alive(framed))]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
