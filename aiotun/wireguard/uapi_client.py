"""What an interface is asked over UAPI: whichever implementation answers there."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from .uapi import Status, decode_get, decode_names
from .uapi_exchange import exchange

if sys.platform == "win32":
    from .uapi_pipe import DIRECTORY, connect, interface_names, socket_path
else:
    from .uapi_socket import DIRECTORY, connect, interface_names, socket_path

__all__ = ["ask", "find_socket", "read_counters", "read_status"]


def find_socket(name: str | None, directory: Path = DIRECTORY) -> Path:
    """Where the interface of that name answers, or the only one. Raises `ValueError`."""
    if name is None:
        names = sorted(interface_names(directory))
        if not names:
            raise ValueError(f"no interface is up: none answers in {directory}")
        if len(names) > 1:
            raise ValueError(f"name the interface: there are {', '.join(names)} in {directory}")
        (name,) = names
    return socket_path(name, directory)


async def ask(path: Path, request: str) -> str:
    """Send a request to whoever answers at the path; return the lines before errno=0.

    Raises `OSError`, also for an answer that says what went wrong.
    """
    async with connect(path) as stream:
        return await exchange(stream, path, request)


async def read_status(path: Path) -> Status:
    """How the interface at the path is. Raises `OSError` and `ValueError`."""
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
