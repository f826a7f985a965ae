"""Framed connections and servers: their handlers, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import os
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from framing import needs_unix_sockets, tls_contexts
from limits import descriptors_left
from rigs import until

import aiotun
from aiotun import cancelling
from aiotun.codecs import CapturedPacket, LengthPrefixed, Pcap, Raw
from aiotun.framed import connections
from examples.tls_vpn.certificates import SERVER

CODEC = LengthPrefixed(2)


Complaints = list[dict[str, Any]]


@pytest.fixture
async def complaints() -> Complaints:
    """What the loop's exception handler is told."""
    told: Complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    return told


async def echo(framed: aiotun.Framed[bytes]) -> None:
    async for item in framed:
        await framed.send(item)


async def test_tcp_and_its_port() -> None:
    async with await aiotun.start_framed_server(echo, CODEC, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with await aiotun.open_framed_connection(CODEC, "127.0.0.1", port) as framed:
            await framed.send(b"one")
            assert await framed.recv() == b"one"


async def test_a_connection_whose_socket_refuses_an_option(
    monkeypatch: pytest.MonkeyPatch, complaints: Complaints
) -> None:
    """As macOS' does once the client has reset it: the next one is served all the same."""
    set_option = socket.socket.setsockopt
    refused: list[socket.socket] = []

    def refuse_once(self: socket.socket, *arguments: Any) -> None:
        if not refused:
            refused.append(self)
            raise OSError(errno.EINVAL, "of the test")
        set_option(self, *arguments)

    async with await aiotun.start_framed_server(echo, CODEC, "127.0.0.1", 0) as server:
        address = server.sockets[0].getsockname()
        monkeypatch.setattr(socket.socket, "setsockopt", refuse_once)
        with socket.socket() as client:
            client.connect(address)
            await until(lambda: refused and refused[0].fileno() < 0)
        async with await aiotun.open_framed_connection(CODEC, *address) as framed:
            await framed.send(b"one")
            assert await framed.recv() == b"one"
    assert complaints == []


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        pytest.param({"codec": Raw()}, "take a stream codec", id="a codec of packets"),
        pytest.param({"codec": LengthPrefixed}, "take a stream codec", id="a class"),
        pytest.param({"read_size": 0}, "at least 1, not 0", id="nothing read at a time"),
    ],
)
async def test_what_frames_no_connection(no_leaks: None, wrong: dict[str, Any], why: str) -> None:
    """It is told before anything is opened, and not by connections that end."""
    given = {"codec": CODEC, **wrong}
    with pytest.raises(aiotun.ConfigError, match=why):
        await aiotun.start_framed_server(echo, host="127.0.0.1", port=0, **given)
    async with await aiotun.start_framed_server(echo, CODEC, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(aiotun.ConfigError, match=why):
            await aiotun.open_framed_connection(host="127.0.0.1", port=port, **given)
    if sys.platform != "win32":
        reading, writing = os.pipe()
        with pytest.raises(aiotun.ConfigError, match=why):
            await aiotun.open_framed_fd(fd=reading, writing=writing, **given)
        assert os.get_blocking(reading)
        os.close(reading)
        os.close(writing)


@needs_unix_sockets
async def test_an_empty_path() -> None:
    with pytest.raises(aiotun.ConfigError, match="path= is empty"):
        await aiotun.start_framed_server(echo, CODEC, path="")


async def test_a_server_that_cannot_listen_leaves_nothing(
    no_leaks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiotun.framed.connections.BACKLOG_MAX", 1 << 31)
    with pytest.raises(OverflowError):
        await aiotun.start_framed_server(echo, CODEC, "127.0.0.1", 0, backlog=1 << 31)


@pytest.mark.parametrize("wrong", [-1, 65536, 1 << 40])
async def test_a_port_out_of_range(no_leaks: None, wrong: int) -> None:
    for call in (
        aiotun.open_framed_connection(CODEC, "127.0.0.1", wrong),
        aiotun.start_framed_server(echo, CODEC, "127.0.0.1", wrong),
    ):
        with pytest.raises(ValueError, match=f"port has to be 0 to 65535, not {wrong}"):
            await call


@pytest.mark.parametrize("wrong", [-1, 1 << 31, 1 << 70])
async def test_a_backlog_out_of_range(no_leaks: None, wrong: int) -> None:
    with pytest.raises(ValueError, match=f"backlog= has to be 0 to 2147483647, not {wrong}"):
        await aiotun.start_framed_server(echo, CODEC, "127.0.0.1", 0, backlog=wrong)


@pytest.mark.parametrize("wrong", [-1, 1 << 31, 1 << 70])
async def test_a_descriptor_out_of_range(no_leaks: None, wrong: int) -> None:
    with pytest.raises(ValueError, match=f"fd has to be 0 to 2147483647, not {wrong}"):
        await aiotun.open_framed_fd(CODEC, wrong)
    with pytest.raises(ValueError, match=f"writing= has to be 0 to 2147483647, not {wrong}"):
        await aiotun.open_framed_fd(CODEC, 0, writing=wrong)


@needs_unix_sockets
async def test_a_unix_socket_is_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    async with await aiotun.start_framed_server(echo, CODEC, path=path):
        async with await aiotun.open_framed_connection(CODEC, path=path) as framed:
            await framed.send_all([b"one", b"two"])
            assert [await framed.recv(), await framed.recv()] == [b"one", b"two"]
        assert path.is_socket()
    assert not path.exists()


QUIET = {
    "reset": ConnectionResetError(errno.ECONNRESET, "of the test"),
    "timed out": OSError(errno.ETIMEDOUT, "of the test"),
    "unreachable": OSError(errno.EHOSTUNREACH, "of the test"),
    "TLS": ssl.SSLError("of the test"),
    "certificate": ssl.SSLCertVerificationError("of the test"),
    "codec": aiotun.CodecError("of the test"),
    "closed": aiotun.ClosedError("of the test"),
}
LOUD = {
    "mistake": RuntimeError("of the test"),
    "no file": FileNotFoundError(errno.ENOENT, "of the test"),
    "no permission": PermissionError(errno.EACCES, "of the test"),
    "no descriptors": OSError(errno.EMFILE, "of the test"),
    "no interface": aiotun.InterfaceGoneError(errno.ENODEV, "of the test"),
    "not implemented": NotImplementedError("of the test"),
    "own timeout": asyncio.TimeoutError(),
}


@pytest.mark.parametrize("kind", [*QUIET, *LOUD])
async def test_a_handler_that_fails_ends_its_connection_alone(
    kind: str, complaints: Complaints
) -> None:
    error = {**QUIET, **LOUD}[kind]

    async def handler(framed: aiotun.Framed[bytes]) -> None:
        if await framed.recv() == b"fail":
            raise error
        await echo(framed)

    async with await aiotun.start_framed_server(handler, CODEC, "127.0.0.1", 0) as server:
        address = server.sockets[0].getsockname()
        failing = await aiotun.open_framed_connection(CODEC, *address)
        other = await aiotun.open_framed_connection(CODEC, *address)
        async with failing, other:
            await other.send(b"begin")
            await failing.send(b"fail")
            with pytest.raises(aiotun.ClosedError):
                await failing.recv()
            await other.send(b"still here")
            assert await other.recv() == b"still here"
    assert [each["exception"] for each in complaints] == ([error] if kind in LOUD else [])


async def test_closing_the_server_ends_its_connections() -> None:
    server = await aiotun.start_framed_server(echo, CODEC, "127.0.0.1", 0)
    async with await aiotun.open_framed_connection(
        CODEC, *server.sockets[0].getsockname()
    ) as framed:
        await framed.send(b"one")
        assert await framed.recv() == b"one"
        await server.aclose()
        with pytest.raises((aiotun.ClosedError, ConnectionError)):
            await framed.recv()


@contextlib.contextmanager
def silent_connections(
    server: aiotun.FramedServer[bytes], count: int
) -> Iterator[list[socket.socket]]:
    """Clients that say nothing, so that their TLS handshakes stall."""
    address = server.sockets[0].getsockname()
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(address)) for _ in range(count)]


async def check_served(server: aiotun.FramedServer[bytes]) -> None:
    """Somebody who comes meanwhile, by TLS, is served."""
    async with await aiotun.open_framed_connection(
        CODEC, *server.sockets[0].getsockname(), ssl=tls_contexts()[1], server_hostname=SERVER
    ) as framed:
        await framed.send(b"meanwhile")
        assert await framed.recv() == b"meanwhile"


async def test_handshakes_that_stall_are_ended(complaints: Complaints) -> None:
    started: list[aiotun.Framed[bytes]] = []

    async def handler(framed: aiotun.Framed[bytes]) -> None:
        started.append(framed)
        await echo(framed)

    async with await aiotun.start_framed_server(
        handler, CODEC, "127.0.0.1", 0, ssl=tls_contexts()[0], ssl_handshake_timeout=2.5
    ) as server:
        with silent_connections(server, 50) as flood:
            await check_served(server)
            for stalled in flood:
                assert await end_of(stalled) == b""
    assert len(started) == 1
    assert complaints == []


async def test_silent_connections_cost_no_more_than_so_many_handshakes(
    complaints: Complaints, caplog: pytest.LogCaptureFixture
) -> None:
    """A newcomer ends the oldest one, so that others still get in."""
    caplog.set_level(logging.INFO, "aiotun")
    async with await aiotun.start_framed_server(
        echo, CODEC, "127.0.0.1", 0, ssl=tls_contexts()[0], backlog=300
    ) as server:
        with silent_connections(server, 200) as flood:
            ended = 200 - connections.HANDSHAKES_MAX
            for stalled in flood[:ended]:
                assert await end_of(stalled) == b""
            await until(lambda: len(server._connections) == connections.HANDSHAKES_MAX)
            for stalled in flood[ended:]:
                stalled.setblocking(False)
                with pytest.raises(BlockingIOError):
                    stalled.recv(1)
            await check_served(server)
    assert complaints == []
    told = [each.getMessage() for each in caplog.records if "handshake" in each.getMessage()]
    assert 1 <= len(told) < 20
    assert "a newcomer took its place" in told[0]


async def test_no_more_connections_are_served_than_the_limit() -> None:
    started: list[bytes] = []

    async def handler(framed: aiotun.Framed[bytes]) -> None:
        started.append(await framed.recv())
        await echo(framed)

    async with await aiotun.start_framed_server(
        handler, CODEC, "127.0.0.1", 0, max_connections=2
    ) as server:
        address = server.sockets[0].getsockname()
        clients = []
        for number in range(5):
            clients.append(await aiotun.open_framed_connection(CODEC, *address))
            await clients[-1].send(bytes([number]))
        await until(lambda: len(started) == 2)
        await asyncio.sleep(0.02)
        assert len(started) == 2
        assert len(server._connections) < 5  # those that were being accepted; others wait for that
        for ended in range(3):
            await clients[ended].aclose()
            await until(lambda ended=ended: len(started) == 3 + ended)  # type: ignore[misc]
        assert started == [bytes([number]) for number in range(5)]
        for client in clients:
            await client.aclose()


async def test_a_limit_that_serves_nobody() -> None:
    with pytest.raises(aiotun.ConfigError, match="serves none"):
        await aiotun.start_framed_server(echo, CODEC, "127.0.0.1", 0, max_connections=0)


async def test_a_failed_handler_makes_room(complaints: Complaints) -> None:
    async def handler(framed: aiotun.Framed[bytes]) -> None:
        if await framed.recv() == b"fail":
            raise LookupError

    async with await aiotun.start_framed_server(
        handler, CODEC, "127.0.0.1", 0, max_connections=1
    ) as server:
        for each in (b"fail", b"end", b"end"):
            address = server.sockets[0].getsockname()
            async with await aiotun.open_framed_connection(CODEC, *address) as framed:
                await framed.send(each)
                with pytest.raises(aiotun.ClosedError):
                    await framed.recv()
    assert len(complaints) == 1


@pytest.mark.parametrize("end", ["closed", "cancelled"])
async def test_serving_for_ever(end: str) -> None:
    server = await aiotun.start_framed_server(echo, CODEC, "127.0.0.1", 0)
    serving = asyncio.ensure_future(server.serve_forever())
    async with await aiotun.open_framed_connection(
        CODEC, *server.sockets[0].getsockname()
    ) as framed:
        await framed.send(b"one")
        assert await framed.recv() == b"one"
        assert not serving.done()
        if end == "closed":
            await server.aclose()
            await asyncio.wait_for(serving, 5)
        else:
            serving.cancel()
            await asyncio.wait([serving], timeout=5)
            assert serving.cancelled()
        assert server.sockets == ()
        with pytest.raises((aiotun.ClosedError, ConnectionError)):
            await framed.recv()


@pytest.mark.parametrize("kind", ["tcp", "unix"])
async def test_without_descriptors_nothing_is_left_behind(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    where: dict[str, Any] = {"path": path} if kind == "unix" else {"host": "127.0.0.1", "port": 0}
    await (await aiotun.start_framed_server(echo, CODEC, **where)).aclose()  # libuv keeps one
    await asyncio.sleep(0.01)
    held = len(os.listdir("/proc/self/fd"))
    failed = 0
    for free in range(20):
        try:
            with descriptors_left(free):
                server = await aiotun.start_framed_server(echo, CODEC, **where)
        except OSError:
            failed += 1
        else:
            break
        await asyncio.sleep(0.01)
        gc.collect()
        assert not path.exists()
        assert len(os.listdir("/proc/self/fd")) == held
    await server.aclose()
    assert failed >= 2


async def test_closing_ends_a_handshake_at_once(complaints: Complaints) -> None:
    server = await aiotun.start_framed_server(echo, CODEC, "127.0.0.1", 0, ssl=tls_contexts()[0])
    with socket.create_connection(server.sockets[0].getsockname()) as silent:
        await asyncio.sleep(0.05)  # until it was accepted
        await asyncio.wait_for(server.aclose(), 5)
        assert await end_of(silent) == b""
    assert complaints == []


@pytest.mark.parametrize("turns", range(6))
async def test_closing_while_a_connection_comes(turns: int, complaints: Complaints) -> None:
    """Wherever it is on its way to its handler: nothing is left behind, which pytest would see."""
    server = await aiotun.start_framed_server(echo, CODEC, "127.0.0.1", 0)
    await asyncio.sleep(0)
    with socket.create_connection(server.sockets[0].getsockname()) as client:
        for _ in range(turns):
            await asyncio.sleep(0)
        await server.aclose()
        with contextlib.suppress(ConnectionResetError):  # it was never accepted
            assert await end_of(client) == b""
    assert server.sockets == ()
    assert complaints == []


async def test_closing_goes_on_when_cancelled(complaints: Complaints) -> None:
    server = await aiotun.start_framed_server(echo, CODEC, "127.0.0.1", 0)
    async with await aiotun.open_framed_connection(
        CODEC, *server.sockets[0].getsockname()
    ) as framed:
        await framed.send(b"one")
        assert await framed.recv() == b"one"
        closing = asyncio.ensure_future(server.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises((aiotun.ClosedError, ConnectionError)):
            await asyncio.wait_for(framed.recv(), 5)
        await server.aclose()
    assert complaints == []


async def test_accepting_goes_on_once_there_are_descriptors_again(
    complaints: Complaints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "ACCEPT_PAUSE", 0.1)
    async with await aiotun.start_framed_server(echo, CODEC, "127.0.0.1", 0) as server:
        client = socket.create_connection(server.sockets[0].getsockname())
        with descriptors_left(0):
            await until(lambda: complaints)
            await asyncio.sleep(0.25)
        async with await aiotun.open_framed_connection(CODEC, sock=client) as framed:
            await framed.send(b"late")
            assert await framed.recv() == b"late"
    assert {each["exception"].errno for each in complaints} == {errno.EMFILE}
    assert len(complaints) < 10


async def test_every_address_is_served() -> None:
    async with await aiotun.start_framed_server(echo, CODEC, None, 0) as server:
        assert {each.family for each in server.sockets} == {socket.AF_INET, socket.AF_INET6}
        for listening in server.sockets:
            host = "127.0.0.1" if listening.family == socket.AF_INET else "::1"
            async with await aiotun.open_framed_connection(
                CODEC, host, listening.getsockname()[1]
            ) as framed:
                await framed.send(b"one")
                assert await framed.recv() == b"one"


async def test_small_frames_wait_for_no_acknowledgement() -> None:
    """asyncio sets TCP_NODELAY on a socket alone that says what protocol it is of."""
    told: list[int] = []

    async def handler(framed: aiotun.Framed[bytes]) -> None:
        accepted = framed.get_extra_info("socket")
        told.append(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    async with await aiotun.start_framed_server(handler, CODEC, "127.0.0.1", 0) as server:
        address = server.sockets[0].getsockname()
        async with await aiotun.open_framed_connection(CODEC, *address):
            await until(lambda: told)
    assert told[0] != 0


async def end_of(raw: socket.socket) -> bytes:
    """What the other side sends before it closes, which it does soon."""
    raw.settimeout(5)
    return await asyncio.to_thread(raw.recv, 1)


async def test_the_preamble_of_a_codec_goes_first() -> None:
    received: list[CapturedPacket] = []

    async def handler(framed: aiotun.Framed[CapturedPacket]) -> None:
        async for packet in framed:
            received.append(packet)

    codec = Pcap()
    async with await aiotun.start_framed_server(handler, codec, "127.0.0.1", 0) as server:
        async with await aiotun.open_framed_connection(
            codec, *server.sockets[0].getsockname()
        ) as framed:
            await framed.send(CapturedPacket(b"some packet", time=0))
        await until(lambda: received)
    assert [packet.data for packet in received] == [b"some packet"]


async def test_a_handler_that_forgets_its_cancellation_holds_up_no_close(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As `asyncio.wait_for` before Python 3.12 makes it do now and then."""
    monkeypatch.setattr(cancelling, "CANCEL_AGAIN", 0.01)
    forgotten = asyncio.Event()

    async def handler(framed: aiotun.Framed[bytes]) -> None:
        await framed.send(b"here")
        try:
            await framed.recv()
        except asyncio.CancelledError:
            forgotten.set()
        await framed.recv()

    async with await aiotun.start_framed_server(handler, CODEC, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        async with await aiotun.open_framed_connection(CODEC, host, port) as client:
            assert await client.recv() == b"here"
            await asyncio.wait_for(server.aclose(), 30)
    assert forgotten.is_set()


async def test_descriptors_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(aiotun.UnsupportedError, match="sockets alone"):
        await aiotun.open_framed_fd(CODEC, 0)
