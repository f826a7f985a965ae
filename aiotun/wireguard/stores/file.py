"""The file of an interface, as wg-quick has it, and the peers in it as a store."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import stat
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path

from ...files import replace_file
from ..config import (
    ConfigFileError,
    InterfaceConfig,
    PeerConfig,
    format_config,
    format_peer,
    parse_config,
)
from .base import Change

__all__ = ["ConfigFile", "FileStore", "with_peer", "without_peer"]

logger = logging.getLogger("aiotun.wireguard")

INTERVAL = 1.0
"""Seconds between two looks at a file."""


class ConfigFile:
    """One interface with its peers. With `allow_commands` there may be commands in it."""

    def __init__(self, path: Path, *, allow_commands: bool = False) -> None:
        self.path = path
        self.allow_commands = allow_commands
        self._refused = ""
        """What was logged last: all that watch the file log it once."""

    async def load(self) -> InterfaceConfig:
        """Raises `OSError` and `ConfigFileError`."""
        _, config = await asyncio.to_thread(self._load)
        return config

    async def save(self, config: InterfaceConfig) -> None:
        """Write the file anew, or leave it as it was; comments go. Raises `OSError`."""
        await asyncio.to_thread(replace_file, self.path, format_config(config).encode())

    async def edit(self, change: Callable[[str], str]) -> None:
        """Write the text that `change` makes of the present one. Raises what it and `load` do."""
        await asyncio.to_thread(self._edit, change)

    async def watch(self) -> AsyncGenerator[InterfaceConfig, None]:
        """The configuration as it is, and then each time somebody has changed it.

        A state counts once two looks have found it: at the first somebody may be writing still.
        One that cannot be used is logged, and what held before holds on.
        """
        seen: tuple[int, ...] = ()
        taken: tuple[int, ...] = ()
        while True:
            with contextlib.suppress(OSError):  # an editor is about to replace it
                before, seen = seen, self._state()
                if before == seen != taken:
                    taken = seen
                    try:
                        taken, config = await asyncio.to_thread(self._load)
                    except ValueError as exc:
                        self._refuse(f"{exc}; what held before holds on")
                    else:
                        self._refused = ""
                        yield config
            await asyncio.sleep(INTERVAL)

    def _refuse(self, why: str) -> None:
        if why != self._refused:
            self._refused = why
            logger.error("%s", why)

    def _state(self) -> tuple[int, ...]:
        found = self.path.stat()
        return (found.st_ino, found.st_mtime_ns, found.st_size)

    def _load(self) -> tuple[tuple[int, ...], InterfaceConfig]:
        state, text = self._read_at_rest()
        config = parse_config(text, str(self.path), allow_commands=self.allow_commands)
        return state, config

    def _edit(self, change: Callable[[str], str]) -> None:
        _, text = self._read_at_rest()
        replace_file(self.path, change(text).encode())

    def _read_at_rest(self) -> tuple[tuple[int, ...], str]:
        """A file that changes while it is read is read again."""
        while True:
            state = self._state()
            text = self._read()
            if state == self._state():
                return state, text

    def _read(self) -> str:
        modes = self.path.stat().st_mode & self.path.absolute().parent.stat().st_mode
        if modes & stat.S_IRWXO:
            logger.warning("%s is open to everybody, keys and all: chmod 600 it", self.path)
        try:
            return self.path.read_text(encoding="utf-8-sig")  # Windows' editors leave a mark
        except UnicodeDecodeError:
            raise ConfigFileError(f"{self.path} is no text: write it in UTF-8") from None


class FileStore:
    """The peers of a file; a revision is all of them. Sections of others stay as they are."""

    def __init__(self, file: ConfigFile) -> None:
        self._file = file

    async def peers(self) -> tuple[dict[bytes, PeerConfig], Mapping[bytes, PeerConfig]]:
        peers = _by_key(await self._file.load())
        return peers, peers.copy()

    async def watch(
        self, revision: Mapping[bytes, PeerConfig]
    ) -> AsyncGenerator[list[Change], None]:
        async with contextlib.aclosing(self._file.watch()) as configs:
            async for config in configs:
                peers = _by_key(config)
                changes = [Change(key, None) for key in revision if key not in peers]
                changes += [
                    Change(key, peer) for key, peer in peers.items() if peer != revision.get(key)
                ]
                revision = peers
                if changes:
                    yield changes

    async def put(self, peer: PeerConfig) -> None:
        await self._file.edit(lambda text: with_peer(text, peer))

    async def remove(self, public_key: bytes) -> None:
        await self._file.edit(lambda text: without_peer(text, public_key))


def _by_key(config: InterfaceConfig) -> dict[bytes, PeerConfig]:
    return {peer.public_key: peer for peer in config.peers}


def with_peer(text: str, peer: PeerConfig, title: str = "") -> str:
    """The text of a file with this peer, in place of the one with its key or behind all others.

    Comments stay; a `title` becomes one. Raises `ConfigFileError`.
    """
    sections = _sections(text)
    for place, (key, section) in enumerate(sections):
        if key == peer.public_key:
            sections[place] = key, _replace(section, format_peer(peer))
            return _joined(sections)
    head = f"# {title}\n" if title else ""
    end = "" if not text or text.endswith("\n") else "\n"
    return f"{text}{end}\n{head}{format_peer(peer)}"


def without_peer(text: str, public_key: bytes) -> str:
    """The text of a file without this peer and the comment right above it.

    Raises `KeyError` and `ConfigFileError`.
    """
    sections = _sections(text)
    kept = [(key, section) for key, section in sections if key != public_key]
    if len(kept) == len(sections):
        raise KeyError(public_key)
    return _joined(kept)


_Section = tuple[bytes | None, str]
"""Lines from a title to the next one; of a peer with its public key. The comment right above a
title belongs to it, if there is an empty line above that."""


def _sections(text: str) -> list[_Section]:
    """What stands before the first title is a section too."""
    peers = iter(parse_config(text, allow_commands=True).peers)
    lines = list(io.StringIO(text))
    begins: list[tuple[int, bytes | None]] = [(0, None)]
    for number, line in enumerate(lines):
        title = _title(line)
        if title is not None:
            begin = number
            while begin and lines[begin - 1].lstrip().startswith("#"):
                begin -= 1
            if begin and lines[begin - 1].strip():
                begin = number
            begins.append((begin, next(peers).public_key if title == "[peer]" else None))
    ends = [begin for begin, _ in begins[1:]] + [len(lines)]
    return [
        (key, "".join(lines[begin:end])) for (begin, key), end in zip(begins, ends, strict=True)
    ]


def _title(line: str) -> str | None:
    """That of the section which begins here, in lower case."""
    words = "".join(line.partition("#")[0].split()).lower()
    return words if words.startswith("[") else None


def _replace(section: str, by: str) -> str:
    """Other lines for those that are neither empty nor a comment."""
    lines = list(io.StringIO(section))
    kept = [line for line in lines if not line.partition("#")[0].strip()]
    place = next(number for number, line in enumerate(lines) if _title(line) is not None)
    return "".join([*kept[:place], by, *kept[place:]])


def _joined(sections: list[_Section]) -> str:
    return "".join(section for _, section in sections)
