"""The UNIX socket NAME.sock, where the `wg` tool asks an interface and changes it."""

from __future__ import annotations

import sys

assert sys.platform != "win32"  # where it is a named pipe

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from ..files import read_file
from .changes import Control
from .uapi_exchange import REQUEST_MAX, converse
from .unix_socket import bind_privately
from .wg_quick import interface_name

__all__ = [
    "DIRECTORY",
    "connect",
    "interface_names",
    "label",
    "named",
    "open_uapi",
    "socket_path",
]

DIRECTORY = Path("/var/run/wireguard")
"""Where `wg` looks for NAME.sock."""


@contextlib.asynccontextmanager
async def open_uapi(
    control: Control, name: str, directory: Path = DIRECTORY
) -> AsyncIterator[Path]:
    """Answer at NAME.sock, for the user who runs this alone. Yields its path.

    Raises `OSError`, and `ValueError` unless it is the name of an interface.
    """
    path = socket_path(name, directory)
    connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections[task] = writer
        try:
            if server.is_serving():
                await converse(control, SocketStream(reader, writer))
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        finally:
            del connections[task]

    server = await asyncio.start_unix_server(
        serve, sock=_listen(path), limit=REQUEST_MAX, start_serving=False
    )
    try:
        await server.start_serving()  # here, as one that is cancelled there serves on
        yield path
    finally:
        path.unlink(missing_ok=True)
        server.close()
        for task, writer in connections.items():
            task.cancel()
            writer.transport.abort()  # who does not read its answers keeps nobody waiting
        await asyncio.gather(*connections, return_exceptions=True)
        await server.wait_closed()


def socket_path(name: str, directory: Path = DIRECTORY) -> Path:
    """Where an interface answers, by its own name or the one that `named` gave it.

    Raises `ValueError` unless the name is an interface's.
    """
    with contextlib.suppress(OSError):
        name = read_file(directory / f"{interface_name(name)}.name").decode().strip()
    return directory / f"{interface_name(name)}.sock"


@contextlib.contextmanager
def named(name: str, interface: str, directory: Path = DIRECTORY) -> Iterator[None]:
    """Tell in NAME.name, as wg-quick does on macOS, what the interface is called that an
    administrator calls by the name. Raises `OSError`."""
    path = directory / f"{interface_name(name)}.name"
    path.write_text(f"{interface}\n")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _listen(path: Path) -> socket.socket:
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        return bind_privately(path)
    except PermissionError as exc:
        raise PermissionError(
            exc.errno,
            f"{path} cannot be made, over which the wg tool talks: make {path.parent} this user's "
            "(in a systemd unit: RuntimeDirectory=wireguard), or go without (--no-uapi)",
        ) from exc


class SocketStream:
    """A stream of bytes over a connection of asyncio."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read_until(self, separator: bytes, limit: int) -> bytes:
        """The limit is the reader's own."""
        return await self._reader.readuntil(separator)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()


@contextlib.asynccontextmanager
async def connect(path: Path) -> AsyncIterator[SocketStream]:
    """The other end of whoever answers at the socket. Raises `OSError`."""
    try:
        reader, writer = await asyncio.open_unix_connection(str(path), limit=REQUEST_MAX)
    except (FileNotFoundError, ConnectionRefusedError) as exc:
        raise OSError(exc.errno, f"nobody answers at {path}: is the interface up?") from exc
    try:
        yield SocketStream(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def interface_names(directory: Path) -> list[str]:
    """Of those that answer there."""
    return [path.stem for path in directory.glob("*.sock")]


def label(path: Path) -> str:
    """What to call the interface that answers there."""
    return path.stem
