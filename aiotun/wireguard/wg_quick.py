"""What wg-quick(8) does around an interface: which names it takes, and the commands it runs."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Iterable

__all__ = ["interface_name", "run_hooks"]

logger = logging.getLogger("aiotun.wireguard")

BASH = ("bash", "-e", "-o", "pipefail", "-O", "extglob", "-c")
"""With the settings of wg-quick, which evaluates the commands itself."""

KEY = re.compile(r"[A-Za-z0-9+/]{43}=|[0-9a-fA-F]{64}")


def interface_name(text: str) -> str:
    """The text, if wg-quick and the kernel take it for an interface's name.

    Such a name can stand in a path, in a command of a shell and in a configuration as it is.
    Raises `ValueError`.
    """
    if not re.fullmatch(r"[a-zA-Z0-9_=+.-]{1,15}", text) or text in (".", ".."):
        raise ValueError(
            f"{text!r} is no name of an interface: it takes 1 to 15 letters, digits, and _=+.-"
        )
    return text


async def run_hooks(commands: Iterable[str], interface: str) -> None:
    """Run commands by bash(1), one after the other; "%i" in them is the interface's name.

    Raises `OSError` for the first that fails. One that runs is ended when this is cancelled.
    """
    for command in commands:
        command = command.replace("%i", interface)
        shown = KEY.sub("(hidden)", command)
        logger.info("%s", shown)
        try:
            process = await asyncio.create_subprocess_exec(
                *BASH, command, env={**os.environ, "LC_ALL": "C"}
            )
        except FileNotFoundError as exc:
            raise FileNotFoundError(
                exc.errno, "commands take the program bash: install it"
            ) from exc
        try:
            status = await process.wait()
        except asyncio.CancelledError:
            process.terminate()
            await process.wait()
            raise
        if status:
            raise OSError(f"this command failed with status {status}: {shown}")
