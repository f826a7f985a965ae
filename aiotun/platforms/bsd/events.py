"""What happens to one interface, told by the difference between the kernel's tables.

The routing socket only says that something happened. What, the tables tell: so it does no harm
that a full socket loses messages, as long as one of them was read.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import errno

from ...addresses import Address
from ...interfaces import AddressAdded, AddressRemoved, Event, InterfaceGone, LinkChanged
from ..base import EventSource
from .base import System
from .headers.common import SOCK_RAW, SOL_SOCKET
from .messages import Link
from .routing import Routing

__all__ = ["RouteChanges", "RouteEvents"]

MESSAGE_MAX = 65536


class RouteChanges:
    """A routing socket, and whether anything was said there."""

    def __init__(self, system: System) -> None:
        self._kernel = system.kernel
        self._fd = system.kernel.socket(system.headers.AF_ROUTE, SOCK_RAW)
        try:
            if system.overflow_option is not None:
                self._kernel.setsockopt(self._fd, SOL_SOCKET, system.overflow_option, 1)
        except BaseException:
            self.close()
            raise

    def fileno(self) -> int:
        return self._fd

    def happened(self) -> bool:
        """Whether anything happened since the last call, to whatever interface or route."""
        happened = False
        while self._fd >= 0:
            try:
                self._kernel.read(self._fd, MESSAGE_MAX)
            except BlockingIOError:
                break
            except OSError as exc:
                if exc.errno != errno.ENOBUFS:  # messages were lost
                    raise
            happened = True
        return happened

    def close(self) -> None:
        """Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._kernel.close(fd)


class RouteEvents(EventSource):
    """A routing socket of its own, and what was last reported."""

    def __init__(self, system: System, routing: Routing, index: int, layer: str) -> None:
        self._routing = routing
        self._index = index
        self._layer = layer
        self._changes = RouteChanges(system)
        try:
            self._link, self._addresses = self._state()
        except BaseException:
            self.close()
            raise

    def fileno(self) -> int:
        return self._changes.fileno()

    def read(self) -> list[Event]:
        if self._link is None or not self._changes.happened():
            return []
        link, addresses = self._state()
        if link is None or (link.name != self._link.name and not self._same(link)):
            self._link = None
            return [InterfaceGone()]
        events: list[Event] = []
        if self._visible(link) != self._visible(self._link):
            mac = link.mac if self._layer == "tap" else None
            events.append(LinkChanged(link.name, link.mtu, link.up, link.carrier, mac))
        events += [AddressRemoved(each) for each in self._addresses if each not in addresses]
        events += [AddressAdded(each) for each in addresses if each not in self._addresses]
        self._link, self._addresses = link, addresses
        return events

    def _state(self) -> tuple[Link | None, list[Address]]:
        found = self._routing.interfaces(self._index)
        return found.links.get(self._index), found.addresses.get(self._index, [])

    def _same(self, link: Link) -> bool:
        """Whether one of another name was renamed, and not made under a number that was free."""
        return self._link is not None and link.mac == self._link.mac

    @staticmethod
    def _visible(link: Link) -> tuple[object, ...]:
        return link.name, link.mtu, link.up, link.carrier, link.mac

    def close(self) -> None:
        self._changes.close()
