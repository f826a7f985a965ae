"""The routes of routing tables."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from socket import AF_INET, AF_INET6, AF_UNSPEC

from ....addresses import Route
from .messages import (
    decode_attributes,
    encode_attribute,
    encode_number,
    get_number,
    malformed,
    unpack,
)

__all__ = [
    "RTM_DELROUTE",
    "RTM_GETROUTE",
    "RTM_NEWROUTE",
    "RTN_ANYCAST",
    "RTN_BROADCAST",
    "RTN_LOCAL",
    "RTN_MULTICAST",
    "RT_TABLE_MAIN",
    "RouteEntry",
    "as_kept",
    "decode_kind",
    "decode_route",
    "encode_again",
    "encode_lookup",
    "encode_route",
    "encode_route_dump",
]

# linux/rtnetlink.h
RTM_NEWROUTE = 24
RTM_DELROUTE = 25
RTM_GETROUTE = 26
RTM_F_CLONED = 0x200
RTA_DST = 1
RTA_OIF = 4
RTA_GATEWAY = 5
RTA_PRIORITY = 6
RTA_TABLE = 15
RTA_VIA = 18
RTNH_F_ONLINK = 4
RT_TABLE_UNSPEC = 0
RT_TABLE_MAIN = 254
RTPROT_UNSPEC = 0
RTPROT_KERNEL = 2
RTPROT_STATIC = 4
RTPROT_RA = 9
RT_SCOPE_UNIVERSE = 0
RT_SCOPE_LINK = 253
RT_SCOPE_NOWHERE = 255
RTN_UNICAST = 1
RTN_LOCAL = 2
RTN_BROADCAST = 3
RTN_ANYCAST = 4
RTN_MULTICAST = 5

ROUTE = struct.Struct("=BBBBBBBBI")
"""struct rtmsg: family, prefix length, that of the source, ToS, table, protocol, scope, type,
flags."""

VIA = struct.Struct("=H")
"""struct rtvia: family, and the address behind it."""

IPV6_METRIC = 1024
"""IP6_RT_PRIO_USER (include/net/ip6_fib.h): an IPv6 route's metric when it was given none, or 0."""


@dataclass(frozen=True)
class RouteEntry:
    """A route as it stands in a table."""

    route: Route
    table: int
    index: int | None
    """Of the interface; None for several ways, and for a route that leads nowhere."""
    protocol: int
    """The origin of the route: RTPROT_KERNEL, RTPROT_STATIC …"""
    kind: int
    """RTN_UNICAST, or what else becomes of the packets (blackhole, unreachable …)."""

    @property
    def is_configured(self) -> bool:
        """Whether it leads to an interface, and is not the system's own: connected routes and
        those that routers announce are."""
        own = self.protocol in (RTPROT_KERNEL, RTPROT_RA)
        return self.kind == RTN_UNICAST and self.index is not None and not own


def encode_route(
    index: int, route: Route, table: int = RT_TABLE_MAIN, *, delete: bool = False
) -> bytes:
    """A route to an interface to add (RTM_NEWROUTE) or to remove (RTM_DELROUTE)."""
    family = _family(route.destination.version)
    protocol, scope = RTPROT_STATIC, RT_SCOPE_UNIVERSE
    if delete:
        protocol, scope = RTPROT_UNSPEC, RT_SCOPE_NOWHERE  # whatever they are
    elif route.gateway is None and family == AF_INET:
        scope = RT_SCOPE_LINK
    body = (
        _header(family, route.destination.prefixlen, table, protocol, scope, RTN_UNICAST)
        + encode_attribute(RTA_DST, route.destination.network_address.packed)
        + encode_number(RTA_OIF, index)
        + encode_number(RTA_TABLE, table)
    )
    if route.gateway is not None:
        gateway = route.gateway.packed
        if route.gateway.version == route.destination.version:
            body += encode_attribute(RTA_GATEWAY, gateway)
        else:
            body += encode_attribute(RTA_VIA, VIA.pack(_family(route.gateway.version)) + gateway)
    if route.metric is not None:
        body += encode_number(RTA_PRIORITY, route.metric)
    return body


def encode_again(body: bytes) -> bytes:
    """The body of an RTM_NEWROUTE that the kernel sent as one that it takes, with all it says.

    What the route's state was stays behind: its flags but for RTNH_F_ONLINK.
    """
    fields = unpack(ROUTE, body, 0)
    return ROUTE.pack(*fields[:-1], fields[-1] & RTNH_F_ONLINK) + body[ROUTE.size :]


def encode_route_dump(table: int = RT_TABLE_UNSPEC, index: int | None = None) -> bytes:
    """Ask for routes (RTM_GETROUTE): of one table or of all, to one interface or to any.

    Kernels before 4.20 look at neither and send all.
    """
    body = _header(AF_UNSPEC, 0, table) + encode_number(RTA_TABLE, table)
    return body if index is None else body + encode_number(RTA_OIF, index)


def encode_lookup(address: IPv4Address | IPv6Address) -> bytes:
    """Ask which route a packet takes that this program sends there (RTM_GETROUTE)."""
    header = _header(_family(address.version), address.max_prefixlen, RT_TABLE_UNSPEC)
    return header + encode_attribute(RTA_DST, address.packed)


def decode_kind(body: bytes) -> int:
    """Of the RTM_NEWROUTE that answers: RTN_UNICAST and its like."""
    kind: int = unpack(ROUTE, body, 0)[7]
    return kind


def decode_route(body: bytes) -> RouteEntry | None:
    """The body of RTM_NEWROUTE; None for what is not IP, or only remembered of a route."""
    family, prefix, _, _, table, protocol, _, kind, flags = unpack(ROUTE, body, 0)
    if family not in (AF_INET, AF_INET6) or flags & RTM_F_CLONED:
        return None
    attributes = decode_attributes(body, ROUTE.size)
    network = attributes.get(RTA_DST, bytes(4 if family == AF_INET else 16))
    gateway = attributes.get(RTA_GATEWAY, attributes.get(RTA_VIA, b"")[VIA.size :])
    try:
        route = Route(
            ip_network((network, prefix)),
            ip_address(gateway) if gateway else None,
            get_number(attributes, RTA_PRIORITY),
        )
    except ValueError as exc:
        raise malformed(str(exc)) from exc
    return RouteEntry(
        route,
        get_number(attributes, RTA_TABLE) or table,
        get_number(attributes, RTA_OIF),
        protocol,
        kind,
    )


def as_kept(route: Route) -> Route:
    """The route with the metric that the kernel gives it: 0 is none for IPv4, and none is
    1024 for IPv6."""
    default = None if route.destination.version == 4 else IPV6_METRIC
    return route._replace(metric=route.metric or default)


def _header(
    family: int, prefix: int, table: int, protocol: int = 0, scope: int = 0, kind: int = 0
) -> bytes:
    """The field for the table has eight bits; RTA_TABLE says what does not fit."""
    table = table if table <= 0xFF else RT_TABLE_UNSPEC
    return ROUTE.pack(family, prefix, 0, 0, table, protocol, scope, kind, 0)


def _family(version: int) -> int:
    return AF_INET if version == 4 else AF_INET6
