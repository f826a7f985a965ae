"""Framed connections and servers: their handlers, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import socket
from pathlib import Path
from typing import Any

import pytest
from framing import tls_contexts
from rigs import until

import aiotun
from aiotun.codecs import CapturedPacket, LengthPrefixed, Pcap
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


async def test_a_unix_socket_is_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    async with await aiotun.start_framed_server(echo, CODEC, path=path):
        async with await aiotun.open_framed_connection(CODEC, path=path) as framed:
            await framed.send_all([b"one", b"two"])
            assert [await framed.recv(), await framed.recv()] == [b"one", b"two"]
        assert path.is_socket()
    assert not path.exists()


@pytest.mark.parametrize(
    ("error", "told"),
    [(RuntimeError("of the test"), 1), (OSError("of the test"), 0)],
    ids=["a mistake", "a broken connection"],
)
async def test_a_handler_that_fails_ends_its_connection_alone(
    error: Exception, told: int, complaints: Complaints
) -> None:

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
    assert len(complaints) == told


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


async def test_handshakes_that_stall_are_ended(complaints: Complaints) -> None:
    started: list[aiotun.Framed[bytes]] = []

    async def handler(framed: aiotun.Framed[bytes]) -> None:
        started.append(framed)
        await echo(framed)

    tls = tls_contexts()
    async with await aiotun.start_framed_server(
        handler, CODEC, "127.0.0.1", 0, ssl=tls[0], ssl_handshake_timeout=1.0
    ) as server:
        address = server.sockets[0].getsockname()
        with contextlib.ExitStack() as stack:
            flood = [stack.enter_context(socket.create_connection(address)) for _ in range(50)]
            async with await aiotun.open_framed_connection(
                CODEC, *address, ssl=tls[1], server_hostname=SERVER
            ) as framed:
                await framed.send(b"meanwhile")
                assert await framed.recv() == b"meanwhile"
            for stalled in flood:
                assert await end_of(stalled) == b""
    assert len(started) == 1
    assert complaints == []


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
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with await aiotun.start_framed_server(echo, CODEC, "127.0.0.1", 0) as server:
        client = socket.create_connection(server.sockets[0].getsockname())
        lowest_free = os.dup(client.fileno())
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
        try:
            await until(lambda: complaints)
            await asyncio.sleep(0.25)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
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
    """asyncio sets TCP_NODELAY on a socket that says what protocol it is of."""
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
