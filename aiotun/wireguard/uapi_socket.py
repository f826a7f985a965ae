"""The UNIX socket NAME.sock, where the `wg` tool asks an interface and changes it."""

from __future__ import annotations

import sys

assert sys.platform != "win32"  # where it is a named pipe

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from .changes import Control
from .uapi import Status, answer, decode_get, decode_names
from .unix_socket import bind_privately
from .wg_quick import interface_name

__all__ = [
    "DIRECTORY",
    "ask",
    "named",
    "open_uapi",
    "read_counters",
    "read_status",
    "socket_path",
]

DIRECTORY = Path("/var/run/wireguard")
"""Where `wg` looks for NAME.sock."""

REQUEST_MAX = 8 << 20
"""Bytes: some 20,000 peers. A request is held in memory until it is whole."""


@contextlib.asynccontextmanager
async def open_uapi(
    control: Control, name: str, directory: Path = DIRECTORY
) -> AsyncIterator[Path]:
    """Answer at NAME.sock, for the user who runs this alone. Yields its path.

    Raises `OSError`, and `ValueError` unless it is the name of an interface.
    """
    path = socket_path(name, directory)
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            if server.is_serving():
                await _converse(control, reader, writer)
        finally:
            connections.discard(task)
            writer.close()

    server = await asyncio.start_unix_server(serve, sock=_listen(path), limit=REQUEST_MAX)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await server.wait_closed()


async def _converse(
    control: Control, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    with contextlib.suppress(
        asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError, OSError
    ):
        while True:
            request = await reader.readuntil(b"\n\n")
            text = await answer(control, request[:-2].decode("ascii", "replace"))
            writer.write(text.encode())
            await writer.drain()


def socket_path(name: str, directory: Path = DIRECTORY) -> Path:
    """Where an interface answers, by its own name or the one that `named` gave it.

    Raises `ValueError` unless the name is an interface's.
    """
    with contextlib.suppress(OSError):
        name = (directory / f"{interface_name(name)}.name").read_text().strip()
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


async def ask(path: Path, request: str) -> str:
    """Send a request to whoever answers at the socket; return the lines before errno=0.

    Raises `OSError`, also for an answer that says what went wrong.
    """
    operation = request.partition("\n")[0]  # keys may stand behind it
    try:
        reader, writer = await asyncio.open_unix_connection(str(path), limit=REQUEST_MAX)
    except (FileNotFoundError, ConnectionRefusedError) as exc:
        raise OSError(exc.errno, f"nobody answers at {path}: is the interface up?") from exc
    try:
        writer.write(f"{request}\n\n".encode())
        text = (await asyncio.wait_for(reader.readuntil(b"\n\n"), 5)).decode("ascii", "replace")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.TimeoutError) as exc:
        raise OSError(errno.EPROTO, f"{path} gave no answer to {operation!r}") from exc
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    lines, _, number = text[:-2].rpartition("errno=")
    if number != "0":
        raise OSError(errno.EPROTO, f"{path} refused {operation!r} with errno {number}")
    return lines


async def read_status(path: Path) -> Status:
    """How the interface at the socket is. Raises `OSError` and `ValueError`."""
    status = decode_get(await ask(path, "get=1"))
    with contextlib.suppress(OSError):  # another implementation knows no names
        names = decode_names(await ask(path, "names=1"))
        for peer in status.peers:
            peer.name = names.get(peer.public_key, "")
    return status


async def read_counters(path: Path) -> dict[str, int]:
    """Packets dropped by reason; empty for an implementation that does not tell."""
    try:
        text = await ask(path, "counters=1")
    except OSError:
        return {}
    return {
        key: int(value) for key, _, value in (line.partition("=") for line in text.splitlines())
    }
