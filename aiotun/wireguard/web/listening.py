"""HTTP on this machine alone: a port of a loopback address, or a UNIX socket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

try:
    from aiohttp import web
    from aiohttp.http_exceptions import HttpProcessingError
except ModuleNotFoundError as exc:
    raise ModuleNotFoundError(
        f"{exc.msg}: pip install 'aiotun[service]' brings it", name=exc.name
    ) from None

from ..values import parse_endpoint

if sys.platform != "win32":
    from ..unix_socket import bind_privately

if TYPE_CHECKING:
    Adapter = logging.LoggerAdapter[logging.Logger]
else:
    Adapter = logging.LoggerAdapter  # which takes no type before Python 3.11

__all__ = ["Handler", "listening", "parse_place"]

CONNECTIONS_MAX = 64
"""Each takes a descriptor, of which the interface needs some too: any user of this machine may
connect."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def parse_place(text: str) -> str | tuple[str, int]:
    """The path of "unix:PATH", or a loopback address with a port, such as "127.0.0.1:9586".

    Raises `ValueError` for a path on Windows, whose loops have no UNIX sockets, and for any other
    address: what is to be reached from elsewhere stands behind
    a proxy that encrypts and knows its users.
    """
    scheme, colon, path = text.partition(":")
    if scheme == "unix" and colon and path:
        if sys.platform == "win32":
            raise ValueError("asyncio has no UNIX sockets on Windows: take 127.0.0.1:PORT")
        return path
    host, port = parse_endpoint(text)
    try:
        if ip_address(host).is_loopback:
            return host, port
    except ValueError:
        pass
    raise ValueError(
        f"{host} is no loopback address: take 127.0.0.1:{port} or unix:PATH, and a proxy before it"
    )


@contextlib.asynccontextmanager
async def listening(app: web.Application, place: str | tuple[str, int]) -> AsyncIterator[str]:
    """Serve the application there; yields where that is, as a URL or a path.

    At a port a request under a name of another site is refused. A UNIX socket, to which no browser
    leads, is its owner's alone. Raises `OSError` where the place cannot be had.
    """
    if not isinstance(place, str):
        app.middlewares.insert(0, _local_alone)
    runner = web.AppRunner(app, access_log=None, logger=_Log(), shutdown_timeout=1.0)
    await runner.setup()
    try:
        assert runner.server is not None
        protocol = partial(_protocol, runner.server)
        loop = asyncio.get_running_loop()
        if sys.platform != "win32" and isinstance(place, str):
            server = await loop.create_unix_server(
                protocol, sock=bind_privately(Path(place)), start_serving=False
            )
        else:
            assert not isinstance(place, str)  # see `parse_place`
            server = await loop.create_server(protocol, *place, start_serving=False)
        try:
            await server.start_serving()  # here, as one that is cancelled there serves on
            if isinstance(place, str):
                yield place
            else:
                host, port = server.sockets[0].getsockname()[:2]
                yield f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
        finally:
            if isinstance(place, str):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(place)
            server.close()
    finally:
        await runner.cleanup()


def _protocol(server: web.Server) -> asyncio.BaseProtocol:
    """For the next connection."""
    return server() if len(server.connections) < CONNECTIONS_MAX else _Refusal()


class _Refusal(asyncio.Protocol):
    """Of a connection that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).abort()


@web.middleware
async def _local_alone(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A name that leads here may be another site's, whose page would read what we answer
    (DNS rebinding). Programs that name no host are not browsers."""
    host = request.headers.get("Host")
    if host is not None and not _is_local(host):
        raise web.HTTPForbidden(text="this is another site's request")
    return await handler(request)


def _is_local(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""  # a browser leaves out port 80
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


class _Log(Adapter):
    """aiohttp's log, in which what is no HTTP is one line for whoever looks for faults."""

    def __init__(self) -> None:
        super().__init__(logging.getLogger("aiotun.wireguard"), {})

    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        exc = kwargs.get("exc_info")
        if isinstance(exc, HttpProcessingError):
            self.logger.debug("a request is no HTTP: %s", type(exc).__name__)
        else:
            super().log(level, msg, *args, **kwargs)
