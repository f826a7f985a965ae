"""Systems without marks: they look where peers and gateways are, and keep our datagrams out."""

from __future__ import annotations

import asyncio
import logging
import threading
from abc import abstractmethod
from collections.abc import Callable, Collection
from typing import Protocol

from ..core.allowed_ips import Network
from .base import System

__all__ = ["FollowingSystem"]

logger = logging.getLogger("aiotun.wireguard")

INTERVAL = 1.0
"""Seconds between two looks where peers and gateways are."""


class Changes(Protocol):
    """Tells whether the system's routes have changed since it was asked last."""

    def happened(self) -> bool: ...
    def close(self) -> None: ...


class FollowingSystem(System):
    """Keeps our datagrams out of the tunnel by where they are to go, not by a mark."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._lock = threading.Lock()  # guards all that follows
        self._networks: set[Network] = set()
        """Those to which there are routes of ours."""
        self._hosts: Collection[str] = ()
        """Where our datagrams go."""

    @abstractmethod
    def _keep_out(self, networks: Collection[Network]) -> None:
        """See to it that no datagram to a host takes a route to one of these networks."""

    async def follow(self, endpoints: Callable[[], Collection[str]]) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            await asyncio.to_thread(self._look, endpoints())

    def _look(self, endpoints: Collection[str]) -> None:
        with self._lock:
            if self._changes.happened() or endpoints != self._hosts:
                self._hosts = endpoints
                try:
                    self._keep_out(self._networks)
                except OSError as exc:
                    logger.warning("%s", exc)
