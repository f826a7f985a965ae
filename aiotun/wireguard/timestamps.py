"""The greatest time stamp of each peer's initiations, which outlives the program.

Without it whoever recorded an initiation could have it answered once more after a restart.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
from collections.abc import Iterable
from pathlib import Path

from ..cancelling import despite_cancellation
from ..files import read_file, replace_file
from .core.peer import Peer
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
        self._known: dict[str, str] = {}
        self._changed = False

    def serve(self, wireguard: WireGuard) -> None:
        """Read the file, if it is there. Raises `OSError`; nonsense is logged."""
        folder = self._path.parent
        if not folder.is_dir():
            raise NotADirectoryError(
                errno.ENOTDIR, "time stamps take a directory: make it, or name another", str(folder)
            )
        self._peers = wireguard.tunnel.peers
        try:
            self._known = _decode(read_file(self._path))
        except FileNotFoundError:
            pass
        except (ValueError, RecursionError):
            logger.error("%s holds no time stamps: it is made anew", self._path)
        wireguard.tunnel.on_handshake(self._shook_hands)
        self.place(self._peers)

    def place(self, public_keys: Iterable[bytes]) -> None:
        """Tell these peers what is known of them."""
        for public_key in public_keys:
            if public_key in self._peers and public_key.hex() in self._known:
                timestamp = bytes.fromhex(self._known[public_key.hex()])
                self._peers[public_key].learn_timestamp(timestamp)

    def _shook_hands(self, peer: Peer) -> None:
        if peer.timestamp:
            self._known[peer.public_key.hex()] = peer.timestamp.hex()
            self._changed = True

    async def run(self) -> None:
        """Write what is new, until cancelled, and then once more."""
        try:
            while True:
                await asyncio.sleep(INTERVAL)
                await despite_cancellation(asyncio.to_thread(self.write))
        finally:
            self.write()

    def write(self) -> None:
        """Write the file, if there is anything new; log what fails."""
        if self._changed:
            self._changed = False
            try:
                replace_file(self._path, json.dumps(self._known).encode())
            except OSError as exc:
                self._changed = True
                logger.error("time stamps cannot be written: %s", exc)


def _decode(data: bytes) -> dict[str, str]:
    known = json.loads(data)
    for key, value in known.items() if isinstance(known, dict) else [(None, None)]:
        if not (isinstance(key, str) and isinstance(value, str)):
            raise ValueError("no time stamps")
        if (len(bytes.fromhex(key)), len(bytes.fromhex(value))) != (KEY_SIZE, TIMESTAMP_SIZE):
            raise ValueError("no time stamps")
    return dict(known)
