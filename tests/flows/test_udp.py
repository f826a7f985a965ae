"""Conversations, echoes and ICMP errors out of a real TUN: the kernel's sockets are the clients."""

from __future__ import annotations

import asyncio
import errno
import random
import socket
from collections import Counter
from typing import Any

import packets
import pytest
from flow_rigs import HOST, FlowNet
from rigs import until

import aiotun
from aiotun.flows import (
    ConversationTransport,
    DatagramStream,
    Decision,
    Drop,
    Flow,
    FlowLimits,
)
from aiotun.flows import server as server_module
from aiotun.flows.replies import icmp_packet

pytestmark = pytest.mark.requires("tun", "netns")

UDP_SEGMENT = 103  # linux/udp.h


async def recv(sock: socket.socket) -> bytes:
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 1 << 17), 20)


async def echo(datagrams: DatagramStream) -> None:
    async for data in datagrams:
        datagrams.send(data)


class Echo(asyncio.DatagramProtocol):
    """Sends back what comes, and remembers the rest."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.ended: list[Exception | None] = []
        self.sources: list[Any] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, ConversationTransport)
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.sources.append(addr)
        self.transport.sendto(data, addr)

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.append(exc)


@pytest.mark.parametrize("version", [4, 6])
async def test_a_stream_of_datagrams(flow_net: FlowNet, version: int) -> None:
    seen: list[Flow] = []

    async def handle(datagrams: DatagramStream) -> None:
        seen.append(datagrams.flow)
        await echo(datagrams)

    async with (
        aiotun.start_flow_server(None, datagrams=handle, device=flow_net.device()) as server,
        flow_net.udp(HOST[version], 53) as sock,
    ):
        for data in (b"question", b"", bytes(1400)):
            sock.send(data)
            assert await recv(sock) == data
        (flow,) = server.flows
        assert seen == [flow]
        assert (flow.protocol, flow.destination) == ("udp", (HOST[version], 53))
        assert flow.source == sock.getsockname()[:2]
        assert flow.device is server.device
        assert server.counters.conversations == 1
        assert not server.counters.drops


async def test_protocols(flow_net: FlowNet) -> None:
    made: list[Echo] = []

    def factory() -> Echo:
        made.append(Echo())
        return made[-1]

    server = await aiotun.create_flow_server(None, datagrams=factory, device=flow_net.device())
    async with server, flow_net.udp() as one, flow_net.udp(HOST[6]) as other:
        for sock in (one, other):
            sock.send(b"hello")
            assert await recv(sock) == b"hello"
        first, second = made
        transport = first.transport
        flow = transport.get_extra_info("flow")
        assert transport.get_extra_info("peername") == flow.source == one.getsockname()
        assert transport.get_extra_info("sockname") == flow.destination == one.getpeername()
        assert first.sources == [flow.source]
        transport.send(b"unasked")
        assert await recv(one) == b"unasked"
        with pytest.raises(ValueError, match="the conversation is with"):
            transport.sendto(b"x", ("198.51.100.1", 1))
        with pytest.raises(TypeError):
            transport.send("text")  # type: ignore[arg-type]
        transport.sendto(bytes(65508))
        assert [getattr(exc, "errno", None) for exc in first.errors] == [errno.EMSGSIZE]
        transport.close()
        transport.send(b"after the end")
        await until(lambda: first.ended)
        assert transport.is_closing()
        one.send(b"anew")
        assert await recv(one) == b"anew"
        assert len(made) == 3
        assert second.ended == []
    assert second.ended == [None]


async def test_a_handler_that_returns_ends_its_conversation(flow_net: FlowNet) -> None:
    async def handle(datagrams: DatagramStream) -> None:
        datagrams.send(await datagrams.recv())

    async with (
        aiotun.start_flow_server(None, datagrams=handle, device=flow_net.device()) as server,
        flow_net.udp() as sock,
    ):
        for number in range(3):
            sock.send(b"x")
            assert await recv(sock) == b"x"
            await until(lambda: not server.flows)
            assert server.counters.conversations == number + 1


async def test_a_handler_that_raises(flow_net: FlowNet) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, c: complaints.append(c))

    async def handle(datagrams: DatagramStream) -> None:
        raise LookupError(await datagrams.recv())

    class Fails(Echo):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            raise LookupError(data)

    async with (
        aiotun.start_flow_server(None, datagrams=handle, device=flow_net.device()) as server,
        flow_net.udp() as sock,
    ):
        sock.send(b"x")
        await until(lambda: complaints and not server.flows)
    server = await aiotun.create_flow_server(None, datagrams=Fails, device=flow_net.device())
    async with server, flow_net.udp() as sock:
        sock.send(b"y")
        sock.send(b"z")
        await until(lambda: len(complaints) == 3)
        assert len(server.flows) == 1, "it costs the datagram alone"
    assert [str(each["exception"]) for each in complaints] == ["b'x'", "b'y'", "b'z'"]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("served", "decision", "number"),
    [
        (True, Decision.REFUSE, errno.ECONNREFUSED),
        (True, Decision.FORBID, errno.ECONNREFUSED),
        (True, Decision.UNREACHABLE, errno.EHOSTUNREACH),
        (False, Decision.TAKE, errno.ECONNREFUSED),
    ],
)
async def test_refused(
    flow_net: FlowNet, version: int, served: bool, decision: Decision, number: int
) -> None:
    async def accept(flow: Flow) -> Decision:
        return decision

    async with (
        aiotun.start_flow_server(
            None,
            datagrams=echo if served else None,
            accept=accept,
            device=flow_net.device(),
        ) as server,
        flow_net.udp(HOST[version]) as sock,
    ):
        if decision is Decision.UNREACHABLE:  # which Linux tells only those who ask
            if version == 4:
                sock.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR
            else:
                sock.setsockopt(socket.IPPROTO_IPV6, 25, 1)  # IPV6_RECVERR
        sock.send(b"x" * 1400)
        with pytest.raises(OSError) as caught:  # noqa: PT011
            await recv(sock)
        assert caught.value.errno == number
        forbidden = decision is Decision.FORBID
        assert server.counters.forbidden == forbidden
        assert server.counters.refused == (not forbidden)
        assert server.flows == []


async def test_super_packets_are_taken_apart(flow_net: FlowNet) -> None:
    data = random.Random(1).randbytes(20_000)
    got: list[bytes] = []

    async def handle(datagrams: DatagramStream) -> None:
        async for each in datagrams:
            got.append(each)

    async with (
        aiotun.start_flow_server(None, datagrams=handle, device=flow_net.device()) as server,
        flow_net.udp() as sock,
    ):
        sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
        sock.send(data)
        await until(lambda: sum(map(len, got)) == len(data))
        assert b"".join(got) == data
        assert {len(each) for each in got} == {1000}
        assert server.transport.counters.super_packets_received == 1


@pytest.mark.parametrize("version", [4, 6])
async def test_fragments(flow_net: FlowNet, version: int) -> None:
    """Ours are reassembled by the kernel; the kernel's are refused, whole."""
    size = 20_000

    async def handle(datagrams: DatagramStream) -> None:
        async for _ in datagrams:
            datagrams.send(bytes(size))

    async with (
        aiotun.start_flow_server(None, datagrams=handle, device=flow_net.device()) as server,
        flow_net.udp(HOST[version]) as sock,
    ):
        sock.send(b"x")
        assert await recv(sock) == bytes(size)
        sock.send(bytes(4000))
        await until(lambda: server.counters.drops[Drop.FRAGMENT] == 3)
        sock.send(b"y")
        assert await recv(sock) == bytes(size)


async def test_what_is_read_too_slowly_is_dropped_and_counted(flow_net: FlowNet) -> None:
    go = asyncio.Event()
    got: list[bytes] = []

    async def handle(datagrams: DatagramStream) -> None:
        await go.wait()
        async for data in datagrams:
            got.append(data)

    limits = FlowLimits(queued_bytes=10 * 1064)
    async with (
        aiotun.start_flow_server(
            None, datagrams=handle, limits=limits, device=flow_net.device()
        ) as server,
        flow_net.udp() as sock,
    ):
        for number in range(25):
            sock.send(bytes([number]) * 1000)
        await until(lambda: server.counters.drops[Drop.QUEUE_FULL] == 15)
        go.set()
        await until(lambda: len(got) == 10)
        assert [data[0] for data in got] == list(range(10))


async def test_idle_conversations_end(flow_net: FlowNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "INTERVAL", 0.05)
    ended: list[list[bytes]] = []

    async def handle(datagrams: DatagramStream) -> None:
        received = [data async for data in datagrams]
        with pytest.raises(aiotun.ClosedError):
            await datagrams.recv()
        ended.append(received)

    limits = FlowLimits(conversation_timeout=0.2)
    async with (
        aiotun.start_flow_server(
            None, datagrams=handle, limits=limits, device=flow_net.device()
        ) as server,
        flow_net.udp() as sock,
    ):
        sock.send(b"x")
        await until(lambda: ended)
        assert ended == [[b"x"]]
        assert server.flows == []


@pytest.mark.parametrize("version", [4, 6])
async def test_a_closed_client_is_an_error(flow_net: FlowNet, version: int) -> None:
    made: list[Echo] = []

    def factory() -> Echo:
        made.append(Echo())
        return made[-1]

    server = await aiotun.create_flow_server(None, datagrams=factory, device=flow_net.device())
    async with server:
        async with flow_net.udp(HOST[version]) as sock:
            sock.send(b"x")
            assert await recv(sock) == b"x"
        made[0].transport.send(b"is anybody there")
        await until(lambda: made[0].errors)
        assert isinstance(made[0].errors[0], ConnectionRefusedError)
        assert server.counters.errors == 1


async def test_a_closed_client_raises_in_a_stream(flow_net: FlowNet) -> None:
    raised: list[Exception] = []

    async def handle(datagrams: DatagramStream) -> None:
        await datagrams.recv()
        await closed.wait()
        datagrams.send(b"is anybody there")
        try:
            await datagrams.recv()
        except ConnectionRefusedError as exc:
            raised.append(exc)

    closed = asyncio.Event()
    async with aiotun.start_flow_server(None, datagrams=handle, device=flow_net.device()):
        async with flow_net.udp() as sock:
            sock.send(b"x")
            await asyncio.sleep(0.05)
        closed.set()
        await until(lambda: raised)


@pytest.mark.parametrize("version", [4, 6])
async def test_errors_about_connections_reach_the_kernel(flow_net: FlowNet, version: int) -> None:
    """A router behind the client says that packets are too big: the listener sends smaller ones."""
    mtu = 1300
    started = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await started.wait()
        writer.write(bytes(300_000))
        writer.close()

    device = flow_net.device()
    async with aiotun.start_flow_server(handle, device=device) as server:
        reader, writer = await flow_net.connect(HOST[version])
        sizes: Counter[int] = Counter()
        write = server.transport.write_super

        def watched(packet: aiotun.SuperPacket) -> None:
            if len(packet) > 200:
                sizes[packet.header.gso_size] += 1
                if len(sizes) == 1 and sizes.total() == 1 and not server.counters.errors:
                    quoted = packet.packet[: 60 if version == 4 else 80]
                    kind, code = (3, 4) if version == 4 else (2, 0)
                    told = icmp(version, kind, code, mtu, quoted)
                    server._received([aiotun.SuperPacket(bytes(10) + told)])
            write(packet)

        server._connections._to_client = lambda frame: watched(aiotun.SuperPacket(frame))
        server.transport._write_back({})  # nothing but through the table
        started.set()
        assert len(await reader.read()) == 300_000
        writer.close()
        assert server.counters.errors == 1
        overhead = (20 if version == 4 else 40) + 32
        assert max(sizes, key=lambda size: sizes[size]) == mtu - overhead, sizes


@pytest.mark.parametrize("version", [4, 6])
async def test_errors_about_no_flow_are_counted(flow_net: FlowNet, version: int) -> None:
    async with aiotun.start_flow_server(None, device=flow_net.device()) as server:
        for number, make in enumerate((packets.tcp, packets.udp), 1):
            told = icmp(version, *((3, 4) if version == 4 else (2, 0)), 1300, make(version))
            server._received([aiotun.SuperPacket(bytes(10) + told)])
            assert server.counters.drops == {aiotun.flows.Drop.UNKNOWN_ERROR: number}


def icmp(version: int, kind: int, code: int, mtu: int, quoted: bytes) -> bytes:
    """An ICMP error from a router to the sender of the quoted packet."""
    source = quoted[12:16] if version == 4 else quoted[8:24]
    router = bytes([10, 9, 0, 77]) if version == 4 else bytes.fromhex("fd09" + "00" * 13 + "77")
    return icmp_packet(router, source, kind, code, mtu.to_bytes(4, "big"), quoted)


@pytest.mark.interop
@pytest.mark.parametrize("version", [4, 6])
async def test_ping(flow_net: FlowNet, version: int) -> None:
    async with aiotun.start_flow_server(None, echo=True, device=flow_net.device()) as server:
        printed = await asyncio.to_thread(
            flow_net.namespace.command, "ping", "-c3", "-i0.2", "-s1000", HOST[version]
        )
        assert " 0% packet loss" in printed
        assert server.counters.echoes == 3


async def test_no_ping_unless_asked_for(flow_net: FlowNet) -> None:
    async with aiotun.start_flow_server(None, device=flow_net.device()) as server:
        raw = flow_net.namespace.run(
            socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW
        )
        with raw:
            raw.sendto(packets.icmp_echo(4, source="10.9.0.1", destination=HOST[4]), (HOST[4], 0))
            await until(lambda: server.counters.drops[Drop.UNSUPPORTED] == 1)
        assert server.counters.echoes == 0


async def test_a_flood_of_sources(flow_net: FlowNet) -> None:
    limits = FlowLimits(conversations=50, errors=10)
    async with (
        aiotun.start_flow_server(
            None, datagrams=echo, limits=limits, device=flow_net.device()
        ) as server,
        flow_net.udp() as sock,
    ):
        for _ in range(2):
            sock.send(b"before")
            assert await recv(sock) == b"before"
        raw = flow_net.namespace.run(
            socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW
        )
        with raw:
            for number in range(1000):
                source = f"198.51.100.{number % 250 + 1}"
                packet = packets.udp(
                    4, b"flood", sport=1024 + number, source=source, destination=HOST[4]
                )
                raw.sendto(packet, (HOST[4], 0))
                if number % 50 == 0:
                    await asyncio.sleep(0.002)
        await until(lambda: server.counters.conversations >= 900)
        assert len(server.flows) <= 50
        sock.send(b"after")
        assert await recv(sock) == b"after"
        assert sock.getsockname() in [flow.source for flow in server.flows]
        assert len(asyncio.all_tasks()) < 120
