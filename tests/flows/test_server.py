"""What a server is started with, and what it refuses."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import packets
import pytest
from flow_rigs import SETTINGS, FlowNet, echo
from rigs import until

import aiotun
from aiotun.flows import DatagramStream, Drop
from aiotun.flows import server as server_module
from aiotun.testing import Namespace, memory_devices


async def answer(datagrams: DatagramStream) -> None:
    async for data in datagrams:
        datagrams.send(data[::-1])


@pytest.mark.parametrize("offload", [True, False])
async def test_conversations_need_no_kernel(offload: bool) -> None:
    """The same code on any system: here on a device in memory."""
    device, far = memory_devices(addresses=["10.9.0.1/24"], offload=offload)
    with far:
        async with aiotun.start_flow_server(None, datagrams=answer, device=device) as server:
            far.send(packets.udp(4, b"hello"))
            reply = await asyncio.to_thread(far.recv, 2.0)
            assert reply[28:] == b"olleh"
            packets.assert_sound(reply)
            far.send(packets.tcp(4, flags=packets.SYN))
            refused = await asyncio.to_thread(far.recv, 2.0)
            assert refused[33] == packets.RST | packets.ACK
            for junk in (b"\x60", b"\x45" * 40, packets.ip(4, 253, b"12345678")):
                far.send(junk)
            await until(lambda: server.counters.drops.total() == 4)
            assert server.counters.drops == {
                Drop.NO_LISTENER: 1,
                Drop.MALFORMED: 2,
                Drop.UNSUPPORTED: 1,
            }


async def test_a_device_that_pushes_back_is_not_read_meanwhile() -> None:
    device, far = memory_devices(capacity=4, push_back=True)
    with far:
        async with aiotun.start_flow_server(None, datagrams=answer, device=device) as server:
            server.transport.set_write_buffer_limits(high=2)

            def flood() -> None:
                for number in range(50):  # of sizes that nothing coalesces
                    data = bytes([number]) * (100 + number)
                    far.send(packets.udp(4, data, identification=number), timeout=30)

            sending = asyncio.ensure_future(asyncio.to_thread(flood))
            await until(lambda: not server.transport.is_reading())
            got = 0
            while got < 50:
                got += len(await asyncio.to_thread(far.recv_many, 30.0))
            await sending
            await until(server.transport.is_reading)


async def test_answers_for_a_device_that_pushes_back_are_bounded() -> None:
    """Nothing tells their sender to wait: what is too much is dropped, and counted."""

    async def shout(datagrams: DatagramStream) -> None:
        async for count in datagrams:
            for number in range(int(count)):  # of sizes that nothing coalesces
                datagrams.send(bytes(100 + number))
                await asyncio.sleep(0)

    device, far = memory_devices(capacity=4, push_back=True)
    with far:
        async with aiotun.start_flow_server(None, datagrams=shout, device=device) as server:
            server.transport.set_write_buffer_limits(high=20)
            drops = server.counters.drops
            far.send(packets.udp(4, b"500"), timeout=30)
            await until(lambda: drops[Drop.DEVICE_FULL] > 400, 30)
            assert server.transport.get_write_buffer_size() == 81
            got = 0
            while got + drops[Drop.DEVICE_FULL] < 500:
                got += len(await asyncio.to_thread(far.recv_many, 30.0))
            await until(server.transport.is_reading)
            far.send(packets.udp(4, b"1"), timeout=30)
            await asyncio.to_thread(far.recv, 30.0)


async def test_a_device_that_takes_nothing_any_more_does_not_hold_the_end_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_module, "PATIENCE", 0.02)
    device, far = memory_devices(capacity=4, push_back=True)
    with far:
        server = await aiotun.start_flow_server(None, datagrams=answer, device=device)
        for number in range(10):  # of sizes that nothing coalesces
            far.send(packets.udp(4, bytes(100 + number)), timeout=30)
            await asyncio.sleep(0.01)
        await until(lambda: server.transport.get_write_buffer_size() > 0)
        await asyncio.wait_for(server.aclose(), 10)
        assert device.counters.dropped_sent > 0


async def test_a_tap_is_refused() -> None:
    with pytest.raises(aiotun.ConfigError, match='layer="tun"'):
        await aiotun.start_flow_server(echo, layer="tap", addresses=["10.9.0.1/24"])
    device, far = memory_devices(layer="tap")
    with far:
        with pytest.raises(aiotun.ConfigError, match="VLANs"):
            await aiotun.create_flow_server(asyncio.Protocol, device=device)
        with pytest.raises(aiotun.ClosedError):
            device.recv(0)


@pytest.mark.parametrize("addresses", [[], ["10.9.0.1/32"], ["fe80::1/64"]])
async def test_addresses_that_will_not_do(addresses: list[str]) -> None:
    device, far = memory_devices(addresses=addresses)
    with far:
        with pytest.raises(aiotun.errors.AddressError, match="others in its network"):
            await aiotun.start_flow_server(echo, device=device)
        with pytest.raises(aiotun.ClosedError):
            device.recv(0)


async def test_an_open_device_is_configured_already() -> None:
    device, far = memory_devices()
    with far:
        with pytest.raises(aiotun.ConfigError, match="configured already"):
            await aiotun.start_flow_server(None, device=device, mtu=1400)
        with pytest.raises(aiotun.ClosedError):
            device.recv(0)


@pytest.mark.requires("tun", "netns")
@pytest.mark.parametrize(
    "address", ["10.9.0.1/30", "10.9.0.1/31", "10.9.0.1 peer 10.8.0.1/32", "fd09::1/127"]
)
async def test_addresses_that_just_do(flow_net: FlowNet, address: str) -> None:
    device = flow_net.device(addresses=[address], routes=["0.0.0.0/0", "::/0"])
    async with aiotun.start_flow_server(echo, device=device) as server:
        host = "203.0.113.5" if "." in address else "2001:db8::5"
        reader, writer = await flow_net.connect(host)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()
        assert not server.counters.drops


@pytest.mark.requires("tun", "netns")
async def test_a_version_without_an_address(flow_net: FlowNet) -> None:
    device = flow_net.device(addresses=["10.9.0.1/24"], routes=["0.0.0.0/0"])
    async with aiotun.start_flow_server(echo, device=device) as server:
        server._received([aiotun.SuperPacket(bytes(10) + packets.tcp(6, flags=packets.SYN))])
        assert server.counters.drops == {aiotun.flows.Drop.NO_LISTENER: 1}


@pytest.mark.requires("tun", "netns")
@pytest.mark.parametrize("when", range(1, 12, 2))
async def test_a_cancelled_start_leaves_nothing(flow_net: FlowNet, when: int) -> None:
    starting: asyncio.Future[Any] = asyncio.ensure_future(
        aiotun.create_flow_server(asyncio.Protocol, device=flow_net.device())
    )
    for _ in range(when):
        await asyncio.sleep(0)
    starting.cancel()
    try:
        server = await starting
    except asyncio.CancelledError:
        await asyncio.sleep(0.05)
    else:
        await server.aclose()
    # Another one, whose descriptors have the same numbers.
    async with aiotun.start_flow_server(echo, device=flow_net.device()):
        reader, writer = await flow_net.connect()
        writer.write(b"hello")
        assert await asyncio.wait_for(reader.readexactly(5), 30) == b"hello"
        writer.close()


def test_flows_are_imported_when_they_are_asked_for() -> None:
    program = (
        "import sys, aiotun; assert 'aiotun.flows' not in sys.modules;"
        "aiotun.start_flow_server; assert 'aiotun.flows' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.requires("tun", "netns")
async def test_clients_behind_another_device(flow_net: FlowNet) -> None:
    """The clients are in another namespace; that of the listener has no route to them."""
    near, far = memory_devices(addresses=["10.9.0.1/24"])
    device = flow_net.device(routes=[])
    with Namespace() as elsewhere, elsewhere.run(aiotun.Device, **SETTINGS) as tun:
        transport, _ = await aiotun.create_device_endpoint(lambda: Bridge(near), device=tun)
        async with aiotun.start_flow_server(
            echo, datagrams=answer, device=device, clients=far
        ) as server:
            net = FlowNet(elsewhere)
            for host in ("203.0.113.5", "2001:db8::5"):
                reader, writer = await net.connect(host)
                writer.write(b"hello" * 10000)
                writer.write_eof()
                assert await reader.read() == b"hello" * 10000
                writer.close()
                async with net.udp(host) as sock:
                    sock.send(b"abc")
                    got = await asyncio.get_running_loop().sock_recv(sock, 100)
                    assert got == b"cba"
            assert server.counters.established == 2
        await transport.aclose()


@pytest.mark.requires("tun", "netns")
async def test_two_devices_that_push_back(flow_net: FlowNet) -> None:
    """Reading goes on when both take packets again."""
    near, far = memory_devices()
    with near:
        async with aiotun.start_flow_server(echo, device=flow_net.device(), clients=far) as server:
            assert server._clients is not None
            ends = server.transport, server._clients
            protocols = [end.get_protocol() for end in ends]
            for protocol in protocols:
                assert isinstance(protocol, aiotun.PacketProtocol)
                protocol.pause_writing()
            for protocol, reading in zip(protocols, (False, True), strict=True):
                assert isinstance(protocol, aiotun.PacketProtocol)
                protocol.resume_writing()
                assert [end.is_reading() for end in ends] == [reading, reading]


class Bridge(aiotun.PacketProtocol):
    """Between a TUN and a device in memory."""

    def __init__(self, near: aiotun.Device) -> None:
        self.near = near

    def connection_made(self, transport: aiotun.PacketTransport) -> None:
        self.transport = transport
        self.task = asyncio.ensure_future(self.back())

    async def back(self) -> None:
        async with aiotun.open_device(device=self.near) as near:
            self.stream = near
            async for packet in near:
                self.transport.write(packet)

    def packet_received(self, packet: bytes) -> None:
        self.stream.transport.write(packet)

    def connection_lost(self, exc: Exception | None) -> None:
        self.task.cancel()


@pytest.mark.requires("tun", "netns")
async def test_a_client_that_claims_to_be_the_listener(flow_net: FlowNet) -> None:
    near, far = memory_devices()
    with near:
        async with aiotun.start_flow_server(echo, device=flow_net.device(), clients=far) as server:
            gate = server._connections._gates[4]
            near.send(packets.tcp(4, flags=packets.SYN, sport=5000, dport=80))
            await until(lambda: server.flows)
            forged = packets.tcp(
                4,
                b"forged",
                sport=gate.port,
                dport=1024,
                source="10.9.0.1",
                destination="10.9.0.2",
            )
            near.send(forged)
            await until(lambda: server.counters.drops)
            assert server.counters.drops == {Drop.NO_FLOW: 1}
            answers = await asyncio.to_thread(near.recv_many, 2.0)
            assert not any(b"forged" in each for each in answers)
