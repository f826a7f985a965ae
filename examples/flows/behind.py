"""A command in a network of its own, behind a device whose flows this program serves."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Awaitable, Callable

import aiotun
from aiotun.flows import FlowServer
from aiotun.testing import Namespace

ADDRESSES = ["10.9.0.1/24", "fd09::1/64"]

Serve = Callable[[aiotun.Device], Awaitable[FlowServer]]


async def run_behind(serve: Serve, command: list[str]) -> int:
    """Run the command; all that it sends comes out of the device. Returns its exit status.

    The sockets of this program stay outside: none of them leads into the device.
    """
    with Namespace() as namespace:
        device = namespace.run(
            aiotun.Device, addresses=ADDRESSES, routes=["0.0.0.0/0", "::/0"], ipv6_quiet=True
        )
        async with await serve(device):
            process = namespace.run(subprocess.Popen, command)
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, process.send_signal, number)
            return await asyncio.to_thread(process.wait)


async def pass_on(
    client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    """Let bytes through, each way until that side ends, or both until one is reset."""
    ways = [_pass(client[0], upstream[1]), _pass(upstream[0], client[1])]
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        await asyncio.gather(*tasks)
        client[1].close()
    except OSError:
        client[1].transport.abort()
    finally:
        for task in tasks:
            task.cancel()
        upstream[1].close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.write_eof()
