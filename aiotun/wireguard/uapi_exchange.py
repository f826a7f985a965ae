"""Requests and answers of UAPI, over a UNIX socket or a named pipe."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from typing import Protocol

from .changes import Control
from .uapi import answer

__all__ = ["REQUEST_MAX", "Stream", "converse", "exchange"]

REQUEST_MAX = 8 << 20
"""Bytes: some 20,000 peers. A request is held in memory until it is whole."""

END = b"\n\n"

TIMEOUT = 5.0
"""Seconds for an answer."""


class Stream(Protocol):
    """Bytes, both ways. `read_until` raises as `asyncio.StreamReader.readuntil` does."""

    async def read_until(self, separator: bytes, limit: int, /) -> bytes: ...
    async def write(self, data: bytes, /) -> None: ...


async def converse(control: Control, stream: Stream) -> None:
    """Answer requests until the other side ends, or asks for too much, or this is cancelled."""
    with contextlib.suppress(
        asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError, OSError
    ):
        while True:
            request = await stream.read_until(END, REQUEST_MAX)
            text = await answer(control, request[:-2].decode("ascii", "replace"))
            await stream.write(text.encode())


async def exchange(stream: Stream, place: object, request: str) -> str:
    """Send a request to whoever answers there; return the lines before errno=0.

    Raises `OSError`, also for an answer that says what went wrong.
    """
    operation = request.partition("\n")[0]  # keys may stand behind it
    try:
        await stream.write(f"{request}\n\n".encode())
        answered = await asyncio.wait_for(stream.read_until(END, REQUEST_MAX), TIMEOUT)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.TimeoutError) as exc:
        raise OSError(errno.EPROTO, f"{place} gave no answer to {operation!r}") from exc
    lines, _, number = answered.decode("ascii", "replace")[:-2].rpartition("errno=")
    if number != "0":
        raise OSError(errno.EPROTO, f"{place} refused {operation!r} with errno {number}")
    return lines
