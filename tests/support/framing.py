"""Two ends of a stream of bytes, of each kind that a framed end goes over."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute

import aiotun
from aiotun.codecs import LengthPrefixed
from examples.tls_vpn.certificates import SERVER, make_certificates, tls_context

__all__ = ["HALF_CLOSING", "LINKS", "UNIX", "Ends", "link", "needs_unix_sockets", "tls_contexts"]

Ends = tuple[aiotun.Framed[bytes], aiotun.Framed[bytes]]

CODEC = LengthPrefixed(4, max_frame=1 << 20)

needs_unix_sockets = pytest.mark.skipif(
    sys.platform == "win32", reason="no UNIX sockets: not on Windows"
)

UNIX = pytest.param("unix", marks=needs_unix_sockets)

HALF_CLOSING = ["tcp", UNIX, "anyio"]
LINKS = [*HALF_CLOSING, "tls", "anyio tls"]


@functools.cache
def tls_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's and the client's."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        make_certificates(directory, ["client"])
        return tuple(
            tls_context(directory / f"{who}.pem", directory / "ca.pem", server=who == SERVER)
            for who in (SERVER, "client")
        )  # type: ignore[return-value]


@contextlib.asynccontextmanager
async def link(kind: str, codec: Any = CODEC, **sizes: int) -> AsyncIterator[Ends]:
    """A client's end and a server's, joined, and closed at the end."""
    async with contextlib.AsyncExitStack() as stack:
        make: Callable[..., Any] = _anyio_link if kind.startswith("anyio") else _asyncio_link
        ends: Ends = await make(kind, codec, sizes, stack)
        try:
            yield ends
        finally:
            # Whatever a test did to them, neither waits for the other.
            await asyncio.gather(*(at_once(end) for end in ends))


async def at_once(end: aiotun.Framed[bytes]) -> None:
    closing = asyncio.ensure_future(end.aclose())
    await asyncio.wait([closing], timeout=0.02)
    closing.cancel()
    await asyncio.wait([closing])


async def _asyncio_link(
    kind: str, codec: Any, sizes: dict[str, Any], stack: contextlib.AsyncExitStack
) -> Ends:
    accepted: asyncio.Future[aiotun.Framed[bytes]] = asyncio.get_running_loop().create_future()
    done = asyncio.Event()

    async def handler(framed: aiotun.Framed[bytes]) -> None:
        accepted.set_result(framed)
        await done.wait()

    tls = tls_contexts() if kind == "tls" else (None, None)
    where: dict[str, Any] = {"host": "127.0.0.1", "port": 0}
    if kind == "unix":
        where = {"path": Path(stack.enter_context(tempfile.TemporaryDirectory())) / "socket"}
    server = await stack.enter_async_context(
        await aiotun.start_framed_server(handler, codec, ssl=tls[0], **where, **sizes)
    )
    stack.callback(done.set)
    if kind != "unix":
        where["port"] = server.sockets[0].getsockname()[1]
    if kind == "tls":
        where["server_hostname"] = SERVER
    client = await aiotun.open_framed_connection(codec, ssl=tls[1], **where, **sizes)
    return client, await accepted


async def _anyio_link(
    kind: str, codec: Any, sizes: dict[str, Any], stack: contextlib.AsyncExitStack
) -> Ends:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as multi:
        listener: Any = multi.listeners[0]
        port = listener.extra(SocketAttribute.local_port)
        accepting = asyncio.ensure_future(listener.accept())
        streams: list[Any] = [await anyio.connect_tcp("127.0.0.1", port), await accepting]
    # An accepted stream of anyio reads without limit until a first receive had to wait.
    for sender, receiver in (streams, streams[::-1]):
        waiting = asyncio.ensure_future(receiver.receive())
        await asyncio.sleep(0)
        await sender.send(b"x")
        await waiting
    if kind == "anyio tls":
        from anyio.streams.tls import TLSStream

        tls = tls_contexts()
        wrapped = [
            TLSStream.wrap(streams[0], hostname=SERVER, ssl_context=tls[1]),
            TLSStream.wrap(streams[1], server_side=True, ssl_context=tls[0]),
        ]
        streams = await asyncio.gather(*wrapped)
    a, b = (aiotun.Framed(stream, codec, **sizes) for stream in streams)
    return a, b
