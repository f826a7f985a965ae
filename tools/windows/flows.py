"""Flows out of an adapter on Python for Windows: takes root.

namespace A: TCP, UDP ── TUN ── UDP ── stand-in, wine: aiotun.flows
                                                │ stand-in, UDP
namespace B: wine's sockets ── Linux' TCP ── TUN

The sockets that wine makes are Linux'. So the TUN beside them has the addresses of the second
adapter, and Linux' TCP is in the place of Windows'.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from contextlib import AsyncExitStack
from pathlib import Path

from aiotun.testing import Namespace

from .traffic import ADDRESSES, bridge, end, start_windows, until_all_are_there

__all__ = ["flows"]

HOSTS = {socket.AF_INET: "203.0.113.5", socket.AF_INET6: "2001:db8::5"}
"""Somewhere beyond the device."""

CLIENT = ["10.9.0.1/24", "fd09::1/64"]

CONNECTIONS = 20
SIZE = 1 << 18


async def flows(folder: Path) -> None:
    """Raises `RuntimeError` where what comes back is not what was sent."""
    async with AsyncExitStack() as stack:
        kernel, clients = (stack.enter_context(Namespace()) for _ in range(2))
        bridges = [
            await stack.enter_async_context(each)
            for each in (
                bridge(kernel, kernel, 0, addresses=ADDRESSES[0]),
                bridge(kernel, clients, 1, addresses=CLIENT, routes=["0.0.0.0/0", "::/0"]),
            )
        ]
        process = kernel.run(start_windows, folder, "echoing")
        stack.callback(end, process)
        await until_all_are_there(process, bridges)
        for family, host in HOSTS.items():
            start = time.monotonic()
            async with asyncio.timeout(60):
                await asyncio.gather(
                    *(_connection(clients, family, host) for _ in range(CONNECTIONS))
                )
                await _conversation(clients, family, host)
            rate = CONNECTIONS * SIZE * 8 / (time.monotonic() - start) / 1e6
            print(f"TCP to {host}: {CONNECTIONS} times {SIZE} bytes and back, {rate:.0f} Mbit/s")


async def _connection(clients: Namespace, family: int, host: str) -> None:
    sock = clients.run(socket.socket, family, socket.SOCK_STREAM)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (host, 80))
    reader, writer = await asyncio.open_connection(sock=sock)
    data = os.urandom(SIZE)
    writer.write(data)
    writer.write_eof()
    if await reader.read(-1) != data:
        raise RuntimeError(f"{host} did not send back what it was sent")
    writer.close()


async def _conversation(clients: Namespace, family: int, host: str) -> None:
    with clients.run(socket.socket, family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((host, 5000))
        for number in range(100):
            data = number.to_bytes(2, "big") * 100
            sock.send(data)
            if await asyncio.get_running_loop().sock_recv(sock, 1 << 16) != data[::-1]:
                raise RuntimeError(f"{host} did not answer what it was sent")
