"""Flows on macOS and the BSDs, where a TUN has no offload.

The system's driver is a MODEL, and a Linux device in a namespace is the rest of its kernel: its TCP
makes the clients' connections, and terminates them.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
from flow_rigs import HOST, SETTINGS, FlowNet, echo
from models.devices import KERNELS, open_on_model
from models.kernel import ModelKernel
from models.stack import Stack
from rigs import until

import aiotun
from aiotun.flows import Decision, Drop, Flow, FlowServer
from aiotun.flows import tcp as flows_tcp

pytestmark = [
    pytest.mark.requires("tun", "netns", "ipv6"),
    pytest.mark.asyncio(loop_factories=["asyncio"]),  # test_tcp.py and test_udp.py have the others
]


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModelKernel:
    # Only Linux binds a listening socket to a device.
    monkeypatch.setattr(flows_tcp, "sys", SimpleNamespace(platform=request.param))
    return KERNELS[request.param]()


@pytest.fixture(params=["python", "native"])
def device(kernel: ModelKernel, flow_net: FlowNet, request: pytest.FixtureRequest) -> aiotun.Device:
    made = open_on_model(kernel, addresses=SETTINGS["addresses"], ipv6_quiet=True)
    made.interface.call_beside = flow_net.namespace.run  # type: ignore[method-assign]
    if request.param == "python":
        made.queue.direct = None
    return made


def accept(flow: Flow) -> Decision:
    return Decision.REFUSE if flow.destination.port == 81 else Decision.TAKE


async def answer(datagrams: aiotun.flows.DatagramStream) -> None:
    async for data in datagrams:
        datagrams.send(data[::-1])


@pytest.fixture
async def server(
    kernel: ModelKernel, device: aiotun.Device, flow_net: FlowNet
) -> AsyncIterator[FlowServer]:
    with flow_net.device(offload=False) as rest:
        async with aiotun.start_flow_server(
            echo, datagrams=answer, accept=accept, device=device
        ) as flows:
            with Stack(kernel, device.name, rest):
                yield flows


async def test_tcp(server: FlowServer, flow_net: FlowNet) -> None:
    data = hashlib.shake_128(b"aiotun").digest(1 << 20)
    for version in (4, 6):
        reader, writer = await flow_net.connect(HOST[version])
        writer.write(data)
        writer.write_eof()
        assert await reader.read(-1) == data
        writer.close()
        await writer.wait_closed()
    assert server.counters.established == 2
    await until(lambda: not server.flows)


async def test_refused(server: FlowServer, flow_net: FlowNet) -> None:
    for version in (4, 6):
        with pytest.raises(ConnectionRefusedError):
            await flow_net.connect(HOST[version], 81)


async def test_a_client_that_resets(server: FlowServer, flow_net: FlowNet) -> None:
    _, writer = await flow_net.connect()
    await until(lambda: len(server.flows) == 1)
    writer.transport.abort()
    await until(lambda: not server.flows)


async def test_many_connections_at_once(server: FlowServer, flow_net: FlowNet) -> None:
    async def visit(number: int) -> None:
        reader, writer = await flow_net.connect(port=1000 + number)
        writer.write(b"%d" % number)
        writer.write_eof()
        assert await reader.read(-1) == b"%d" % number
        writer.close()

    await asyncio.gather(*map(visit, range(50)))
    assert server.counters.established == 50


async def test_udp(server: FlowServer, flow_net: FlowNet) -> None:
    loop = asyncio.get_running_loop()
    for version in (4, 6):
        async with flow_net.udp(HOST[version]) as sock:
            for size in (1, 1400):
                data = bytes(n & 0xFF for n in range(size))
                sock.send(data)
                assert await asyncio.wait_for(loop.sock_recv(sock, 2000), 5) == data[::-1]
        async with flow_net.udp(HOST[version], 81) as sock:
            sock.send(b"?")
            with pytest.raises(ConnectionRefusedError):
                await asyncio.wait_for(loop.sock_recv(sock, 2000), 5)
    assert (server.counters.conversations, server.counters.refused) == (4, 2)


async def test_who_finds_the_socket_is_no_client(server: FlowServer, flow_net: FlowNet) -> None:
    """It is not bound to the device, so whatever reaches this host may find it."""
    (listening,) = server._servers[0].sockets
    reader, writer = await flow_net.connect(*listening.getsockname())
    assert await reader.read(-1) == b""
    assert server.counters.drops[Drop.NO_FLOW] == 1
    writer.close()
