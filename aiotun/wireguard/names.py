"""Names of endpoints, looked up until they lead to an address."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import cast

from ..udp import SocketAddress

__all__ = ["Names"]

logger = logging.getLogger("aiotun.wireguard")

AT_ONCE = 4
"""Look-ups at the same time: each holds a thread of the loop's executor, some 10 s if no name
server answers."""

PAUSE, PAUSE_MAX = 1.0, 60.0
"""Seconds until a name is looked up again: twice as many each time."""


class Names:
    """The look-ups that are under way, at most one for each peer. Made within a running loop."""

    def __init__(self) -> None:
        self._tasks: dict[bytes, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)

    def look_up(
        self,
        peer: bytes,
        endpoint: tuple[str, int],
        family: int,
        found: Callable[[SocketAddress], None],
    ) -> None:
        """Call `found` as soon as the host has an address of the family.

        In place of an earlier look-up for the same peer. The first failure is logged.
        """
        self.forget(peer)
        look_up = self._look_up(peer, endpoint, family, found)
        self._tasks[peer] = asyncio.ensure_future(look_up)

    def forget(self, peer: bytes) -> None:
        """End the look-up for this peer, if there is one."""
        task = self._tasks.pop(peer, None)
        if task is not None:
            task.cancel()

    def close(self) -> None:
        """End all look-ups."""
        for peer in list(self._tasks):
            self.forget(peer)

    async def _look_up(
        self,
        peer: bytes,
        endpoint: tuple[str, int],
        family: int,
        found: Callable[[SocketAddress], None],
    ) -> None:
        host, port = endpoint
        loop = asyncio.get_running_loop()
        pause = PAUSE
        while True:
            try:
                async with self._turns:
                    infos = await loop.getaddrinfo(
                        host, port, family=family, type=socket.SOCK_DGRAM
                    )
            except (OSError, UnicodeError) as exc:  # UnicodeError: no host can have this name
                if pause == PAUSE:
                    logger.warning(
                        "endpoint %s has no address yet, it is tried again: %s", host, exc
                    )
                await asyncio.sleep(pause)
                pause = min(2 * pause, PAUSE_MAX)
            else:
                del self._tasks[peer]
                found(cast(SocketAddress, infos[0][4]))
                return
