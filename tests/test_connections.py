"""Framed connections and servers: their handlers, and how they end."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from framing import tls_contexts
from rigs import until

import aiotun
from aiotun.codecs import CapturedPacket, LengthPrefixed, Pcap
from examples.tls_vpn.certificates import SERVER

CODEC = LengthPrefixed(2)


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
    ("error", "complaints"),
    [(RuntimeError("of the test"), 1), (OSError("of the test"), 0)],
    ids=["a mistake", "a broken connection"],
)
async def test_a_handler_that_fails_ends_its_connection_alone(
    error: Exception, complaints: int
) -> None:
    heard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: heard.append(context))

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
    assert len(heard) == complaints


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


async def test_a_handshake_that_stalls_is_ended() -> None:
    started = []

    async def handler(framed: aiotun.Framed[bytes]) -> None:
        started.append(framed)

    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    async with await aiotun.start_framed_server(
        handler, CODEC, "127.0.0.1", 0, ssl=tls_contexts()[0], ssl_handshake_timeout=0.1
    ) as server:
        with socket.create_connection(server.sockets[0].getsockname()) as stalled:
            stalled.settimeout(5)
            assert await asyncio.to_thread(stalled.recv, 1) == b""
    assert started == []


async def test_a_handshake_that_outlasts_the_server() -> None:
    """Nobody would ever end its handler."""
    started = []

    async def handler(framed: aiotun.Framed[bytes]) -> None:
        started.append(framed)

    def received(raw: socket.socket) -> bytes:
        try:
            with tls_contexts()[1].wrap_socket(raw, server_hostname=SERVER) as client:
                return client.recv(1)
        except OSError:
            return b""

    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    server = await aiotun.start_framed_server(handler, CODEC, "127.0.0.1", 0, ssl=tls_contexts()[0])
    with socket.create_connection(server.sockets[0].getsockname()) as raw:
        raw.settimeout(5)
        await asyncio.sleep(0.05)  # until it was accepted
        await server.aclose()
        assert await asyncio.to_thread(received, raw) == b""
    assert started == []


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
