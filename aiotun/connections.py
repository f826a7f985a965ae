"""Framed ends over sockets: TCP, TLS and UNIX."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .codecs.base import StreamCodec
from .errors import CodecError, UnsupportedError
from .framed import BUFFER, Framed

if sys.platform != "win32":
    from socket import AF_UNIX

if TYPE_CHECKING:
    import ssl as ssl_module
    from socket import socket

    from typing_extensions import Self

__all__ = ["FramedServer", "open_framed_connection", "start_framed_server"]

logger = logging.getLogger("aiotun")

T = TypeVar("T")

HANDSHAKE_TIMEOUT = 10.0
"""Seconds that a TLS handshake may take unless `ssl_handshake_timeout` says otherwise."""


async def open_framed_connection(
    codec: StreamCodec[T],
    host: str | None = None,
    port: int | None = None,
    *,
    path: str | os.PathLike[str] | None = None,
    ssl: ssl_module.SSLContext | None = None,
    read_size: int = BUFFER,
    write_size: int = BUFFER,
    **options: Any,
) -> Framed[T]:
    """Connect over TCP to a host and port, or to the UNIX socket at `path`; TLS with `ssl`.

    `options` are those of `loop.create_connection`, such as `server_hostname`,
    `ssl_handshake_timeout` (seconds) and `sock`; the sizes those of `Framed`.
    Raises what asyncio raises: `OSError`, `ssl.SSLError` among them.
    """
    options.update(_tls(ssl, options), limit=read_size)
    if path is None:
        streams = await asyncio.open_connection(host, port, **options)
    elif sys.platform == "win32":
        raise _no_unix_sockets()
    else:
        streams = await asyncio.open_unix_connection(path, **options)
    return Framed(streams, codec, read_size=read_size, write_size=write_size)


async def start_framed_server(
    handler: Callable[[Framed[T]], Awaitable[None]],
    codec: StreamCodec[T],
    host: str | None = None,
    port: int | None = None,
    *,
    path: str | os.PathLike[str] | None = None,
    ssl: ssl_module.SSLContext | None = None,
    read_size: int = BUFFER,
    write_size: int = BUFFER,
    **options: Any,
) -> FramedServer[T]:
    """Listen at a host and port, or at the UNIX socket `path`; TLS with `ssl`.

    Each connection, once its handshake is done, gets a task that awaits
    `handler` with its framed end and closes it then. An `OSError` or
    `CodecError` that leaves the handler ends that connection alone, quietly; any
    other exception goes to the loop's exception handler too.

    `options` are those of `loop.create_server`, such as `backlog`,
    `ssl_handshake_timeout` (seconds) and `sock`; the sizes those of `Framed`.
    """
    options.update(_tls(ssl, options), limit=read_size)
    server: FramedServer[T] = FramedServer(
        handler, lambda *streams: Framed(streams, codec, read_size=read_size, write_size=write_size)
    )
    if path is None:
        server.listener = await asyncio.start_server(server.connected, host, port, **options)
    elif sys.platform == "win32":
        raise _no_unix_sockets()
    else:
        server.listener = await asyncio.start_unix_server(server.connected, path, **options)
    return server


class FramedServer(Generic[T]):
    """What `start_framed_server` returns: to be closed, or entered with `async with`."""

    listener: asyncio.Server

    def __init__(
        self,
        handler: Callable[[Framed[T]], Awaitable[None]],
        frame: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Framed[T]],
    ) -> None:
        self._handler = handler
        self._frame = frame
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def sockets(self) -> tuple[socket, ...]:
        """Those it listens on; `sockets[0].getsockname()` tells the port that the system chose."""
        return tuple(self.listener.sockets)

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """For asyncio to call."""
        if self._closed:  # its handshake was under way
            writer.transport.abort()
            return
        task = asyncio.ensure_future(self._serve(self._frame(reader, writer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, framed: Framed[T]) -> None:
        peer = framed.get_extra_info("peername")
        try:
            async with framed:
                await self._handler(framed)
        except (OSError, asyncio.TimeoutError, CodecError) as exc:
            logger.info("the connection of %s ended: %s", peer, exc)
        except Exception as exc:
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"exception in the handler of {peer}", "exception": exc}
            )

    async def aclose(self) -> None:
        """Stop listening, cancel the handlers, and wait until their connections are closed.

        A connection whose handshake is under way is closed when that ends.
        """
        self._closed = True
        self._remove_socket_files()
        self.listener.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _remove_socket_files(self) -> None:
        for listening in self.sockets:
            if sys.platform != "win32" and listening.family == AF_UNIX:
                path = listening.getsockname()
                if isinstance(path, str) and path:  # an abstract name is bytes
                    with suppress(FileNotFoundError):
                        os.unlink(path)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


def _tls(context: ssl_module.SSLContext | None, options: dict[str, Any]) -> dict[str, Any]:
    timeout = options.get("ssl_handshake_timeout", HANDSHAKE_TIMEOUT)
    return {"ssl": context, "ssl_handshake_timeout": timeout if context else None}


def _no_unix_sockets() -> UnsupportedError:
    return UnsupportedError(errno.EOPNOTSUPP, "asyncio has no UNIX sockets on Windows")
