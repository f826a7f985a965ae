"""Real ping and TCP of two Linux kernels through aiotun on Python for Windows: takes root.

namespace A: ping ── device ── UDP ──┐                  ┌── UDP ── device ── namespace B
                                     └── stand-in, wine ┘

Once the devices are TUNs, and those in wine the rings of Wintun; once TAPs, and a driver's.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiotun
from aiotun.config import Layer
from aiotun.testing import Namespace

from .wine import ROOT, end_wine, environment

__all__ = [
    "ADDRESSES",
    "PORT",
    "Bridge",
    "bridge",
    "end",
    "ping",
    "start_windows",
    "traffic",
    "transfer",
    "until_all_are_there",
]

PORT = 47000
ADDRESSES = (["10.77.0.1/24", "fd77::1/64"], ["10.77.0.2/24", "fd77::2/64"])
MTU = 1400
SECONDS = 3


class Bridge(aiotun.PacketProtocol):
    """From a device to a socket; the other way goes by `came`."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.peer: Any = None
        self.transport: aiotun.PacketTransport

    def connection_made(self, transport: aiotun.PacketTransport) -> None:
        self.transport = transport
        asyncio.get_running_loop().add_reader(self._sock, self.came)

    def packet_received(self, packet: bytes) -> None:
        if self.peer is not None:
            self._sock.sendto(packet, self.peer)

    def came(self) -> None:
        for _ in range(128):
            try:
                packet, self.peer = self._sock.recvfrom(1 << 16)
            except BlockingIOError:
                return
            if packet:  # the first one, which is empty, tells of its sender
                self.transport.write(packet)

    def connection_lost(self, exc: Exception | None) -> None:
        asyncio.get_running_loop().remove_reader(self._sock)


async def traffic(folder: Path, layer: Layer) -> None:
    """Raises `RuntimeError` or `subprocess.CalledProcessError` where packets are missing."""
    async with AsyncExitStack() as stack:
        middle, *edges = (stack.enter_context(Namespace()) for _ in range(3))
        bridges = []
        for number, namespace in enumerate(edges):
            settings: dict[str, Any] = {"layer": layer, "addresses": ADDRESSES[number], "mtu": MTU}
            between = bridge(middle, namespace, number, **settings)
            bridges.append(await stack.enter_async_context(between))
        process = middle.run(start_windows, folder, "forwarding", layer)
        stack.callback(end, process)
        await until_all_are_there(process, bridges)
        await asyncio.to_thread(_send, *edges)


@asynccontextmanager
async def bridge(
    middle: Namespace, namespace: Namespace, number: int, **settings: Any
) -> AsyncIterator[Bridge]:
    """Between a device in that namespace and an adapter of the stand-in, whose name ends in that
    number and whose wine is in the namespace `middle`."""
    with middle.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.bind(("127.0.0.1", PORT + number))
        sock.setblocking(False)
        device = namespace.run(aiotun.Device, offload=False, **settings)
        transport, protocol = await aiotun.create_device_endpoint(
            functools.partial(Bridge, sock), device=device
        )
        async with transport:
            yield protocol


def start_windows(folder: Path, module: str, *words: str) -> subprocess.Popen[bytes]:
    """A module of these tools, with a server of wine in the namespace of the caller."""
    end_wine(folder)
    wine = environment(folder) | {"STANDIN_PORT": str(PORT)}
    return subprocess.Popen(
        ["wine", str(folder / "python" / "python.exe"), "-m", f"tools.windows.{module}", *words],
        cwd=ROOT,
        env=wine,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):  # it has ended by itself
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


async def until_all_are_there(process: subprocess.Popen[bytes], bridges: list[Bridge]) -> None:
    """Raises `RuntimeError` if it ends before."""
    for _ in range(600):
        if all(bridge.peer for bridge in bridges):
            return
        if process.poll() is not None:
            break
        await asyncio.sleep(0.1)
    process.kill()
    assert process.stdout is not None
    raise RuntimeError(f"Python for Windows did not begin: {process.stdout.read().decode()}")


def _send(near: Namespace, far: Namespace) -> None:
    for address in ("10.77.0.2", "fd77::2"):
        ping(near, address)
    transfer(near, far, "10.77.0.2")


def ping(near: Namespace, address: str) -> None:
    """Raises `subprocess.CalledProcessError` if nothing comes back."""
    said = near.command("ping", "-c", "50", "-i", "0.02", "-W", "2", address)
    print("\n".join(said.splitlines()[-2:]))


def transfer(near: Namespace, far: Namespace, address: str) -> None:
    """TCP to the far one. Raises `RuntimeError` if nothing arrives."""
    server = far.run(subprocess.Popen, ["iperf3", "-s", "-1"], stdout=subprocess.DEVNULL)
    try:
        while "5201" not in far.command("ss", "-ltn"):
            if server.poll() is not None:
                raise RuntimeError("iperf3 did not begin")
            time.sleep(0.05)
        said = near.command("iperf3", "-c", address, "-t", str(SECONDS), "-J")
    finally:
        server.kill()
        server.wait()
    result = json.loads(said)["end"]["sum_received"]
    print(f"TCP: {result['bytes']} bytes, {result['bits_per_second'] / 1e6:.0f} Mbit/s")
    if not result["bytes"]:
        raise RuntimeError("no byte came through")
