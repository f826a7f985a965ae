"""Real traffic through the BSDs' and macOS' queues.

The system's driver is a MODEL, and a Linux device in a namespace is the rest of its kernel. At
the other end of a relay is a real device in another namespace.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from models.devices import open_on_model
from models.kernel import ModelKernel
from models.stack import Stack, download

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


async def test_tcp(network: Network) -> None:
    for version in (4, 6):
        where = network.far, network.near, HOSTS[version][1]
        sent, received = await asyncio.to_thread(download, *where, 1 << 20)
        assert received == sent


@pytest.mark.interop
async def test_ping(network: Network) -> None:
    for version in (4, 6):
        command = "ping", f"-{version}", "-c", "3", "-i", "0.2", "-s", "1000", HOSTS[version][1]
        output = await asyncio.to_thread(network.near.command, *command)
        assert " 3 received, 0% packet loss" in output
