"""Where the configuration of an interface is kept: peers and addresses with it.

`Store` is all that the server asks for, so that it can be kept elsewhere than in a file: in
a database, say, that several servers share.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import stat
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Protocol

from ...files import replace_file
from ..config import ConfigFileError, InterfaceConfig, format_config, parse_config

__all__ = ["FileStore", "Store"]

logger = logging.getLogger("aiotun.wireguard")

INTERVAL = 1.0
"""Seconds between two looks at a file."""


class Store(Protocol):
    """Keeps the configuration of one interface."""

    async def load(self) -> InterfaceConfig:
        """Raises `OSError` and `ValueError`."""
        ...

    async def save(self, config: InterfaceConfig) -> None:
        """Raises `OSError`; what was kept before is kept then."""
        ...

    def watch(self) -> AsyncIterator[InterfaceConfig]:
        """The configuration each time it was changed, by whomever, from the first `load` on."""
        ...


class FileStore:
    """A file as wg-quick has it. With `allow_commands` it may have commands in it."""

    def __init__(self, path: Path, *, allow_commands: bool = False) -> None:
        self.path = path
        self.allow_commands = allow_commands
        self._loaded: tuple[int, ...] = ()
        """Which state of the file was loaded."""

    async def load(self) -> InterfaceConfig:
        """A file that changes while it is read is read again."""
        while True:
            state = self._state()
            text = await asyncio.to_thread(self._read)
            if state == self._state():
                break
        self._loaded = state
        return parse_config(text, str(self.path), allow_commands=self.allow_commands)

    async def save(self, config: InterfaceConfig) -> None:
        """Write the file anew, or leave it as it was; comments go."""
        await asyncio.to_thread(replace_file, self.path, format_config(config).encode())

    async def watch(self) -> AsyncGenerator[InterfaceConfig, None]:
        """A file that cannot be used is reported once, and what held before holds on.

        A state counts once two looks have found it: at the first somebody may be writing still.
        """
        seen = self._loaded
        while True:
            await asyncio.sleep(INTERVAL)
            with contextlib.suppress(OSError):  # an editor is about to replace it
                before, seen = seen, self._state()
                if before == seen != self._loaded:
                    try:
                        config = await self.load()
                    except ValueError as exc:
                        logger.error("%s; what held before holds on", exc)
                    else:
                        yield config

    def _state(self) -> tuple[int, ...]:
        found = self.path.stat()
        return (found.st_ino, found.st_mtime_ns, found.st_size)

    def _read(self) -> str:
        modes = self.path.stat().st_mode & self.path.absolute().parent.stat().st_mode
        if modes & stat.S_IRWXO:
            logger.warning("%s is open to everybody, keys and all: chmod 600 it", self.path)
        try:
            return self.path.read_text(encoding="utf-8-sig")  # Windows' editors leave a mark
        except UnicodeDecodeError:
            raise ConfigFileError(f"{self.path} is no text: write it in UTF-8") from None
