"""Framed ends over sockets (TCP, TLS and UNIX), and over descriptors."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Iterable
from contextlib import ExitStack, suppress
from socket import AF_INET, AF_INET6, IPPROTO_TCP, TCP_NODELAY, fromfd
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..cancelling import AsyncClosing, end
from ..codecs.base import StreamCodec
from ..errors import ClosedError, CodecError, ConfigError, UnsupportedError
from ..kinds import check_fd, check_number
from ..line import Line
from ..throttle import Throttle
from .bytestreams import loaded_class
from .ends import BUFFER, Framed
from .sources import check_read_size

if sys.platform != "win32":
    from socket import AF_UNIX

if TYPE_CHECKING:
    import ssl as ssl_module
    from socket import socket

__all__ = ["FramedServer", "open_framed_connection", "open_framed_fd", "start_framed_server"]

logger = logging.getLogger("aiotun")

T = TypeVar("T")

BACKLOG = 100
"""Connections that may wait to be accepted; asyncio's own limit."""

BACKLOG_MAX = 2**31 - 1
"""listen(2) takes a C int."""

PORT_MAX = 0xFFFF

ACCEPT_PAUSE = 1.0
"""Seconds without accepting once that failed, for want of descriptors say; asyncio's own."""

HANDSHAKES_MAX = 64
"""TLS handshakes that a server has under way: each takes some 300 KB of memory."""

HANDSHAKE_TIMEOUT = 10.0
"""Seconds that a TLS handshake may take unless `ssl_handshake_timeout` says otherwise."""


UNREACHABLE = {errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN}
"""Errors of a connection that are no `ConnectionError` in Python."""


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
    Raises what asyncio raises, `OSError`, `ssl.SSLError` among them, `ConfigError`, and
    `ValueError` for a port that cannot be.
    """
    _check(codec, read_size, port)
    options.update(_tls(ssl, options), limit=read_size)
    if path is None:
        streams = await asyncio.open_connection(host, port, **options)
    elif sys.platform == "win32":
        raise _no_unix_sockets()
    else:
        streams = await asyncio.open_unix_connection(path, **options)
    return _framed(streams, codec, read_size, write_size)


async def open_framed_fd(
    codec: StreamCodec[T],
    fd: int,
    *,
    writing: int | None = None,
    closefd: bool = True,
    read_size: int = BUFFER,
    write_size: int = BUFFER,
) -> Framed[T]:
    """Frame what passes through an open descriptor that a loop can wait for.

    That is a pipe, a pseudo-terminal, a serial line (pyserial's has a `fileno()`), a socket,
    but no regular file. It is read and written, unless `writing` is another descriptor for the
    latter. Both belong to the end from now on, unless `closefd` is False: then they stay open,
    and block again at the end if they did before. Terminals are to be raw (`tty.setraw`), or
    they change what passes. The sizes are those of `Framed`.

    Raises `UnsupportedError` on Windows, whose loops wait for sockets alone, `ConfigError`,
    `ValueError` for a number that no descriptor has, and `OSError` for a descriptor that is none;
    the descriptors stay open then, and as they were.
    """
    _check(codec, read_size)
    check_fd(fd, "fd")
    if writing is not None:
        check_fd(writing, "writing=")
    if sys.platform != "win32":
        from .descriptors import DescriptorStream

        stream = DescriptorStream(fd, fd if writing is None else writing)
        try:
            framed = Framed(stream, codec, read_size=read_size, write_size=write_size)
        except BaseException:
            await stream.aclose()
            raise
        stream.closefd = closefd
        return framed
    raise UnsupportedError(errno.EOPNOTSUPP, "Windows' event loops wait for sockets alone")


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
    max_connections: int | None = None,
    **options: Any,
) -> FramedServer[T]:
    """Listen at a host and port, or at the UNIX socket `path`; TLS with `ssl`.

    Each connection, once its handshake is done, gets a task that awaits
    `handler` with its framed end and closes it then. What connections end with
    ends that connection alone, and is logged at INFO when it leaves the handler:
    a `ConnectionError`, an error of TLS, a `ClosedError` or a `CodecError`. Any
    other exception goes to the loop's exception handler too.

    Closing the server cancels the handlers, and again each second while one has not
    ended. A clean-up that takes longer has to be shielded: `asyncio.shield(clean_up())`
    goes on when the handler has ended.

    At most `max_connections` handlers run at a time; further connections wait. At
    most 64 TLS handshakes are under way: a newcomer ends the oldest of them.

    `options` are those of `loop.create_server`, such as `backlog`,
    `ssl_handshake_timeout` (seconds) and `sock`; the sizes those of `Framed`.
    Raises the `OSError` of an address that cannot be listened at, `ConfigError`, and `ValueError`
    for a port or a backlog that cannot be.
    """
    _check(codec, read_size, port)
    backlog = options.get("backlog", BACKLOG)
    check_number(backlog, "backlog=", 0, BACKLOG_MAX)
    if max_connections is not None and max_connections < 1:
        raise ConfigError(f"a server for {max_connections} connections serves none")
    loop = asyncio.get_running_loop()
    options.update(_tls(ssl, options), start_serving=False)
    if path is None:
        listener = await loop.create_server(asyncio.Protocol, host, port, **options)
    elif sys.platform == "win32":
        raise _no_unix_sockets()
    elif not os.fspath(path):  # of which asyncio asks the first character
        raise ConfigError("path= is empty: it is the file of a UNIX socket")
    else:
        listener = await loop.create_unix_server(asyncio.Protocol, path, **options)
    try:
        if not listener.sockets:  # asyncio skips a socket that it cannot make, and tells nobody
            raise OSError(errno.EADDRNOTAVAIL, f"no socket could be made to listen at {host}")
        sockets = _duplicates(listener.sockets)
        with ExitStack() as stack:
            for each in sockets:
                stack.enter_context(each)
                each.setblocking(False)
                each.listen(backlog)
            stack.pop_all()
    except BaseException:
        listener.close()
        if path is not None:
            with suppress(FileNotFoundError):
                os.unlink(path)
        raise
    tls = {name: value for name, value in options.items() if name.startswith("ssl")}

    async def frame(connection: socket) -> Framed[T]:
        if connection.family in (AF_INET, AF_INET6):
            # asyncio does so for sockets that say what protocol they are of: not on Windows.
            try:
                connection.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
            except OSError:  # EINVAL of macOS: the client has reset it
                connection.close()
                raise
        reader = asyncio.StreamReader(read_size, loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, **tls)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        return _framed((reader, writer), codec, read_size, write_size)

    return FramedServer(listener, sockets, frame, handler, max_connections)


def _check(codec: object, read_size: int, port: object = None) -> None:
    """Raise `ConfigError`, or `ValueError` for the port, before anything is opened."""
    if not isinstance(codec, StreamCodec):
        raise ConfigError(f"{codec!r} does not fit a stream of bytes: take a stream codec")
    check_read_size(read_size)
    if isinstance(port, int):  # not None, nor the name of a service
        check_number(port, "port", 0, PORT_MAX)


def _framed(
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    codec: StreamCodec[T],
    read_size: int,
    write_size: int,
) -> Framed[T]:
    """A connection's framed end. If the codec raises, the connection is over."""
    try:
        return Framed(streams, codec, read_size=read_size, write_size=write_size)
    except BaseException:
        streams[1].transport.abort()
        raise


def _duplicates(sockets: Iterable[socket]) -> tuple[socket, ...]:
    with ExitStack() as stack:
        duplicates = tuple(
            # Not each.dup(): that of winloop's sockets takes them for files of the C library.
            stack.enter_context(fromfd(each.fileno(), each.family, each.type, each.proto))
            for each in sockets
        )
        stack.pop_all()
    return duplicates


class FramedServer(AsyncClosing, Generic[T]):
    """What `start_framed_server` returns: to be closed, or entered with `async with`.

    It accepts by itself: asyncio's own server has no way to end the handshakes
    that are under way.
    """

    linger = None  # its handlers are cancelled, and each of its connections has a limit

    sockets: tuple[socket, ...]
    """Those it listens on; `sockets[0].getsockname()` tells the port that the system chose."""

    def __init__(
        self,
        listener: asyncio.Server,
        sockets: tuple[socket, ...],
        frame: Callable[[socket], Awaitable[Framed[T]]],
        handler: Callable[[Framed[T]], Awaitable[None]],
        max_connections: int | None,
    ) -> None:
        self._listener = listener
        self.sockets = sockets
        self._frame = frame
        self._handler = handler
        self._connections: set[asyncio.Task[None]] = set()
        self._handshakes: dict[Any, None] = {}  # their tasks, the oldest first
        self._handled = 0
        self._room = Line(lambda: max_connections is None or self._handled < max_connections)
        self._endings = Throttle()
        self._closing: asyncio.Future[None] | None = None
        self._closed = asyncio.get_running_loop().create_future()
        self._accepting = [asyncio.ensure_future(self._accept(each)) for each in sockets]

    async def _accept(self, listening: socket) -> None:
        loop = asyncio.get_running_loop()
        while self.sockets:
            pause = 0.0
            await self._room.turn()
            try:
                connection, peer = await loop.sock_accept(listening)
            except ConnectionAbortedError:  # its client gave up before its turn came
                pass
            except OSError as exc:
                message = f"nothing is accepted for {ACCEPT_PAUSE:g} s"
                loop.call_exception_handler({"message": message, "exception": exc})
                pause = ACCEPT_PAUSE
            else:
                task = asyncio.ensure_future(self._serve(connection, peer))
                self._connections.add(task)
                task.add_done_callback(self._connections.discard)
            await asyncio.sleep(pause)  # other tasks run, however many clients connect

    async def _serve(self, connection: socket, peer: object) -> None:
        try:
            framed = await self._shake_hands(connection, peer)
            if framed is None:
                return
            async with framed:
                await self._room.turn()
                self._handled += 1
                try:
                    await self._handler(framed)
                finally:
                    self._handled -= 1
                    self._room.serve()
        except Exception as exc:
            if _ends_connections(exc):
                self._log("connection", peer, exc)
                return
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"exception in the handler of {peer}", "exception": exc}
            )

    async def _shake_hands(self, connection: socket, peer: object) -> Framed[T] | None:
        """A connection's framed end; None when its handshake failed, which is logged."""
        if len(self._handshakes) >= HANDSHAKES_MAX:
            oldest = next(iter(self._handshakes))
            del self._handshakes[oldest]
            oldest.cancel()
        task = asyncio.current_task()
        self._handshakes[task] = None
        try:
            return await self._frame(connection)
        except (OSError, asyncio.TimeoutError) as exc:
            self._log("handshake", peer, exc)
        except asyncio.CancelledError:
            if task in self._handshakes:
                raise
            self._log("handshake", peer, "a newcomer took its place")
        finally:
            self._handshakes.pop(task, None)
        return None

    def _log(self, what: str, peer: object, why: object) -> None:
        held_back = self._endings.admit(what)
        if held_back is not None:
            others = f" (and {held_back} more before it)" if held_back else ""
            logger.info("the %s of %s ended: %s%s", what, peer, why, others)

    async def serve_forever(self) -> None:
        """Wait until the server was closed; a cancellation closes it."""
        try:
            await asyncio.shield(self._closed)
        except asyncio.CancelledError:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Stop listening, cancel handshakes and handlers, wait until all connections are closed.

        A handler that does not end within a second is cancelled again, and so each second: see
        `start_framed_server`.
        """
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        listening, self.sockets = self.sockets, ()
        for each in listening:
            _remove_socket_file(each)
            with suppress(NotImplementedError):  # Windows' proactor has no readers
                # The loop may still watch the socket for an accept that was cancelled.
                asyncio.get_running_loop().remove_reader(each)
        await asyncio.sleep(0)  # a connection accepted just now gets its task,
        await end(self._accepting)  # and that task begins
        for each in listening:
            each.close()
        self._listener.close()
        await end(self._connections)
        self._closed.set_result(None)


def _ends_connections(exc: Exception) -> bool:
    """Whether connections end with this, so that it is no fault of a handler's."""
    if isinstance(exc, (ConnectionError, ClosedError, CodecError, loaded_class("ssl", "SSLError"))):
        return True
    return isinstance(exc, OSError) and exc.errno in UNREACHABLE


def _remove_socket_file(listening: socket) -> None:
    if sys.platform != "win32" and listening.family == AF_UNIX:
        path = listening.getsockname()
        if isinstance(path, str) and path:  # an abstract name is bytes
            with suppress(FileNotFoundError):
                os.unlink(path)


def _tls(context: ssl_module.SSLContext | None, options: dict[str, Any]) -> dict[str, Any]:
    timeout = options.get("ssl_handshake_timeout", HANDSHAKE_TIMEOUT)
    return {"ssl": context, "ssl_handshake_timeout": timeout if context else None}


def _no_unix_sockets() -> UnsupportedError:
    return UnsupportedError(errno.EOPNOTSUPP, "asyncio has no UNIX sockets on Windows")
