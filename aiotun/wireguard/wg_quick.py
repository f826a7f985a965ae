"""What wg-quick(8) does around an interface: which names it takes, and the commands it runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import sys
from collections.abc import Awaitable, Callable, Iterable

if sys.platform == "win32":
    from ..platforms.windows.jobs import Job

__all__ = ["interface_name", "run_hooks"]

logger = logging.getLogger("aiotun.wireguard")

BASH = ("bash", "-e", "-o", "pipefail", "-O", "extglob", "-c")
"""With the settings of wg-quick, which evaluates the commands itself."""

KEY = re.compile(r"[A-Za-z0-9+/]{43}=|[0-9a-fA-F]{64}")


if sys.platform == "win32":
    # As WireGuard for Windows has it (conf/name.go): longer names, none of them a device of DOS.
    NAME_MAX = 32
    RESERVED = re.compile(r"(?:con|prn|aux|nul|(?:com|lpt)[1-9])(?:\..*)?|\..*|.*\.", re.IGNORECASE)
else:
    NAME_MAX = 15
    RESERVED = re.compile(r"\.{1,2}")

NAME = re.compile(rf"[a-zA-Z0-9_=+.-]{{1,{NAME_MAX}}}")


def interface_name(text: str) -> str:
    """The text, if wg-quick and the kernel take it for an interface's name.

    Such a name can stand in a path, in a command of a shell and in a configuration as it is.
    Raises `ValueError`.
    """
    if not NAME.fullmatch(text) or RESERVED.fullmatch(text):
        raise ValueError(
            f"{text!r} is no name of an interface: it takes 1 to {NAME_MAX} letters, digits, "
            "and _=+.-"
        )
    return text


async def run_hooks(commands: Iterable[str], interface: str) -> None:
    """Run commands by bash(1), on Windows by cmd.exe, one after the other; "%i" in them is the
    interface's name.

    Raises `OSError` for the first that fails. One that runs is ended when this is cancelled.
    """
    for command in commands:
        command = command.replace("%i", interface)
        shown = KEY.sub("(hidden)", command)
        logger.info("%s", shown)
        status = await _run(command, interface)
        if status:
            raise OSError(f"this command failed with status {status}: {shown}")


if sys.platform == "win32":

    async def _run(command: str, interface: str) -> int:
        """The loops of Windows quote a program's command each in its own way, if they have
        programs at all; and what cmd.exe runs does not end with it."""
        shell = os.environ["COMSPEC"]  # /s: all between the first quote and the last
        # WireGuard for Windows tells the name in this variable (its docs/adminregistry.md).
        environment = {**os.environ, "WIREGUARD_TUNNEL_NAME": interface}
        with contextlib.closing(Job(f'"{shell}" /d /s /c "{command}"', environment)) as job:
            return await _ended(job.wait, job.terminate)

else:

    async def _run(command: str, interface: str) -> int:
        try:
            process = await asyncio.create_subprocess_exec(
                *BASH, command, env={**os.environ, "LC_ALL": "C"}
            )
        except FileNotFoundError as exc:
            raise FileNotFoundError(
                exc.errno, "commands take the program bash: install it"
            ) from exc
        return await _ended(process.wait, process.terminate)


async def _ended(wait: Callable[[], Awaitable[int]], terminate: Callable[[], object]) -> int:
    """A command's status. When cancelled, the command is ended."""
    try:
        return await wait()
    except asyncio.CancelledError:
        terminate()
        await wait()
        raise
