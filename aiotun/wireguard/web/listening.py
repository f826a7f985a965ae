"""HTTP on this machine alone: a port of a loopback address, or a UNIX socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

try:
    from aiohttp import web
except ModuleNotFoundError as exc:
    raise ModuleNotFoundError(
        f"{exc.msg}: pip install 'aiotun[service]' brings it", name=exc.name
    ) from None

from ..values import parse_endpoint

if sys.platform != "win32":
    from ..unix_socket import bind_privately

__all__ = ["listening", "parse_place"]


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

    A UNIX socket is its owner's alone. Raises `OSError` where the place cannot be had.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        assert runner.server is not None
        loop = asyncio.get_running_loop()
        if sys.platform != "win32" and isinstance(place, str):
            server = await loop.create_unix_server(
                runner.server, sock=bind_privately(Path(place)), start_serving=False
            )
        else:
            assert not isinstance(place, str)  # see `parse_place`
            server = await loop.create_server(runner.server, *place, start_serving=False)
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
