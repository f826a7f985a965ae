"""What server and client have in common: the frames, and how they know that the other lives.

Behind the handshake of TLS the server sends one frame with the client's
addresses, as JSON. Each frame that follows, either way, is an IP packet, or
empty: a sign of life.
"""

from __future__ import annotations

import asyncio

import aiotun

__all__ = ["CODEC", "MTU", "PORT", "addresses_of", "stay_alive"]

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
