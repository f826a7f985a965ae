"""Log lines for machines, and who is connected."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable
from datetime import datetime, timezone
from math import inf

from .core.peer import Peer
from .core.session import REJECT_AFTER_TIME
from .endpoint import WireGuard, clock
from .keys import encode_key
from .values import format_endpoint

__all__ = ["Connections", "JSONFormatter"]

logger = logging.getLogger("aiotun.wireguard")

EXTRA = ("interface", "peer", "public_key", "endpoint")
"""Attributes of a record that become fields."""


class JSONFormatter(logging.Formatter):
    """An object of JSON a line: time (RFC 3339), level, logger, message, and what else is known."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields.update((name, getattr(record, name)) for name in EXTRA if hasattr(record, name))
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)


class Connections:
    """Logs who connects, once, and not each handshake. A companion of a server."""

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._last: dict[bytes, float] = {}
        """When each peer shook hands, by `clock`."""

    def serve(self, wireguard: WireGuard) -> None:
        wireguard.tunnel.on_handshake(self._shook_hands)

    def place(self, public_keys: Iterable[bytes]) -> None:
        """Those that have changed are connected anew."""
        for public_key in public_keys:
            self._last.pop(public_key, None)

    async def run(self) -> None:
        """Nothing is to be done meanwhile."""
        await asyncio.Event().wait()

    def _shook_hands(self, peer: Peer) -> None:
        now = clock()  # the system's own may be set meanwhile
        before = self._last.get(peer.public_key, -inf)
        self._last[peer.public_key] = now
        if now - before > REJECT_AFTER_TIME and peer.endpoint is not None:
            key, endpoint = encode_key(peer.public_key), format_endpoint(peer.endpoint)
            fields = {
                "interface": self._interface,
                "peer": peer.name,
                "public_key": key,
                "endpoint": endpoint,
            }
            logger.info("%s is connected, at %s", peer.name or key, endpoint, extra=fields)
