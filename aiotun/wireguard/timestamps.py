"""The greatest time stamp of each peer's initiations, which outlives the program.

Without it whoever recorded an initiation could have it answered once more after a restart. It
goes with the peer, as in the kernel: a peer whose clock was ahead is let in again when it is
removed and added.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..cancelling import despite_cancellation
from ..files import read_file, replace_file
from .endpoint import WireGuard
from .keys import KEY_SIZE

__all__ = ["Timestamps"]

logger = logging.getLogger("aiotun.wireguard")

INTERVAL = 5.0
"""Seconds between two times that what is new is written."""

TIMESTAMP_SIZE = 12


class Timestamps:
    """Those in a file: hexadecimal digits by public keys, as JSON. A companion of a server."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[bytes, bytes] = {}
        """What stood in the file, by public keys, until the peers are there who are told."""
        self._written: dict[bytes, bytes] = {}
        self._failed = False

    def serve(self, wireguard: WireGuard) -> None:
        """Read the file, if it is there. Raises `OSError`; nonsense is logged."""
        folder = self._path.parent
        if not folder.is_dir():
            raise NotADirectoryError(
                errno.ENOTDIR, "time stamps take a directory: make it, or name another", str(folder)
            )
        self._peers = wireguard.tunnel.peers
        try:
            self._known = self._written = _decode(read_file(self._path))
        except FileNotFoundError:
            pass
        except (ValueError, RecursionError):
            logger.error("%s holds no time stamps: it is made anew", self._path)
        self.place(self._peers)

    def place(self, public_keys: Iterable[bytes]) -> None:
        """Tell these peers what is known of them."""
        for public_key in self._known.keys() & public_keys:
            if public_key in self._peers:
                self._peers[public_key].learn_timestamp(self._known[public_key])

    async def run(self) -> None:
        """Write what is new, until cancelled, and then once more."""
        self._known = {}
        try:
            while True:
                await asyncio.sleep(INTERVAL)
                await despite_cancellation(asyncio.to_thread(self._write, self._now()))
        finally:
            self._write(self._now())

    def _now(self) -> dict[bytes, bytes]:
        peers = self._peers.items()
        return {public_key: peer.timestamp for public_key, peer in peers if peer.timestamp}

    def _write(self, now: dict[bytes, bytes]) -> None:
        """Write the file, if there is anything new; log that it fails, once."""
        if now != self._written:
            try:
                replace_file(self._path, _encode(now))
                self._written, self._failed = now, False
            except OSError as exc:
                if not self._failed:
                    logger.error("time stamps cannot be written: %s", exc)
                self._failed = True


def _encode(timestamps: Mapping[bytes, bytes]) -> bytes:
    return json.dumps({key.hex(): value.hex() for key, value in timestamps.items()}).encode()


def _decode(data: bytes) -> dict[bytes, bytes]:
    known = json.loads(data)
    for key, value in known.items() if isinstance(known, dict) else [(None, None)]:
        if not (isinstance(key, str) and isinstance(value, str)):
            raise ValueError("no time stamps")
        if (len(bytes.fromhex(key)), len(bytes.fromhex(value))) != (KEY_SIZE, TIMESTAMP_SIZE):
            raise ValueError("no time stamps")
    return {bytes.fromhex(key): bytes.fromhex(value) for key, value in known.items()}
