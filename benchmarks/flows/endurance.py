"""What takes too long for a test: `python -m benchmarks.flows.endurance transfer 4`, for one.

transfer GIB: every byte compared, there and back. connections COUNT: one after the other, and
then no entry and no port is left in use. idle SECONDS: a connection that says nothing meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import socket
import time

import aiotun
from aiotun.flows import FlowServer
from aiotun.testing import Namespace
from benchmarks.processes import prepare

HOST = "203.0.113.5"

BLOCK = random.Random(17).randbytes(1 << 20)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 18):
        writer.write(data)
        await writer.drain()
    writer.close()


async def connect(namespace: Namespace) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    sock = namespace.run(socket.socket, socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (HOST, 80))
    return await asyncio.open_connection(sock=sock, limit=1 << 20)


async def transfer(namespace: Namespace, server: FlowServer, gib: int) -> None:
    reader, writer = await connect(namespace)

    async def send() -> None:
        for _ in range(gib << 10):
            writer.write(BLOCK)
            await writer.drain()
        writer.write_eof()

    sending = asyncio.ensure_future(send())
    for number in range(gib << 10):
        if await reader.readexactly(len(BLOCK)) != BLOCK:
            raise AssertionError(f"MiB {number} is another one")
    if await reader.read():
        raise AssertionError("there is more")
    await sending
    writer.close()


async def connections(namespace: Namespace, server: FlowServer, count: int) -> None:
    for _ in range(count):
        reader, writer = await connect(namespace)
        writer.write(b"x")
        if await reader.readexactly(1) != b"x":
            raise AssertionError("no echo")
        writer.close()
    await asyncio.sleep(1)
    left = len(server.flows)
    table = server._connections
    print(f"open: {left}, resting: {len(table._closed)}")
    server._connections.expire(asyncio.get_running_loop().time() + 3600)
    gc.collect()
    if left or table.paths:
        raise AssertionError(f"{len(table.paths)} keys are left")


async def idle(namespace: Namespace, server: FlowServer, seconds: int) -> None:
    reader, writer = await connect(namespace)
    for _ in range(2):
        writer.write(b"x")
        if await reader.readexactly(1) != b"x":
            raise AssertionError("no echo")
        await asyncio.sleep(seconds)
        seconds = 0
    writer.close()


async def main(what: str, amount: int) -> None:
    with Namespace() as namespace:
        device = namespace.run(aiotun.Device, addresses=["10.9.0.1/24"], routes=["0.0.0.0/0"])
        async with aiotun.start_flow_server(echo, device=device) as server:
            began = time.monotonic()
            await {"transfer": transfer, "connections": connections, "idle": idle}[what](
                namespace, server, amount
            )
            print(f"{what} {amount}: {time.monotonic() - began:.1f} s, {server.counters}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.flows.endurance", description=__doc__
    )
    parser.add_argument("what", choices=["transfer", "connections", "idle"])
    parser.add_argument("amount", type=int)
    args = parser.parse_args()
    prepare("tun", "netns")
    asyncio.run(main(args.what, args.amount))
