"""macOS and the BSDs: routes by the routing socket, as wg-quick's scripts for them make them.

There is one table, so a default route goes into the tunnel as its two halves, before which the
one that is there need not give way. And there is no mark: a host whose datagrams would take one
of our routes gets a route of its own, the way that they went without us. Where there was none, it
leads nowhere, lest they go round in circles.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import contextlib
import logging
from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import NamedTuple, Protocol

from ...addresses import Route
from ...errors import NameInvalidError, RouteError
from ...platforms.bsd.base import System as Platform
from ...platforms.bsd.events import RouteChanges
from ...platforms.bsd.headers.common import (
    RTF_BLACKHOLE,
    RTF_HOST,
    RTF_REJECT,
    RTF_STATIC,
    RTF_UP,
)
from ...platforms.bsd.messages import RouteMessage
from ...platforms.bsd.routing import Routing
from ..config import InterfaceConfig
from ..core.allowed_ips import AllowedIPs, Network
from .base import beyond, in_one_table, plain_address, split_dns
from .following import FollowingSystem

__all__ = ["DNS", "Bsd", "numbered"]

logger = logging.getLogger("aiotun.wireguard")

LOOPBACK: dict[int, IPv4Address | IPv6Address] = {
    4: IPv4Address("127.0.0.1"),
    6: IPv6Address("::1"),
}


def numbered(name: str, platform: Platform) -> str:
    """The name, or the pattern of names out of which the system takes one that is free."""
    try:
        platform.check_name(name, "tun")
    except NameInvalidError:
        return f"{platform.kinds['tun']}%d"
    return name


class DNS(Protocol):
    """A way to set the name servers of the machine for an interface."""

    def set(self, servers: list[str], domains: list[str]) -> str | None:
        """As `System.set_dns`. Raises `OSError`."""

    def close(self) -> None:
        """Undo it. Logs what fails."""


class Hop(NamedTuple):
    """Where a route leads: to a gateway or straight, out of an interface."""

    gateway: IPv4Address | IPv6Address | None
    interface: int
    flags: int = 0


class Bsd(FollowingSystem):
    """One interface's routes, and those that keep our datagrams out of them."""

    def __init__(self, platform: Platform, index: int, dns: DNS) -> None:
        super().__init__(RouteChanges(platform))
        self._name = platform.name
        self._scoped: int = getattr(platform.headers, "RTF_IFSCOPE", 0)
        self._index = index
        self._dns = dns
        self._routing = Routing(platform)
        self._kept: dict[Network, Hop] = {}
        """The routes to hosts that are not to go through the tunnel."""

    def with_mark(self, config: InterfaceConfig, present: int = 0) -> InterfaceConfig:
        """As it is: here a mark says nothing of routes. One that the file names is set."""
        return in_one_table(config, self._name)

    def update(self, config: InterfaceConfig, endpoints: Collection[str]) -> None:
        wanted = _wanted(config)
        with self._lock:
            for network in self._networks - wanted:
                self._networks.discard(network)
                with contextlib.suppress(RouteError):  # others have removed it
                    self._routing.remove(Route(network), self._index)
            self._hosts = endpoints
            self._keep_out(wanted)
            for network in sorted(wanted - self._networks, key=str):
                self._routing.add(Route(network), self._index)
                self._networks.add(network)

    def look_again(self) -> None:
        with self._lock:
            self._networks &= {
                each.route.destination
                for each in self._routing.table()
                if each.route is not None and each.index == self._index
            }

    def _keep_out(self, networks: Collection[Network]) -> None:
        """Make the routes to hosts that are needed beside those to these networks."""
        table = self._routing.table()
        present = {
            (each.route.destination, each.route.gateway) for each in table if each.route is not None
        }
        others = AllowedIPs[RouteMessage]()
        ours = AllowedIPs[Network]()
        for each in table:
            if each.route is not None and self._counts(each):
                others.set(each, [each.route.destination])
        for network in networks:
            ours.set(network, [network])
        wanted: dict[Network, Hop] = {}
        for text in self._hosts:
            ip = plain_address(text)
            mine, other = ours.find(ip.packed), others.find(ip.packed)
            if mine is None:
                continue
            if other is None or other.route is None:
                wanted[ip_network(ip)] = Hop(LOOPBACK[ip.version], 0, RTF_BLACKHOLE)
            elif other.route.destination.prefixlen <= mine.prefixlen:
                wanted[ip_network(ip)] = Hop(other.route.gateway, other.index)
        for host, hop in list(self._kept.items()):
            if wanted.get(host) != hop or (host, hop.gateway) not in present:
                self._remove(host)
        for host, hop in wanted.items():
            if host not in self._kept:
                try:
                    self._routing.add(Route(host, hop.gateway), hop.interface, hop.flags)
                except RouteError as exc:  # somebody has a route to it already
                    logger.warning("%s", exc)
                else:
                    self._kept[host] = hop

    def _counts(self, message: RouteMessage) -> bool:
        """Whether a route says how a host is reached without us.

        What the system made of another route for a host goes when that does. Of a scoped route
        (macOS) only sockets know that are bound to its interface.
        """
        flags = message.flags
        return (
            message.index != self._index
            and message.route is not None
            and message.route.destination not in self._kept
            and bool(flags & RTF_UP)
            and not flags & (RTF_REJECT | RTF_BLACKHOLE | self._scoped)
            and (not flags & RTF_HOST or bool(flags & RTF_STATIC))
        )

    def _remove(self, host: Network) -> None:
        hop = self._kept.pop(host)
        with contextlib.suppress(RouteError):  # it went with its interface
            self._routing.remove(Route(host, hop.gateway), hop.interface)

    def set_dns(self, words: Iterable[str]) -> str | None:
        servers, domains = split_dns(words)
        # One behind ~ is not searched, and servers are asked about every name anyway.
        return self._dns.set(servers, [name for name in domains if not name.startswith("~")])

    def close(self) -> None:
        self._dns.close()
        with self._lock:
            self._changes.close()
            for network in self._networks:
                with contextlib.suppress(RouteError):
                    self._routing.remove(Route(network), self._index)
            self._networks.clear()  # a look that is under way finds nothing to do
            for host in list(self._kept):
                self._remove(host)


def _wanted(config: InterfaceConfig) -> set[Network]:
    """The networks to which routes are needed, a default route as its two halves."""
    wanted = set(beyond(config))
    if config.table == "auto":
        for default in [network for network in wanted if network.prefixlen == 0]:
            wanted.remove(default)
            wanted.update(default.subnets())
    return wanted
