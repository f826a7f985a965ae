"""Routing tables and rules: what ip-route(8) and ip-rule(8) show and change."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import errno
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

from ...addresses import Route
from ...errors import RouteError, UnsupportedError
from .netlink import NetlinkSocket
from .remedies import NO_IPV6, Trouble
from .rtnetlink.links import RTM_GETLINK, decode_link, encode_link
from .rtnetlink.messages import NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL
from .rtnetlink.routes import (
    RT_TABLE_MAIN,
    RTM_DELROUTE,
    RTM_GETROUTE,
    RTM_NEWROUTE,
    RTN_ANYCAST,
    RTN_BROADCAST,
    RTN_LOCAL,
    RTN_MULTICAST,
    RouteEntry,
    as_kept,
    decode_kind,
    decode_route,
    encode_lookup,
    encode_route,
    encode_route_dump,
)
from .rtnetlink.rules import (
    RTM_DELRULE,
    RTM_GETRULE,
    RTM_NEWRULE,
    Rule,
    decode_rule,
    encode_rule,
    encode_rule_dump,
)

__all__ = ["RT_TABLE_MAIN", "RouteEntry", "Routing", "Rule"]


HERE = (RTN_LOCAL, RTN_BROADCAST, RTN_ANYCAST, RTN_MULTICAST)
"""Kinds of routes by which packets come to this host, if not to it alone."""

_NO_WAY = Trouble(
    "the interface leads to no such gateway",
    ("add an address or a route first whose network has the gateway",),
)

TROUBLES = {
    errno.EEXIST: Trouble("it exists already", ()),
    errno.ESRCH: Trouble("it does not exist", ()),
    errno.ENETDOWN: Trouble("the interface is not up", ("set it up first (Device.up)",)),
    errno.ENETUNREACH: _NO_WAY,
    errno.EHOSTUNREACH: _NO_WAY,
}
"""By the errno of adding or removing a route or a rule."""


class Routing:
    """The routing of the network namespace in which the netlink socket was made.

    Calls block for some microseconds. Those that change something raise
    `NotPermittedError`, and `UnsupportedError` where there is no such IP version.
    """

    def __init__(self, netlink: NetlinkSocket) -> None:
        self._netlink = netlink

    def routes(self, table: int = RT_TABLE_MAIN, index: int | None = None) -> list[RouteEntry]:
        """All of a table, those that lead nowhere too; or its routes to one interface."""
        body = encode_route_dump(table, index)
        entries = map(decode_route, self._netlink.request(RTM_GETROUTE, body, NLM_F_DUMP))
        return [
            entry
            for entry in entries
            if entry and entry.table == table and index in (None, entry.index)
        ]

    def add_route(self, route: Route, index: int, table: int = RT_TABLE_MAIN) -> None:
        """A route to the interface; a table comes into being with its first.

        Raises `RouteError` when there is such a route already, or the system refuses it.
        """
        try:
            body = encode_route(index, route, table)
            self._netlink.request(RTM_NEWROUTE, body, NLM_F_CREATE | NLM_F_EXCL)
        except OSError as exc:
            what = f"route {route} cannot be added"
            if exc.errno == errno.EEXIST:
                raise RouteError(
                    f"{what}: {self._in_the_way(route, table)} exists already",
                    exc.errno,
                    remedies=("give it another metric", "remove the other first"),
                ) from exc
            _explain(exc, what)
            raise

    def _in_the_way(self, route: Route, table: int) -> str:
        """The route to the same network with the same metric, as ip-route(8) shows it."""
        wanted = as_kept(route)._replace(gateway=None)
        with suppress(OSError):  # it went meanwhile, or its interface
            for entry in self.routes(table):
                if as_kept(entry.route)._replace(gateway=None) != wanted:
                    continue
                if entry.index is None:
                    return str(entry.route)
                (answer,) = self._netlink.request(RTM_GETLINK, encode_link(entry.index))
                link = decode_link(answer)
                return f"{entry.route} dev {link.name if link else entry.index}"
        return "one with this network and metric"

    def remove_route(self, route: Route, index: int, table: int = RT_TABLE_MAIN) -> None:
        """Raises `RouteError` when it is not there."""
        try:
            self._netlink.request(RTM_DELROUTE, encode_route(index, route, table, delete=True))
        except OSError as exc:
            _explain(exc, f"route {route} cannot be removed")
            raise

    def leads_on(self, address: IPv4Address | IPv6Address) -> bool:
        """Whether what is sent there goes to one other host, and not to this one, nor to several.

        Raises `OSError` where no route leads there: ENETUNREACH, or what the route says.
        """
        (body,) = self._netlink.request(RTM_GETROUTE, encode_lookup(address))
        return decode_kind(body) not in HERE

    def rules(self, version: Literal[4, 6]) -> list[Rule]:
        """The rules of an IP version in the order in which they are asked.

        Those that `Rule` cannot say, as they look at addresses or interfaces, are left out.
        """
        bodies = self._netlink.request(RTM_GETRULE, encode_rule_dump(version), NLM_F_DUMP)
        return [rule for rule in map(decode_rule, bodies) if rule]

    def add_rule(self, rule: Rule) -> None:
        """Raises `RouteError` when there is such a rule."""
        try:
            self._netlink.request(RTM_NEWRULE, encode_rule(rule), NLM_F_CREATE | NLM_F_EXCL)
        except OSError as exc:
            _explain(exc, f"rule {rule} cannot be added")
            raise

    def remove_rule(self, rule: Rule) -> None:
        """Remove the first rule that is equal; one without a priority is equal in all else.

        Raises `RouteError` when there is none.
        """
        # The kernel takes the first that has what was named, whatever else that selects.
        for found in self.rules(rule.version):
            if rule in (found, found._replace(priority=None)):
                self._netlink.request(RTM_DELRULE, encode_rule(found))
                return
        raise RouteError(f"rule {rule} cannot be removed: there is no such rule")


def _explain(exc: OSError, what: str) -> None:
    """Raise what the error means for a route or rule that was to be added or removed."""
    if exc.errno in TROUBLES:
        reason, remedies = TROUBLES[exc.errno]
        raise RouteError(f"{what}: {reason}", exc.errno, remedies=remedies) from exc
    if exc.errno == errno.EINVAL:
        raise RouteError(f"{what}: {exc.strerror}", exc.errno) from exc
    if exc.errno in (errno.EACCES, errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
        raise UnsupportedError(
            errno.EOPNOTSUPP,
            f"{what}: {exc.strerror}",
            remedies=NO_IPV6.remedies,
        ) from exc
