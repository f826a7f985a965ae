"""HTTP on this machine alone, whatever is said there."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import pytest
from aiohttp import web

from aiotun.wireguard.web.listening import CONNECTIONS_MAX, listening

pytestmark = pytest.mark.filterwarnings("error")


async def said(place: str | tuple[str, int], request: bytes) -> bytes:
    """What an application answers that serves there."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="metrics")

    app = web.Application()
    app.router.add_get("/metrics", answer)
    async with listening(app, place) as where:
        if isinstance(place, str):
            reader, writer = await asyncio.open_unix_connection(place)
        else:
            port = int(where.rpartition(":")[2].rstrip("/"))
            reader, writer = await asyncio.open_connection(place[0], port)
        writer.write(request)
        answered = await reader.read()
        writer.close()
        await writer.wait_closed()
    return answered


@pytest.mark.parametrize(
    ("host", "taken"),
    [
        ("127.0.0.1:9586", True),
        ("localhost", True),
        ("[::1]:9586", True),
        (None, True),  # no browser
        ("", False),
        ("evil.example", False),
        ("evil.example:9586", False),
        ("127.0.0.1.evil.example", False),
        ("192.0.2.1", False),
        ("[::1", False),
    ],
)
async def test_a_name_of_another_site(host: str | None, taken: bool, tmp_path: Path) -> None:
    """It may lead here, so that the site's page would read what is answered (DNS rebinding)."""
    head = "" if host is None else f"Host: {host}\r\n"
    request = f"GET /metrics HTTP/1.0\r\n{head}\r\n".encode()
    answered = await said(("127.0.0.1", 0), request)
    assert answered.split()[1] == (b"200" if taken else b"403")
    assert answered.endswith(b"metrics") is taken
    if sys.platform != "win32":
        assert (await said(str(tmp_path / "socket"), request)).endswith(b"metrics")


async def answered(port: int) -> bytes:
    """What another connection is told, if anything."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_connections_that_are_too_many() -> None:
    """They would take all descriptors that there are. Those that were there before go on."""
    async with listening(web.Application(), ("127.0.0.1", 0)) as where:
        port = int(where.rpartition(":")[2].rstrip("/"))
        before = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS_MAX)]
        assert await answered(port) == b""
        for reader, writer in before:
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            assert b"404" in await reader.read()
            writer.close()
            await writer.wait_closed()
        while not await answered(port):
            pass


NO_HTTP = {
    "TLS": b"\x16\x03\x01\x02\x00\x01",
    "version": b"GET / HTTP/9.9.9\r\n\r\n",
    "NUL": b"GET /metrics HTTP/1.1\r\nHost: \x00\r\n\r\n",
    "no name": b"GET /metrics HTTP/1.1\r\n: a\r\n\r\n",
    "long": b"GET /metrics HTTP/1.1\r\nA: " + bytes([65]) * 20_000 + b"\r\n\r\n",
    "behind another": b"GET /metrics HTTP/1.0\r\n\r\nGET GET GET\r\n\r\n",
    "chunk": b"POST /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
    "size": b"GET /metrics HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    "address": b"GET http://[ HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("request_", NO_HTTP.values(), ids=NO_HTTP)
async def test_what_is_no_http(request_: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """One line, for whoever looks for faults."""
    caplog.set_level(logging.DEBUG)
    await said(("127.0.0.1", 0), request_)
    records = [record for record in caplog.records if record.name != "asyncio"]
    assert all(record.levelno == logging.DEBUG and not record.exc_info for record in records)
    assert len(records) == 1
    assert "\n" not in records[0].getMessage()
