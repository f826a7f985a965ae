"""Connections out of a real TUN: the kernel is the client, and terminates them."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import errno
import gc
import os
import random
import socket
import ssl
import struct
import weakref
from pathlib import Path
from typing import Any

import outside
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from flow_rigs import HOST, SETTINGS, FlowNet, echo
from packets import SYN, tcp
from rigs import settle, until

import aiotun
from aiotun import cancelling
from aiotun.flows import Decision, Flow, FlowLimits, FlowServer
from aiotun.flows.tcp import Beginning

pytestmark = pytest.mark.requires("tun", "netns")

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


async def exchange(net: FlowNet, data: bytes, host: str = HOST[4], port: int = 80) -> bytes:
    """Send all, and half-close; what comes back until the end."""
    reader, writer = await net.connect(host, port)
    try:

        async def send() -> None:
            writer.write(data)
            await writer.drain()
            writer.write_eof()

        answer, _ = await asyncio.gather(reader.read(-1), send())
        return answer
    finally:
        writer.close()


async def lost(reader: Reader) -> type[BaseException] | bytes:
    """How a connection ends: with all that came, or an error."""
    try:
        return await reader.read(-1)
    except OSError as exc:
        return type(exc)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("offload", [True, False])
async def test_every_byte_both_ways(flow_net: FlowNet, version: int, offload: bool) -> None:
    data = random.Random(version).randbytes(3_000_000)
    device = flow_net.device(offload=offload)
    async with aiotun.start_flow_server(echo, device=device) as server:
        assert await exchange(flow_net, data, HOST[version]) == data
        assert not server.counters.drops
        counters = server.transport.counters
        assert bool(counters.super_packets_sent) == offload


@pytest.mark.parametrize("version", [4, 6])
async def test_what_a_handler_knows(flow_net: FlowNet, version: int) -> None:
    seen: list[Any] = []

    async def handle(reader: Reader, writer: Writer) -> None:
        seen.extend(
            writer.get_extra_info(name) for name in ("flow", "peername", "sockname", "other")
        )
        seen.append(writer.get_extra_info("socket") is not None)
        writer.close()

    async with aiotun.start_flow_server(handle, device=flow_net.device()) as server:
        reader, writer = await flow_net.connect(HOST[version], 443)
        await reader.read()
        name = writer.get_extra_info("sockname")[:2]
        writer.close()
        flow = seen[0]
        assert isinstance(flow, Flow)
        assert flow.protocol == "tcp"
        assert flow.source == name
        assert flow.destination == (HOST[version], 443)
        assert flow.device is server.device
        assert seen[1:] == [flow.source, flow.destination, None, True]
        assert HOST[version] in repr(flow)


@pytest.mark.parametrize("version", [4, 6])
async def test_segments_are_as_large_as_the_device_takes(flow_net: FlowNet, version: int) -> None:
    def largest(writer: Writer) -> int:
        sock = writer.get_extra_info("socket")
        return int(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG))

    seen: list[int] = []

    async def handle(reader: Reader, writer: Writer) -> None:
        seen.append(largest(writer))
        writer.close()

    async with aiotun.start_flow_server(handle, device=flow_net.device(mtu=1400)):
        reader, writer = await flow_net.connect(HOST[version])
        await reader.read()
        seen.append(largest(writer))
        writer.close()
    headers = {4: 20, 6: 40}[version] + 20 + 12  # the last are the time stamps (RFC 7323)
    assert seen == [1400 - headers] * 2


class Recorder(asyncio.Protocol):
    """Sends back what comes, and remembers its end."""

    def __init__(self) -> None:
        self.ended: list[Exception | None] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.own = transport.get_protocol()

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.append(exc)


class BufferedRecorder(asyncio.BufferedProtocol):
    """The same with a buffer of its own."""

    def __init__(self) -> None:
        self.buffer = bytearray(4096)
        self.ended: list[Exception | None] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.own = transport.get_protocol()

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.transport.write(bytes(self.buffer[:nbytes]))

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.append(exc)


@pytest.mark.parametrize("kind", [Recorder, BufferedRecorder])
async def test_protocols(flow_net: FlowNet, kind: type[Recorder]) -> None:
    made: list[Recorder] = []

    def factory() -> Recorder:
        made.append(kind())
        return made[-1]

    server = await aiotun.create_flow_server(factory, device=flow_net.device())
    async with server:
        assert await exchange(flow_net, b"hello" * 5000) == b"hello" * 5000
        transport = made[0].transport
        flow = transport.get_extra_info("flow")
        assert flow.destination == (HOST[4], 80)
        assert transport.get_extra_info("peername") == flow.source
        assert made[0].own is made[0]
        assert made[0].ended == [None]
        assert transport.is_closing()
        assert "203.0.113.5" in repr(transport)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and a client's side of TLS for flow.example."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "flow.example")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("flow.example")]), False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "flow.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    return server, ssl.create_default_context(cafile=str(path))


async def test_tls_within_a_connection(
    flow_net: FlowNet, certificate: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    """What an inspecting proxy does."""
    ours, theirs = certificate

    async def handle(reader: Reader, writer: Writer) -> None:
        loop = asyncio.get_running_loop()
        protocol = writer.transport.get_protocol()
        transport = await loop.start_tls(writer.transport, protocol, ours, server_side=True)
        assert transport is not None
        transport.write(b"secret")
        await reader.read()
        transport.close()
        writer.close()

    async with aiotun.start_flow_server(handle, device=flow_net.device()):
        sock = flow_net.open_socket()
        await asyncio.get_running_loop().sock_connect(sock, (HOST[4], 443))
        reader, writer = await asyncio.open_connection(
            sock=sock, ssl=theirs, server_hostname="flow.example"
        )
        assert await reader.readexactly(6) == b"secret"
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.mark.parametrize("first", ["client", "handler"])
async def test_half_close(flow_net: FlowNet, first: str) -> None:
    done = asyncio.Event()

    async def handle(reader: Reader, writer: Writer) -> None:
        if first == "client":
            assert await reader.read(-1) == b"question"
            writer.write(b"answer")
            writer.close()
        else:
            writer.write(b"greeting")
            writer.write_eof()
            assert await reader.read(-1) == b"thanks"
            writer.close()
            done.set()

    async with aiotun.start_flow_server(handle, device=flow_net.device()) as server:
        reader, writer = await flow_net.connect()
        if first == "client":
            writer.write(b"question")
            writer.write_eof()
            assert await reader.read(-1) == b"answer"
        else:
            assert await reader.read(-1) == b"greeting"
            writer.write(b"thanks")
            writer.write_eof()
            await done.wait()
        writer.close()
        await until(lambda: not server.flows)
        assert not server.counters.drops


def linger(sock: Any) -> None:
    """A close that follows is a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("by", ["client", "handler"])
async def test_resets(flow_net: FlowNet, by: str) -> None:
    seen: list[object] = []
    begun = asyncio.Event()

    async def handle(reader: Reader, writer: Writer) -> None:
        begun.set()
        if by == "client":
            seen.append(await lost(reader))
            writer.close()
        else:
            await reader.readexactly(1)
            linger(writer.get_extra_info("socket"))
            writer.transport.abort()

    async with aiotun.start_flow_server(handle, device=flow_net.device()) as server:
        reader, writer = await flow_net.connect()
        writer.write(b"x")
        await begun.wait()
        if by == "client":
            linger(writer.get_extra_info("socket"))
            writer.transport.abort()
            await until(lambda: seen)
        else:
            seen.append(await lost(reader))
            writer.close()
        assert seen == [ConnectionResetError]
        await until(lambda: not server.flows)


TCP_REPAIR = 19  # include/uapi/linux/tcp.h


async def test_a_client_that_has_vanished(flow_net: FlowNet) -> None:
    """It sent neither FIN nor RST, so the kernel has to ask."""
    seen: list[object] = []

    async def handle(reader: Reader, writer: Writer) -> None:
        sock = writer.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
        writer.write(await reader.readexactly(1))
        seen.append(await lost(reader))
        writer.close()

    async with aiotun.start_flow_server(handle, device=flow_net.device()) as server:
        reader, writer = await flow_net.connect()
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        writer.close()
        await until(lambda: seen)
        assert seen == [ConnectionResetError], "there is no such connection, said the client's host"
        await until(lambda: not server.flows)


async def test_urgent_data(flow_net: FlowNet) -> None:
    """The byte is out of band at the other end too (tcp(7))."""

    async def handle(reader: Reader, writer: Writer) -> None:
        before = await reader.readexactly(3)
        urgent = b""
        with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as sock:

            def received() -> bool:
                nonlocal urgent
                with contextlib.suppress(OSError):  # it is not there yet
                    urgent = sock.recv(1, socket.MSG_OOB)
                return bool(urgent)

            await until(received)
        writer.write(urgent)
        writer.write(before + await reader.readexactly(3))
        writer.close()

    async with aiotun.start_flow_server(handle, device=flow_net.device()):
        reader, writer = await flow_net.connect()
        sock = writer.get_extra_info("socket")
        with socket.socket(fileno=os.dup(sock.fileno())) as own:
            own.send(b"abc")
            own.send(b"!", socket.MSG_OOB)
            assert await reader.readexactly(1) == b"!"
            own.send(b"def")
        assert await reader.read(-1) == b"abcdef"
        writer.close()


async def test_a_handler_that_raises(flow_net: FlowNet) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, c: complaints.append(c))

    async def handle(reader: Reader, writer: Writer) -> None:
        if (await reader.readexactly(1)) == b"!":
            raise LookupError("a fault of the handler's")
        writer.write(b"fine")
        writer.close()

    async with aiotun.start_flow_server(handle, device=flow_net.device()):
        reader, writer = await flow_net.connect()
        writer.write(b"!")
        assert await lost(reader) is ConnectionResetError
        writer.close()
        assert [type(each["exception"]) for each in complaints] == [LookupError]
        assert HOST[4] in complaints[0]["message"]
        assert await exchange(flow_net, b"?") == b"fine"


@pytest.mark.parametrize(
    ("exc", "fault"),
    [
        (ConnectionResetError("the client's"), False),
        (TimeoutError(errno.ETIMEDOUT, "the kernel's"), False),
        (OSError(errno.EHOSTUNREACH, "the kernel's"), False),
        (asyncio.TimeoutError("the handler's own"), True),
        (FileNotFoundError(errno.ENOENT, "the handler's own"), True),
    ],
)
async def test_who_is_told_what_ended_a_handler(
    flow_net: FlowNet, exc: Exception, fault: bool
) -> None:
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, c: told.append(c["exception"]))

    async def handle(reader: Reader, writer: Writer) -> None:
        raise exc

    async with aiotun.start_flow_server(handle, device=flow_net.device()):
        reader, writer = await flow_net.connect()
        assert await lost(reader) is ConnectionResetError
        writer.close()
    assert told == [exc] * fault


async def test_a_factory_that_raises(flow_net: FlowNet) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, c: complaints.append(c))

    def factory() -> asyncio.Protocol:
        raise LookupError("no protocol")

    async with await aiotun.create_flow_server(factory, device=flow_net.device()):
        reader, writer = await flow_net.connect()
        assert await lost(reader) in (b"", ConnectionResetError)
        writer.close()
        assert [type(each["exception"]) for each in complaints] == [LookupError]


DECISIONS = [
    (Decision.TAKE, None),
    (Decision.REFUSE, errno.ECONNREFUSED),
    (Decision.FORBID, errno.ECONNREFUSED),
    (Decision.UNREACHABLE, errno.EHOSTUNREACH),
]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(("decision", "number"), DECISIONS)
@pytest.mark.parametrize("later", [False, True])
async def test_decisions(
    flow_net: FlowNet, decision: Decision, number: int | None, version: int, later: bool
) -> None:
    asked: list[Flow] = []

    def accept(flow: Flow) -> Decision:
        asked.append(flow)
        return decision

    async def accept_later(flow: Flow) -> Decision:
        asked.append(flow)
        await asyncio.sleep(0.05)
        return decision

    async with aiotun.start_flow_server(
        echo, accept=accept_later if later else accept, device=flow_net.device()
    ) as server:
        if number is None:
            assert await exchange(flow_net, b"hello", HOST[version]) == b"hello"
        else:
            with pytest.raises(OSError) as caught:  # noqa: PT011
                await flow_net.connect(HOST[version])
            assert caught.value.errno == number
            forbidden = decision is Decision.FORBID
            assert server.counters.forbidden == forbidden
            assert server.counters.refused == (not forbidden)
            assert server.flows == []
            assert server.counters.established == 0
        assert [flow.destination for flow in asked] == [(HOST[version], 80)]


async def test_the_handshake_waits_for_the_decision(flow_net: FlowNet) -> None:
    decided = asyncio.Event()

    async def accept(flow: Flow) -> Decision:
        await decided.wait()
        flow.attachment = "upstream"
        return Decision.TAKE

    async def handle(reader: Reader, writer: Writer) -> None:
        writer.write(writer.get_extra_info("flow").attachment.encode())
        writer.close()

    async with aiotun.start_flow_server(handle, accept=accept, device=flow_net.device()) as server:
        connecting = asyncio.ensure_future(flow_net.connect())
        await until(lambda: server.counters.drops)  # the client repeats its SYN after a second
        assert not connecting.done()
        assert server.counters.connections == 1
        assert server.counters.drops.keys() == {aiotun.flows.Drop.PENDING}
        decided.set()
        reader, writer = await connecting
        assert await reader.read() == b"upstream"
        writer.close()


async def dropped(flow_net: FlowNet, server: FlowServer, reason: aiotun.flows.Drop) -> None:
    """A client's SYN is, and this alone; the client is not told."""
    connecting = asyncio.ensure_future(flow_net.connect())
    await until(lambda: server.counters.drops)
    await asyncio.sleep(0.05)
    assert not connecting.done()
    connecting.cancel()
    await asyncio.wait([connecting])
    assert server.counters.drops.keys() == {reason}


async def test_dropped(flow_net: FlowNet) -> None:
    async with aiotun.start_flow_server(
        echo, accept=lambda flow: Decision.DROP, device=flow_net.device()
    ) as server:
        await dropped(flow_net, server, aiotun.flows.Drop.DROPPED)


@pytest.mark.parametrize("wrong", ["raises", "says nothing"])
@pytest.mark.parametrize("later", [False, True])
async def test_a_decision_that_fails_refuses(flow_net: FlowNet, wrong: str, later: bool) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, c: complaints.append(c))

    def accept(flow: Flow) -> Any:
        if wrong == "raises":
            raise LookupError("a fault of accept's")

    async def accept_later(flow: Flow) -> Any:
        await asyncio.sleep(0)
        return accept(flow)

    chosen: Any = accept_later if later else accept
    async with aiotun.start_flow_server(echo, accept=chosen, device=flow_net.device()):
        with pytest.raises(ConnectionRefusedError):
            await flow_net.connect()
    expected = LookupError if wrong == "raises" else TypeError
    assert [type(each["exception"]) for each in complaints] == [expected]


async def test_a_client_that_gives_up_cancels_the_decision(flow_net: FlowNet) -> None:
    cancelled: list[Flow] = []

    async def accept(flow: Flow) -> Decision:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(flow)
            raise
        return Decision.TAKE

    async with aiotun.start_flow_server(
        echo, accept=accept, limits=FlowLimits(half_open=1), device=flow_net.device()
    ) as server:
        first = asyncio.ensure_future(flow_net.connect())
        await until(lambda: server.flows)
        flow = server.flows[0]
        second = asyncio.ensure_future(flow_net.connect())  # takes its place
        await until(lambda: cancelled)
        assert cancelled == [flow]
        for each in (first, second):
            each.cancel()
        await asyncio.wait([first, second])
    assert len(cancelled) >= 2, "closing cancels those that are left"


async def test_a_handler_that_never_reads_holds_its_client_back(flow_net: FlowNet) -> None:
    stop = asyncio.Event()

    async def handle(reader: Reader, writer: Writer) -> None:
        await stop.wait()
        writer.close()

    async with aiotun.start_flow_server(handle, device=flow_net.device()) as server:
        _, writer = await flow_net.connect()
        sent = 0

        async def send() -> None:
            nonlocal sent
            while sent < 64 << 20:
                writer.write(bytes(1 << 16))
                await writer.drain()
                sent += 1 << 16

        sending = asyncio.ensure_future(send())
        await settle(lambda: sent)
        assert 1 << 16 < sent < 64 << 20
        assert not sending.done(), "nothing holds it back"
        assert len(server.flows) == 1
        sending.cancel()
        writer.transport.abort()
        stop.set()
        await until(lambda: not server.flows)


async def test_a_burst_as_of_a_browser(flow_net: FlowNet) -> None:
    async with aiotun.start_flow_server(echo, device=flow_net.device()) as server:
        data = [bytes([number]) * 5000 for number in range(200)]
        answers = await asyncio.gather(*(exchange(flow_net, each) for each in data))
        assert answers == data
        assert server.counters.established == 200
        assert not server.counters.drops
        await until(lambda: not server.flows)


async def test_a_flood_of_syns(flow_net: FlowNet) -> None:
    """From addresses that never answer; the kernel has to forget them too."""
    limits = FlowLimits(half_open=64)
    async with aiotun.start_flow_server(echo, device=flow_net.device(), limits=limits) as server:
        reader, writer = await flow_net.connect()
        raw = flow_net.namespace.run(
            socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW
        )
        with raw:
            for number in range(2000):
                syn = tcp(
                    4,
                    sport=1024 + number,
                    dport=80,
                    flags=SYN,
                    source=f"198.51.100.{number % 250 + 1}",
                    destination=HOST[4],
                )
                raw.sendto(syn, (HOST[4], 0))
                if number % 50 == 0:
                    await asyncio.sleep(0.002)
            await until(lambda: server.counters.connections >= 1500)
            assert server.counters.drops[aiotun.flows.Drop.HALF_OPEN] > 1000
            writer.write(b"still here")
            assert await reader.readexactly(10) == b"still here"
            assert await exchange(flow_net, b"and new ones too") == b"and new ones too"
            assert len(server.flows) <= 66
            states = flow_net.proc_net("tcp").splitlines()
            assert sum(line.split()[3] == "03" for line in states[1:]) <= 70, "SYN_RECV"
        writer.close()


async def test_the_number_of_flows_is_bounded(flow_net: FlowNet) -> None:
    limits = FlowLimits(flows=2)
    async with aiotun.start_flow_server(echo, limits=limits, device=flow_net.device()) as server:
        kept = [await flow_net.connect() for _ in range(2)]
        await dropped(flow_net, server, aiotun.flows.Drop.FLOWS_FULL)
        kept[0][1].close()
        await until(lambda: len(server.flows) == 1)
        _, writer = await flow_net.connect()
        for each in (writer, kept[1][1]):
            each.close()


async def test_closing_resets_what_is_open(flow_net: FlowNet) -> None:
    cancelled: list[bool] = []

    async def handle(reader: Reader, writer: Writer) -> None:
        writer.write(b"part of it")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async with aiotun.start_flow_server(handle, device=flow_net.device()) as server:
        reader, writer = await flow_net.connect()
        assert await reader.readexactly(10) == b"part of it"
    assert cancelled == [True]
    assert await lost(reader) is ConnectionResetError
    writer.close()
    await server.wait_closed()
    await server.aclose()


async def test_protocols_are_told_of_the_end(flow_net: FlowNet) -> None:
    made: list[Recorder] = []

    def factory() -> Recorder:
        made.append(Recorder())
        return made[-1]

    async with await aiotun.create_flow_server(factory, device=flow_net.device()):
        _, writer = await flow_net.connect()
        await until(lambda: made)
    assert len(made[0].ended) == 1
    writer.close()


async def test_a_deleted_device_ends_the_server(flow_net: FlowNet) -> None:
    device = flow_net.device()
    async with aiotun.start_flow_server(echo, device=device) as server:
        flow_net.namespace.run(outside.delete, device.name)
        with pytest.raises(aiotun.InterfaceGoneError):
            await asyncio.wait_for(server.serve_forever(), 5)
        frames = []
        for _ in range(2):
            with pytest.raises(aiotun.InterfaceGoneError) as caught:
                await server.wait_closed()
            frames.append(len(caught.traceback))
        assert frames[0] == frames[1]


async def test_serving_ends_when_it_is_cancelled(flow_net: FlowNet) -> None:
    server: FlowServer = await aiotun.start_flow_server(echo, device=flow_net.device())
    serving = asyncio.ensure_future(server.serve_forever())
    await asyncio.sleep(0.01)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    await asyncio.wait_for(server.wait_closed(), 30)


async def test_a_connection_that_was_reset_before_it_was_accepted(flow_net: FlowNet) -> None:
    """Its socket knows of no peer any more, which uvloop asks it for."""
    loop = asyncio.get_running_loop()
    complaints: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda loop, context: complaints.append(context))
    async with aiotun.start_flow_server(echo, device=flow_net.device()) as server:
        with (
            socket.create_server(("127.0.0.1", 0)) as listening,
            socket.create_connection(listening.getsockname()) as client,
        ):
            accepted, _ = listening.accept()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport, _ = await loop.connect_accepted_socket(
            lambda: Beginning(server._claim, server._begin_connection), accepted
        )
        assert transport.is_closing()
    assert complaints == []


async def test_strangers_at_the_listening_socket(flow_net: FlowNet) -> None:
    """Nobody reaches the handler but through the table."""
    async with aiotun.start_flow_server(echo, device=flow_net.device()) as server:
        port = server._connections._gates[4].port
        reader, writer = await flow_net.connect("10.9.0.1", port)
        assert await lost(reader) in (b"", ConnectionResetError)
        writer.close()
        assert server.counters.drops == {aiotun.flows.Drop.NO_FLOW: 1}
        assert (server.counters.connections, server.flows) == (0, [])


async def test_the_device_of_another_namespace(flow_net: FlowNet) -> None:
    """The program's sockets stay where they are: none of them leads into the device."""
    namespace = f"/proc/self/fd/{flow_net.namespace.fileno()}"
    async with aiotun.start_flow_server(echo, namespace=namespace, **SETTINGS):
        assert await exchange(flow_net, b"hello") == b"hello"


async def test_memory_stays_flat_over_many_connections(flow_net: FlowNet) -> None:
    held: weakref.WeakSet[Reader] = weakref.WeakSet()

    async def handle(reader: Reader, writer: Writer) -> None:
        held.add(reader)
        await echo(reader, writer)

    async with aiotun.start_flow_server(handle, device=flow_net.device()) as server:
        for _ in range(300):
            assert await exchange(flow_net, b"x") == b"x"
        await until(lambda: not server.flows)
        gc.collect()
        assert len(held) < 20
        assert server.counters.established == 300


async def test_a_handler_that_forgets_its_cancellation_holds_up_no_close(
    flow_net: FlowNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `asyncio.wait_for` before Python 3.12 makes it do now and then."""
    monkeypatch.setattr(cancelling, "CANCEL_AGAIN", 0.01)
    forgotten = asyncio.Event()

    async def handle(reader: Reader, writer: Writer) -> None:
        writer.write(b"here")
        try:
            await reader.read()
        except asyncio.CancelledError:
            forgotten.set()
        await asyncio.Event().wait()

    async with aiotun.start_flow_server(handle, device=flow_net.device()) as server:
        reader, _ = await flow_net.connect()
        assert await reader.readexactly(4) == b"here"
        await asyncio.wait_for(server.aclose(), 30)
    assert forgotten.is_set()
