"""The named pipe where the `wg` tool asks an interface of Windows and changes it.

What protects it is as in wireguard-go (ipc/uapi_windows.go): Windows lets administrators alone
make names behind ProtectedPrefix\\Administrators, the pipe belongs to the system, and nobody
else than the system and administrators of high integrity may open it. `wg` (its
ipc-uapi-windows.h) and we talk to no pipe that does not belong to the system.
"""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import contextlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

from ..platforms.windows.pipes import PIPES, Pipe, open_pipe, pipe_names, serving
from ..platforms.windows.security import SYSTEM, owner_of, privileged
from .changes import Control
from .uapi_exchange import converse
from .wg_quick import interface_name

__all__ = ["DIRECTORY", "connect", "interface_names", "label", "open_uapi", "socket_path"]

DIRECTORY = Path(PIPES, "ProtectedPrefix", "Administrators", "WireGuard")
"""Where `wg` looks for NAME."""

SECURITY = "O:SYD:P(A;;GA;;;SY)(A;;GA;;;BA)S:(ML;;NWNRNX;;;HI)"
"""The pipe's owner is the system; it and administrators may do all with it; to whoever has less
than high integrity it can neither be written, read nor executed. (UAPISecurityDescriptor of
wireguard-go.)"""


@contextlib.asynccontextmanager
async def open_uapi(
    control: Control, name: str, directory: Path = DIRECTORY
) -> AsyncIterator[Path]:
    """Answer at the pipe of that name, for administrators. Yields its path.

    Raises `OSError`, and `ValueError` unless it is the name of an interface.
    """
    path = socket_path(name, directory)
    async with contextlib.AsyncExitStack() as stack:
        try:
            # Administrators have the privilege to make something another's.
            with privileged("SeRestorePrivilege"):
                await stack.enter_async_context(
                    serving(str(path), SECURITY, partial(converse, control))
                )
        except PermissionError as exc:
            raise PermissionError(
                exc.errno,
                f"{path} cannot be made, over which the wg tool talks: run this as administrator, "
                "end the program that has it, or go without (--no-uapi)",
            ) from exc
        yield path


@contextlib.asynccontextmanager
async def connect(path: Path) -> AsyncIterator[Pipe]:
    """The other end of whoever answers there. Raises `OSError`."""
    try:
        pipe = await open_pipe(str(path))
    except FileNotFoundError as exc:
        raise OSError(exc.errno, f"nobody answers at {path}: is the interface up?") from exc
    with contextlib.closing(pipe):
        if owner_of(pipe.handle) != SYSTEM:
            raise PermissionError(f"{path} does not belong to the system: somebody else made it")
        yield pipe


def socket_path(name: str, directory: Path = DIRECTORY) -> Path:
    """Where an interface answers. Raises `ValueError` unless the name is an interface's."""
    return directory / interface_name(name)


def interface_names(directory: Path) -> list[str]:
    """Of those that answer there."""
    prefix = str(directory / "_").removeprefix(PIPES)[:-1]
    return [each[len(prefix) :] for each in pipe_names() if each.startswith(prefix)]


def label(path: Path) -> str:
    """What to call the interface that answers there."""
    return path.name
