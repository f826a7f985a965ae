"""Framed ends over pipes, pseudo-terminals and sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import termios
import tty
from collections.abc import AsyncIterator

import pytest
from rigs import packet

import aiotun
from aiotun.codecs import LengthPrefixed
from aiotun.framed.descriptors import DescriptorStream
from aiotun.testing import memory_devices

Ends = tuple[aiotun.Framed[bytes], aiotun.Framed[bytes]]
CODEC = LengthPrefixed(4, max_frame=1 << 20)


@contextlib.asynccontextmanager
async def linked(kind: str) -> AsyncIterator[Ends]:
    if kind == "pipes":
        (a, b), (c, d) = os.pipe(), os.pipe()
        near = await aiotun.open_framed_fd(CODEC, a, writing=d)
        far = await aiotun.open_framed_fd(CODEC, c, writing=b)
    else:
        if kind in ("terminal", "serial line"):
            master, slave = os.openpty()
            tty.setraw(slave)
            if kind == "serial line":  # as pyserial sets it
                modes = termios.tcgetattr(slave)
                modes[6][termios.VMIN] = modes[6][termios.VTIME] = 0
                termios.tcsetattr(slave, termios.TCSANOW, modes)
            descriptors = slave, master  # whose closing hangs up: what was not read is lost
        else:
            pair = socket.socketpair()
            descriptors = pair[0].detach(), pair[1].detach()
        near, far = [await aiotun.open_framed_fd(CODEC, fd) for fd in descriptors]
    async with near, far:
        yield near, far


kinds = pytest.mark.parametrize("kind", ["pipes", "terminal", "serial line", "sockets"])


@kinds
async def test_both_ways(kind: str) -> None:
    async with linked(kind) as (near, far):
        for one, other in ((near, far), (far, near)):
            for size in (0, 1, 1000, 3):
                await one.send(bytes(size))
                assert await other.recv() == bytes(size)


@kinds
async def test_more_than_fits_at_once(kind: str) -> None:
    """Writing waits for reading, and all bytes pass, in order."""
    items = [bytes([n]) * 100_000 for n in range(10)]
    async with linked(kind) as (near, far):

        async def send() -> None:
            for item in items:
                await near.send(item)
            await near.flush()

        sending = asyncio.ensure_future(send())
        await asyncio.sleep(0.01)
        assert not sending.done()
        assert [await far.recv() for _ in items] == items
        await sending


@kinds
async def test_the_end(kind: str) -> None:
    async with linked(kind) as (near, far):
        await near.send(b"last")
        await near.aclose()
        assert [item async for item in far] == [b"last"]


@pytest.mark.parametrize("kind", ["terminal", "serial line"])
async def test_a_terminal_hangs_up(kind: str) -> None:
    async with linked(kind) as (near, far):
        receiving = asyncio.ensure_future(near.recv())
        await asyncio.sleep(0.01)
        await far.aclose()
        with pytest.raises(aiotun.ClosedError):
            await asyncio.wait_for(receiving, 20)


async def test_one_side_of_two_pipes_ends() -> None:
    async with linked("pipes") as (near, far):
        await near.send_eof()
        assert [item async for item in far] == []
        await far.send(b"still")
        assert await near.recv() == b"still"


@kinds
async def test_a_cancelled_recv_loses_nothing(kind: str) -> None:
    async with linked(kind) as (near, far):
        receiving = asyncio.ensure_future(far.recv())
        await asyncio.sleep(0.01)
        receiving.cancel()
        await asyncio.wait([receiving])
        await near.send(b"later")
        assert await far.recv() == b"later"


@kinds
async def test_closed_while_a_task_receives(kind: str) -> None:
    """Nothing watches the descriptor any more, whose number others may get."""
    async with linked(kind) as (_, far):
        receiving = asyncio.ensure_future(far.recv())
        await asyncio.sleep(0.01)
        await far.aclose()
        with pytest.raises(aiotun.ClosedError):
            await asyncio.wait_for(receiving, 20)
        with pytest.raises(aiotun.ClosedError):
            await far.recv()


@pytest.mark.parametrize("end", ["data", "cancellation", "close"])
async def test_nothing_is_watched_when_nobody_waits(end: str) -> None:
    """Or another would be woken who gets the descriptor's number."""
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    with near:
        fd = far.detach()
        stream = DescriptorStream(fd, fd)
        stream.closefd = True
        receiving = asyncio.ensure_future(stream.receive(10))
        await asyncio.sleep(0.01)
        if end == "data":
            near.send(b"data")
            assert await receiving == b"data"
        elif end == "cancellation":
            receiving.cancel()
        else:
            await stream.aclose()
            assert not loop.remove_reader(fd)
            with pytest.raises(aiotun.ClosedError):
                await receiving
        await asyncio.wait([receiving])
        assert not loop.remove_reader(fd)
        await stream.aclose()


async def test_nothing_is_watched_when_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading and writing wait for one descriptor: a copy of it would wake the loop forever."""
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    with near:
        fd = far.detach()
        stream = DescriptorStream(fd, fd)
        stream.closefd = True
        tasks = [
            asyncio.ensure_future(stream.receive(10)),
            asyncio.ensure_future(stream.send(bytes(1 << 22))),
        ]
        await asyncio.sleep(0.01)
        watched: list[bool] = []
        real = os.close

        def close(number: int) -> None:
            watched.extend((loop.remove_reader(number), loop.remove_writer(number)))
            real(number)

        with monkeypatch.context() as patch:
            patch.setattr(os, "close", close)
            await stream.aclose()
        for task in tasks:
            with pytest.raises(aiotun.ClosedError):
                await task
        assert not any(watched)  # None to a loop of uvloop


async def test_closed_while_writing_waits() -> None:
    async with linked("pipes") as (near, _):
        await near.send(bytes(1 << 20))
        await asyncio.sleep(0.01)
        closing = asyncio.ensure_future(near.aclose())
        await asyncio.sleep(0.01)
        closing.cancel()
        await asyncio.wait([closing])


async def test_a_reader_that_is_gone() -> None:
    async with linked("pipes") as (near, far):
        await far.aclose()
        await near.send(b"nobody reads it")
        with pytest.raises(BrokenPipeError):
            await near.flush()


async def test_borrowed_descriptors_are_given_back_as_they_were() -> None:
    near, far = socket.socketpair()
    with near, far:
        far.setblocking(False)
        for sock, blocks in ((near, True), (far, False)):
            async with await aiotun.open_framed_fd(CODEC, sock.fileno(), closefd=False):
                assert not os.get_blocking(sock.fileno())
            assert os.get_blocking(sock.fileno()) == blocks


async def test_a_descriptor_that_is_none() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    with pytest.raises(OSError, match="Bad file descriptor"):
        await aiotun.open_framed_fd(CODEC, reading, writing=writing)
    assert os.get_blocking(reading)
    os.close(reading)


async def test_relay_between_a_device_and_a_terminal() -> None:
    device, far = memory_devices()
    master, slave = os.openpty()
    tty.setraw(slave)
    with far:
        async with (
            aiotun.open_device(device=device) as tun,
            await aiotun.open_framed_fd(CODEC, master) as near,
            await aiotun.open_framed_fd(CODEC, slave) as other,
        ):
            relaying = asyncio.ensure_future(aiotun.relay(tun, near))
            far.send(packet(1))
            assert await other.recv() == packet(1)
            await other.send(packet(2))
            assert await asyncio.to_thread(far.recv, 2) == packet(2)
            relaying.cancel()
            await asyncio.wait([relaying])
