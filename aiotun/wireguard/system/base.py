"""The contract between an interface of WireGuard and the routes and name servers of its system."""

from __future__ import annotations

import asyncio
import errno
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

from ...errors import UnsupportedError
from ..core.allowed_ips import Network

if TYPE_CHECKING:
    from ..config import InterfaceConfig

__all__ = [
    "System",
    "allowed_ips",
    "beyond",
    "everything",
    "in_one_table",
    "plain_address",
    "split_dns",
]

MAIN = 254
"""What `Table = main` is read as: RT_TABLE_MAIN of Linux."""


class System(ABC):
    """The routes to the peers of one interface, and its name servers, undone by `close`.

    Routes to the peers are of no use when the datagrams that we send to them take them too. A
    system sees to that where all there is leads into the tunnel: Linux by a mark, others by a
    route to each endpoint that stays as it was. Methods block, so they are called off the loop,
    one after the other (beside `follow`). They raise `OSError` for what the system refuses.
    """

    @abstractmethod
    def with_mark(self, config: InterfaceConfig, present: int = 0) -> InterfaceConfig:
        """With the mark that our datagrams are to carry, where the system tells them by one.

        A mark that is `present` stays. Raises `UnsupportedError` for a `Table` or `FwMark` that
        there is not here.
        """

    @abstractmethod
    def update(self, config: InterfaceConfig, endpoints: Collection[str]) -> None:
        """Make the routes those that the configuration wants, but for our datagrams to these
        hosts, which are IP addresses as `WireGuard.endpoints` has them."""

    def look_again(self) -> None:
        """Forget the routes that are gone: with the interface, as others had it down, or because
        others have removed them. `update` makes them again.

        A system whose interfaces do not go down has none.
        """
        return

    async def follow(self, endpoints: Callable[[], Collection[str]]) -> None:
        """Keep our datagrams out of the tunnel wherever peers and gateways go, until cancelled.

        Runs on the loop. A mark needs no following.
        """
        await asyncio.Event().wait()

    @abstractmethod
    def set_dns(self, words: Iterable[str]) -> str | None:
        """Have name servers asked and domains searched, as wg-quick(8) has it, in place of those
        that were set before; without any that is undone.

        Returns what is missing where nothing can: "resolvectl or resolvconf", say.
        """

    @abstractmethod
    def close(self) -> None:
        """Undo it all; what goes with the interface may stay until then."""


def allowed_ips(config: InterfaceConfig) -> list[Network]:
    """Those of all peers, each once."""
    return list(dict.fromkeys(network for peer in config.peers for network in peer.allowed_ips))


def beyond(config: InterfaceConfig) -> list[Network]:
    """The networks of peers to which routes are needed: not those that the addresses lead to."""
    if config.table == "off":
        return []
    connected = [address.network for address in config.addresses]
    return [
        network
        for network in allowed_ips(config)
        if not any(_covers(each, network) for each in connected)
    ]


def everything(networks: Iterable[Network]) -> set[Network]:
    """Default routes among them, and two halves of one, which many write instead."""
    largest = {network for network in networks if network.prefixlen <= 1}
    return {
        network
        for network in largest
        if network.prefixlen == 0 or largest.issuperset(network.supernet().subnets())
    }


def in_one_table(config: InterfaceConfig, system: str) -> InterfaceConfig:
    """The configuration as it is, for a system that has one table of routes.

    Raises `UnsupportedError` if it names another.
    """
    if config.table not in ("auto", "off", MAIN):
        raise UnsupportedError(
            errno.EOPNOTSUPP,
            f"on {system} routes to peers go to the table that there is",
            remedies=("leave Table out", "Table = off, and routes by PostUp"),
        )
    return config


def plain_address(host: str) -> IPv4Address | IPv6Address:
    """Of a peer, as a socket of both versions says it."""
    ip = ip_address(host.partition("%")[0])
    return ip.ipv4_mapped or ip if isinstance(ip, IPv6Address) else ip


def _covers(network: Network, other: Network) -> bool:
    """Whether the other lies within the network."""
    return network.version == other.version and other.subnet_of(network)  # type: ignore[arg-type]


def split_dns(words: Iterable[str]) -> tuple[list[str], list[str]]:
    """The servers among words that `parse_dns` has passed, and the domains."""
    servers, domains = [], []
    for word in words:
        try:
            servers.append(str(ip_address(word)))
        except ValueError:
            domains.append(word)
    return servers, domains
