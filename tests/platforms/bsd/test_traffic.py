"""Real traffic through the BSDs' and macOS' queues.

The system's driver is a MODEL, and a Linux device in a namespace is the rest of its kernel. At
the other end of a relay is a real device in another namespace.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import threading
from collections.abc import AsyncIterator

import pytest
from models.devices import open_on_model
from models.kernel import ModelKernel
from models.stack import Stack

import aiotun
from aiotun.config import Layer
from aiotun.testing import Namespace

pytestmark = pytest.mark.requires("tun", "netns", "ipv6")

HOSTS = {4: ("10.9.0.1", "10.9.0.2"), 6: ("fd09::1", "fd09::2")}
NETWORKS = [[f"{HOSTS[4][n]}/24", f"{HOSTS[6][n]}/64"] for n in (0, 1)]


class Network:
    def __init__(self, near: Namespace, far: Namespace) -> None:
        self.near, self.far = near, far


@pytest.fixture(params=["tun", "tap"])
async def network(kernel: ModelKernel, request: pytest.FixtureRequest) -> AsyncIterator[Network]:
    layer: Layer = request.param
    near, far = Namespace(), Namespace()
    stack = near.run(aiotun.Device, layer=layer, addresses=NETWORKS[0], offload=False)
    real = far.run(aiotun.Device, layer=layer, addresses=NETWORKS[1], offload=False)
    device = open_on_model(kernel, layer=layer, addresses=NETWORKS[0])
    try:
        a, _ = await aiotun.create_device_endpoint(aiotun.PacketProtocol, device=device)
        b, _ = await aiotun.create_device_endpoint(aiotun.PacketProtocol, device=real)
        async with a, b:
            relaying = asyncio.create_task(aiotun.relay(a, b))
            with Stack(kernel, device.name, stack):
                yield Network(near, far)
            relaying.cancel()
            await asyncio.gather(relaying, return_exceptions=True)
    finally:
        stack.close()
        near.close()
        far.close()


def download(network: Network, version: int, size: int) -> tuple[str, str]:
    """The hashes of what a server of the far end sent and a client of the near end got."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    data = hashlib.shake_128(b"aiotun").digest(size)
    server = network.far.run(socket.create_server, (HOSTS[version][1], 0), family=family)

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.sendall(data)

    thread = threading.Thread(target=serve)
    thread.start()
    received = hashlib.sha256()
    with server, network.near.run(socket.create_connection, server.getsockname()[:2]) as client:
        client.settimeout(30)
        while part := client.recv(1 << 16):
            received.update(part)
    thread.join()
    return hashlib.sha256(data).hexdigest(), received.hexdigest()


async def test_tcp(network: Network) -> None:
    for version in (4, 6):
        sent, received = await asyncio.to_thread(download, network, version, 1 << 20)
        assert received == sent


@pytest.mark.interop
async def test_ping(network: Network) -> None:
    for version in (4, 6):
        command = "ping", f"-{version}", "-c", "3", "-i", "0.2", "-s", "1000", HOSTS[version][1]
        output = await asyncio.to_thread(network.near.command, *command)
        assert " 3 received, 0% packet loss" in output
