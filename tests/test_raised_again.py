"""What ended something is raised from each later call, and holds no more each time."""

from __future__ import annotations

import asyncio
import errno
import io
from collections.abc import Awaitable, Callable
from traceback import walk_tb
from typing import Any

import pytest
from rigs import packet

import aiotun
from aiotun.codecs import Raw, RawStream
from aiotun.testing import memory_devices

CALLS: dict[str, Callable[[aiotun.PacketStream], Awaitable[Any]]] = {
    "recv": lambda tun: tun.recv(),
    "send": lambda tun: tun.send(packet()),
    "wait_closed": lambda tun: tun.transport.wait_closed(),
    "framed recv": lambda tun: aiotun.Framed(tun, Raw()).recv(),
    "framed send": lambda tun: aiotun.Framed(tun, Raw()).send(packet()),
}


async def frames_of(call: Callable[[], Awaitable[Any]]) -> int:
    """How many frames the error of a call holds."""
    with pytest.raises(OSError, match=r"deleted|of the test") as caught:
        await call()
    return len(list(walk_tb(caught.value.__traceback__)))


@pytest.mark.parametrize("name", CALLS)
async def test_the_end_of_a_device(name: str) -> None:
    near, far = memory_devices()
    with far:
        tun = await aiotun.open_device(device=near)
        near.interface.delete()
        with pytest.raises(aiotun.InterfaceGoneError):
            await tun.transport.wait_closed()
        first = await frames_of(lambda: CALLS[name](tun))
        assert await frames_of(lambda: CALLS[name](tun)) == first


class Reset:
    """A stream of bytes whose other side is gone."""

    async def receive(self, max_bytes: int, /) -> bytes:
        return b""

    async def send(self, item: bytes, /) -> None:
        raise ConnectionResetError(errno.ECONNRESET, "of the test")

    async def send_eof(self) -> None: ...

    async def aclose(self) -> None: ...


async def test_the_end_of_a_stream() -> None:
    framed = aiotun.Framed(Reset(), RawStream())
    await framed.send(b"item")
    with pytest.raises(ConnectionResetError):
        await framed.flush()
    first = await frames_of(lambda: framed.send(b"item"))
    assert await frames_of(lambda: framed.send(b"item")) == first


class Full(io.BytesIO):
    """A file on a disk that is full, but for what a capture begins with."""

    def writelines(self, lines: object) -> None:
        raise OSError(errno.ENOSPC, "of the test")


async def test_the_end_of_a_capture() -> None:
    near, far = memory_devices()
    with near, far, aiotun.capture(near, Full()) as capture:

        def flush() -> Awaitable[None]:
            return asyncio.to_thread(capture.flush)

        near.send(packet())
        await frames_of(flush)
        first = await frames_of(flush)
        assert await frames_of(flush) == first
