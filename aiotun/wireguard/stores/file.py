"""The file of an interface, as wg-quick has it, and the peers in it as a store."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import logging
import stat
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from ...files import check_file, is_stream, locked, read_file, read_stream, replace_file
from ..config import InterfaceConfig, PeerConfig
from ..config_file import ConfigFileError, format_config, format_peer, parse_config
from ..values import parse_name
from .base import Change, Decide, Store

__all__ = ["ConfigFile", "FileStore", "peers_in", "with_peer", "without_peer"]

logger = logging.getLogger("aiotun.wireguard")

INTERVAL = 1.0
"""Seconds between two looks at a file."""

DISABLED = "# (disabled) "
"""Stands before each line of a peer that is kept and not used."""


class ConfigFile:
    """One interface with its peers. With `allow_commands` there may be commands in it.

    A pipe or a terminal is read here, to its end, and neither followed nor written; that raises
    `OSError`."""

    def __init__(self, path: Path, *, allow_commands: bool = False) -> None:
        self.path = path
        self.allow_commands = allow_commands
        self._streamed = read_stream(path) if is_stream(path) else None
        self._parsed: tuple[str, InterfaceConfig] | None = None
        """The last text that was parsed, and what it says: all that ask for the same have one."""
        self._refused = ""
        """What was logged last: all that watch the file log it once."""

    async def load(self) -> InterfaceConfig:
        """Raises `OSError` and `ConfigFileError`."""
        _, config = await asyncio.to_thread(self._load)
        return config

    async def save(self, config: InterfaceConfig) -> None:
        """Write the file anew, or leave it as it was; comments go. Raises `OSError`."""
        await asyncio.to_thread(self._save, format_config(config))

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
                    except FileNotFoundError:
                        raise
                    except (OSError, ValueError) as exc:
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
        if self._streamed is not None:
            return ()
        found = self.path.stat()
        return (found.st_ino, found.st_mtime_ns, found.st_size)

    def _load(self) -> tuple[tuple[int, ...], InterfaceConfig]:
        state, text = self._read_at_rest()
        return state, self.parse(text)

    def _save(self, text: str) -> None:
        with self._locked():
            replace_file(self.path, text.encode())

    def _edit(self, change: Callable[[str], str]) -> None:
        with self._locked():
            _, text = self._read_at_rest()
            changed = change(text)
            if changed != text:
                replace_file(self.path, changed.encode())

    def _locked(self) -> contextlib.AbstractContextManager[None]:
        if self._streamed is not None:
            check_file(self.path)
        return locked(self.path)

    def text(self) -> str:
        """What stands in the file. Raises `OSError` and `ConfigFileError`."""
        return self._read_at_rest()[1]

    def parse(self, text: str) -> InterfaceConfig:
        """What a text says that was read here. Raises `ConfigFileError`."""
        parsed = self._parsed
        if parsed is None or parsed[0] != text:
            config = parse_config(text, str(self.path), allow_commands=self.allow_commands)
            self._parsed = parsed = (text, config)
        return parsed[1]

    def _read_at_rest(self) -> tuple[tuple[int, ...], str]:
        """A file that changes while it is read is read again."""
        while True:
            state = self._state()
            text = self._read()
            if state == self._state():
                return state, text

    def _read(self) -> str:
        data = self._streamed
        if data is None:
            modes = self.path.stat().st_mode & self.path.absolute().parent.stat().st_mode
            if modes & stat.S_IRWXO and sys.platform != "win32":  # where modes say nothing
                logger.warning("%s is open to everybody, keys and all: chmod 600 it", self.path)
            data = read_file(self.path)
        try:  # Windows' editors leave a mark
            return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig").read()
        except UnicodeDecodeError:
            raise ConfigFileError(f"{self.path} is no text: write it in UTF-8") from None


class FileStore(Store[Mapping[bytes, PeerConfig]]):
    """The peers of a file; a revision is all of them. Sections of others stay as they are.

    The comment above a peer is its name. One that is disabled becomes a comment.
    """

    def __init__(self, file: ConfigFile) -> None:
        self._file = file

    async def peers(self) -> tuple[dict[bytes, PeerConfig], Mapping[bytes, PeerConfig]]:
        peers = await asyncio.to_thread(lambda: self._peers_in(self._file.text()))
        return peers, peers.copy()

    def _peers_in(self, text: str) -> dict[bytes, PeerConfig]:
        return peers_in(text, str(self._file.path), self._file.parse(text))

    async def watch(
        self, revision: Mapping[bytes, PeerConfig]
    ) -> AsyncGenerator[list[Change], None]:
        async with contextlib.aclosing(self._file.watch()) as configs:
            async for _ in configs:
                try:
                    peers, _ = await self.peers()
                except (OSError, ConfigFileError):
                    continue  # it changes just now: the next look is for that
                changes = [Change(key, None) for key in revision if key not in peers]
                changes += [
                    Change(key, peer) for key, peer in peers.items() if peer != revision.get(key)
                ]
                revision = peers
                if changes:
                    yield changes

    async def _change(self, decide: Decide) -> Change:
        changes = []

        def edit(text: str) -> str:
            peers = self._peers_in(text)
            change = decide(peers)
            changes.append(change)
            if peers.get(change.public_key) == change.peer:
                return text
            if change.peer is None:
                return without_peer(text, change.public_key)
            return with_peer(text, change.peer)

        await self._file.edit(edit)
        return changes[0]


def peers_in(
    text: str, source: str = "configuration", config: InterfaceConfig | None = None
) -> dict[bytes, PeerConfig]:
    """The peers of a file by their keys, with their names, and those that are disabled.

    `config` is what the text says, where that is known. Raises `ConfigFileError`.
    """
    if config is None:
        config = parse_config(text, source, allow_commands=True)
    revealed = config
    if DISABLED in text:
        revealed = parse_config(_revealed(text), source, allow_commands=True)
    enabled = {peer.public_key: peer for peer in config.peers}
    peers = {peer.public_key: peer for peer in revealed.peers} | enabled
    for section in _sections(text, revealed):
        if section.name and section.key is not None:
            peers[section.key] = dataclasses.replace(peers[section.key], name=section.name)
    for key in peers.keys() - enabled.keys():
        peers[key] = dataclasses.replace(peers[key], enabled=False)
    return peers


def with_peer(text: str, peer: PeerConfig) -> str:
    """The text of a file with this peer, in place of the one with its key or behind all others.

    Comments stay. Its name becomes one, and so does all of it where it is disabled. Raises
    `ConfigFileError`.
    """
    lines = format_peer(peer)
    if not peer.enabled:
        lines = "".join(f"{DISABLED}{line}" for line in io.StringIO(lines))
    head = f"# {peer.name}\n" if peer.name else ""
    sections = _sections(text)
    for place, section in enumerate(sections):
        if section.key == peer.public_key:
            known = _replace(_revealed(section.text), lines)
            if peer.name != section.name:
                apart = "" if section.name else "\n"  # else it would be of the section before
                known = apart + head + known.removeprefix(f"# {section.name}\n")
            sections[place] = section._replace(text=known)
            return _joined(sections)
    end = "" if not text or text.endswith("\n") else "\n"
    return f"{text}{end}\n{head}{lines}"


def without_peer(text: str, public_key: bytes) -> str:
    """The text of a file without this peer and the comment right above it.

    Raises `KeyError` and `ConfigFileError`.
    """
    sections = _sections(text)
    kept = [section for section in sections if section.key != public_key]
    if len(kept) == len(sections):
        raise KeyError(public_key)
    return _joined(kept)


class _Section(NamedTuple):
    """Lines from a title to the next one. The comment right above a title belongs to it, if there
    is an empty line above that."""

    key: bytes | None
    """A peer's public key."""
    name: str
    """The first line of the comment above the title."""
    text: str


def _sections(text: str, revealed: InterfaceConfig | None = None) -> list[_Section]:
    """What stands before the first title is a section too. `revealed` is what the text says with
    the peers that are disabled, where that is known."""
    if revealed is None:
        revealed = parse_config(_revealed(text), allow_commands=True)
    peers = iter(revealed.peers)
    known, lines = list(io.StringIO(text)), list(io.StringIO(_revealed(text)))
    begins: list[tuple[int, bytes | None, str]] = [(0, None, "")]
    for number, line in enumerate(lines):
        title = _title(line)
        if title is not None:
            begin = number
            while begin and lines[begin - 1].lstrip().startswith("#"):
                begin -= 1
            if begin and lines[begin - 1].strip():
                begin = number
            name = _name(lines[begin]) if begin < number else ""
            begins.append((begin, next(peers).public_key if title == "[peer]" else None, name))
    ends = [begin for begin, _, _ in begins[1:]] + [len(lines)]
    return [
        _Section(key, name, "".join(known[begin:end]))
        for (begin, key, name), end in zip(begins, ends, strict=True)
    ]


def _revealed(text: str) -> str:
    """With the peers that are disabled, from their titles on: what else looks like a line of them
    is a comment. It has as many lines."""
    lines = list(io.StringIO(text))
    disabled = False
    for number, line in enumerate(lines):
        plain = line.removeprefix(DISABLED)
        if plain == line:
            disabled = disabled and not line.partition("#")[0].strip()
        else:
            disabled = disabled or _title(plain) == "[peer]"
            lines[number] = plain if disabled else line
    return "".join(lines)


def _name(comment: str) -> str:
    """That in a comment; empty where it cannot be one."""
    try:
        return parse_name(comment.strip().removeprefix("#").strip())
    except ValueError:
        return ""


def _title(line: str) -> str | None:
    """That of the section which begins here, in lower case."""
    words = "".join(line.partition("#")[0].split()).lower()
    return words if words.startswith("[") else None


def _replace(section: str, by: str) -> str:
    """Other lines for those that are neither empty nor a comment. A comment that would look like a
    line of a disabled peer behind them does so no more."""
    lines = list(io.StringIO(section))
    kept = [
        f"# {line.removeprefix(DISABLED)}" if line.startswith(DISABLED) else line
        for line in lines
        if not line.partition("#")[0].strip()
    ]
    place = next(number for number, line in enumerate(lines) if _title(line) is not None)
    return "".join([*kept[:place], by, *kept[place:]])


def _joined(sections: list[_Section]) -> str:
    return "".join(section.text for section in sections)
