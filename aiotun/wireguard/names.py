"""Names of endpoints, looked up until they lead to an address."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from socket import SOCK_DGRAM, getaddrinfo
from typing import Any

from ..udp import SocketAddress

__all__ = ["Names"]

logger = logging.getLogger("aiotun.wireguard")

AT_ONCE = 4
"""Look-ups at the same time: each has a thread, for some 10 s if no name server answers."""

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
        *,
        tried: SocketAddress | None = None,
    ) -> None:
        """Call `found` as soon as the host has an address of the family.

        Of several it is the one behind that which was `tried` in vain. In place of an earlier
        look-up for the same peer. The first failure is logged.
        """
        self.forget(peer)
        look_up = self._look_up(peer, endpoint, family, found, tried)
        self._tasks[peer] = asyncio.ensure_future(look_up)

    def is_looked_up(self, peer: bytes) -> bool:
        return peer in self._tasks

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
        tried: SocketAddress | None,
    ) -> None:
        host, port = endpoint
        pause = PAUSE
        while True:
            try:
                async with self._turns:
                    infos = await _resolve(host, port, family)
            except (OSError, UnicodeError, RuntimeError) as exc:
                # UnicodeError: no host can have this name. RuntimeError: no thread can be started.
                if pause == PAUSE:
                    logger.warning(
                        "endpoint %s has no address yet, it is tried again: %s", host, exc
                    )
                await asyncio.sleep(pause)
                pause = min(2 * pause, PAUSE_MAX)
            else:
                del self._tasks[peer]
                found(_next_address(infos, tried))
                return


async def _resolve(host: str, port: int, family: int) -> Sequence[tuple[Any, ...]]:
    """Ask getaddrinfo(3) in a thread for which nobody waits when the program ends.

    It cannot be interrupted, and a loop waits for the threads of its executor.
    """
    found: Future[Sequence[tuple[Any, ...]]] = Future()
    found.set_running_or_notify_cancel()

    def ask() -> None:
        try:
            found.set_result(getaddrinfo(host, port, family, SOCK_DGRAM))
        except Exception as exc:
            found.set_exception(exc)

    threading.Thread(target=ask, name="aiotun-names", daemon=True).start()
    return await asyncio.wrap_future(found)


def _next_address(infos: Sequence[tuple[Any, ...]], tried: SocketAddress | None) -> SocketAddress:
    """The address behind the one that was tried, the first if that is the last or none of them.

    IPv6 and IPv4 in turn, as RFC 8305, section 4, orders what getaddrinfo(3) has sorted.
    """
    first = infos[0][0]
    families = ([info[4] for info in infos if (info[0] == first) is own] for own in (True, False))
    pairs = itertools.zip_longest(*families)
    addresses: list[SocketAddress] = list(dict.fromkeys(filter(None, itertools.chain(*pairs))))
    if tried is None or tried[:2] not in [address[:2] for address in addresses]:
        return addresses[0]
    place = [address[:2] for address in addresses].index(tried[:2])
    return addresses[(place + 1) % len(addresses)]
