"""Addresses and routes of an interface, and the forms in which users write them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import NamedTuple, Union, cast

from .errors import AddressError, ConfigError, RouteError

__all__ = [
    "Address",
    "AddressLike",
    "Route",
    "RouteLike",
    "check_metric",
    "parse_addresses",
    "parse_routes",
]

METRIC_MAX = 2**32 - 1
"""RTA_PRIORITY is 32 bits wide."""


class Address(NamedTuple):
    """One address of an interface.

    `interface` is the local address with its prefix length. With a `peer` the
    link is point to point: the prefix length is the peer's, as in
    `ip address add LOCAL peer PEER/PREFIX`.
    """

    interface: IPv4Interface | IPv6Interface
    peer: IPv4Address | IPv6Address | None = None

    @classmethod
    def parse(cls, value: AddressLike) -> Address:
        """Read any of the forms that `AddressLike` names. Raises `AddressError`."""
        if isinstance(value, str):
            words = value.split()
            if len(words) == 3 and words[1] == "peer":
                return cls._with_peer(words[0], words[2])
            return cls(_interface(value))
        if isinstance(value, tuple) and len(value) == 2:
            local, peer = value
            return cls(_interface(local)) if peer is None else cls._with_peer(local, peer)
        return cls(_interface(value))

    @classmethod
    def _with_peer(cls, local: object, peer: object) -> Address:
        own, other = _interface(local), _interface(peer)
        if own.version != other.version:
            raise AddressError(f"address {local} and its peer {peer} are of different IP versions")
        full = own.max_prefixlen
        prefixes = {i.network.prefixlen for i in (own, other)} - {full}
        if len(prefixes) > 1:
            raise AddressError(f"address {local} and its peer {peer} name different prefix lengths")
        prefix = prefixes.pop() if prefixes else full
        peer_ip = None if other.ip == own.ip else other.ip
        return cls(ipaddress.ip_interface(f"{own.ip}/{prefix}"), peer_ip)

    def __str__(self) -> str:
        if self.peer is None:
            return str(self.interface)
        return f"{self.interface.ip} peer {self.peer}/{self.interface.network.prefixlen}"


AddressLike = Union[
    str,
    IPv4Interface,
    IPv6Interface,
    Address,
    "tuple[str | IPv4Interface | IPv6Interface, str | IPv4Address | IPv6Address | None]",
]
"""An address as users write it: "10.9.0.1/24", "10.9.0.1 peer 10.9.0.2/32",
an `ipaddress` interface, an `Address`, or a pair of local address and peer."""


def _interface(value: object) -> IPv4Interface | IPv6Interface:
    try:
        if not isinstance(value, (str, IPv4Address, IPv6Address)):  # ipaddress reads numbers too
            raise ValueError("neither text nor an address")
        result = ipaddress.ip_interface(value)
    except ValueError as exc:
        raise AddressError(
            f"{value!r} is not an address: write it with its prefix length, "
            'like "10.9.0.1/24", "fd09::1/64" or "10.9.0.1 peer 10.9.0.2/32"'
        ) from exc
    if getattr(result, "scope_id", None):
        raise AddressError(f"{value!r} names a zone: an address goes to the device it is given to")
    return result


class Route(NamedTuple):
    """Packets for a network go to the device: straight, or to a gateway behind it."""

    destination: IPv4Network | IPv6Network
    gateway: IPv4Address | IPv6Address | None = None
    """An IPv4 network may have an IPv6 gateway (RFC 5549; Linux 5.2 and later)."""
    metric: int | None = None
    """Of two routes to the same network the one with the smaller metric counts. None: the
    system's; on Linux 0 for IPv4, and 1024 for IPv6, where 0 means that too."""

    @classmethod
    def parse(cls, value: RouteLike) -> Route:
        """Read any of the forms that `RouteLike` names. Raises `RouteError`."""
        if isinstance(value, Route):
            return value
        if isinstance(value, str):
            match = ROUTE.fullmatch(value)
            if match is None:
                raise _no_route(value)
            destination, gateway, metric = match.groups()
            if destination == "default":
                destination = "::/0" if ":" in (gateway or "") else "0.0.0.0/0"
            try:
                route = cls(
                    ipaddress.ip_network(destination),
                    None if gateway is None else ipaddress.ip_address(gateway),
                    None if metric is None else int(metric),
                )
            except ValueError as exc:
                raise _no_route(value, f": {exc}") from exc
            if route.destination.version == 6 and getattr(route.gateway, "version", 6) == 4:
                raise RouteError(f"route {value!r}: an IPv6 network has no IPv4 gateway")
            if route.metric is not None:
                check_metric(route.metric)
            return route
        if isinstance(value, (IPv4Network, IPv6Network)):
            return cls(value)
        raise _no_route(value)

    def __str__(self) -> str:
        gateway = "" if self.gateway is None else f" via {self.gateway}"
        metric = "" if self.metric is None else f" metric {self.metric}"
        return f"{self.destination}{gateway}{metric}"


ROUTE = re.compile(r"(\S+)(?: via (\S+))?(?: metric ([0-9]+))?")

RouteLike = str | IPv4Network | IPv6Network | Route
"""A route as users write it: "10.8.0.0/16", "10.8.0.0/16 via 10.9.0.2 metric 50",
"default via fd09::2", an `ipaddress` network, or a `Route`."""


def _no_route(value: object, why: str = "") -> RouteError:
    return RouteError(
        f"{value!r} is not a route{why}; write its network, "
        'like "10.8.0.0/16", "fd08::/64 via fd09::2" or "default metric 50"'
    )


def check_metric(metric: int) -> None:
    """Raise `ConfigError` unless it is the metric of a route."""
    if isinstance(metric, bool) or not isinstance(metric, int) or not 0 <= metric <= METRIC_MAX:
        raise ConfigError(f"metric {metric!r} is out of range: 0 to {METRIC_MAX}")


def parse_addresses(values: AddressLike | Iterable[AddressLike]) -> tuple[Address, ...]:
    """One or several. Raises `AddressError`."""
    if isinstance(values, (str, IPv4Interface, IPv6Interface, Address)):
        return (Address.parse(values),)
    if not isinstance(values, Iterable):
        raise AddressError(f"{values!r} is neither an address nor several")
    return tuple(Address.parse(value) for value in cast("Iterable[AddressLike]", values))


def parse_routes(values: RouteLike | Iterable[RouteLike]) -> tuple[Route, ...]:
    """One or several. Raises `RouteError`."""
    if isinstance(values, (str, IPv4Network, IPv6Network, Route)):
        return (Route.parse(values),)
    if not isinstance(values, Iterable):
        raise RouteError(f"{values!r} is neither a route nor several")
    return tuple(Route.parse(value) for value in values)
