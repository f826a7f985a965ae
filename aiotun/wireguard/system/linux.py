"""Linux: routes by rtnetlink as wg-quick makes them, DNS by the programs that it calls.

A network goes to the main table. All there is, be it a default route or its two halves, goes to
a table of its own: our datagrams, which carry that table's number as a mark, are routed without it.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import contextlib
import dataclasses
import errno
import itertools
import logging
from collections.abc import Collection, Iterable
from typing import NamedTuple

from ...addresses import Route
from ...config import MTU_MIN_IPV6
from ...device import Device
from ...errors import RouteError, UnsupportedError
from ...platforms.linux.netlink import NetlinkSocket
from ...platforms.linux.routing import RT_TABLE_MAIN, Routing, Rule
from ..config import InterfaceConfig
from ..core.allowed_ips import Network
from .base import System, allowed_ips, beyond, everything
from .linux_dns import LinuxDNS

__all__ = ["Linux"]

logger = logging.getLogger("aiotun.wireguard")

FIRST_TABLE = 51820
"""wg-quick's first choice."""


class Linux(System):
    """One interface's routes, and the rules by which they are found: some microseconds a route."""

    def __init__(self, device: Device) -> None:
        self._index = device.index
        self._dns = LinuxDNS(device.name)
        self._netlink = NetlinkSocket()
        self._routing = Routing(self._netlink)
        self._present = _Plan({}, set())

    def with_mark(self, config: InterfaceConfig, present: int = 0) -> InterfaceConfig:
        """If all there is leads to the peers: the number of the first table that is empty."""
        if config.table != "auto" or config.fwmark or not everything(allowed_ips(config)):
            return config
        return dataclasses.replace(config, fwmark=present or self._empty_table())

    def _empty_table(self) -> int:
        return next(
            table for table in itertools.count(FIRST_TABLE) if not self._routing.routes(table)
        )

    def update(self, config: InterfaceConfig, endpoints: Collection[str] = ()) -> None:
        wanted, present = _plan(config), self._present
        for network, table in list(present.routes.items()):
            if wanted.routes.get(network) != table:
                del present.routes[network]
                with contextlib.suppress(RouteError):  # others have removed it
                    self._routing.remove_route(Route.parse(network), self._index, table)
        for rule in present.rules - wanted.rules:
            self._remove_rules(rule)
        for rule in wanted.rules - present.rules:
            self._add_rules(rule)
        for network, table in wanted.routes.items():
            if network not in present.routes:
                self._add_route(network, table)

    def look_again(self) -> None:
        routes = self._present.routes
        there = {
            (entry.route.destination, table)
            for table in set(routes.values())
            for entry in self._routing.routes(table, self._index)
        }
        for network, table in list(routes.items()):
            if (network, table) not in there:
                del routes[network]

    def set_dns(self, words: Iterable[str]) -> str | None:
        return self._dns.set(words)

    def close(self) -> None:
        """Take the rules away; the routes go with the interface."""
        self._dns.close()
        with self._netlink:
            for rule in list(self._present.rules):
                self._remove_rules(rule)

    def _add_route(self, network: Network, table: int) -> None:
        try:
            self._routing.add_route(Route.parse(network), self._index, table)
        except UnsupportedError as exc:  # nothing of that IP version can be routed
            logger.warning("%s", exc)
        except OSError as exc:
            if exc.errno != errno.ENODEV or network.version == 4:
                raise
            logger.warning(
                "no route leads to %s: the interface has no IPv6, for which its MTU must be %d or "
                "more",
                network,
                MTU_MIN_IPV6,
            )
        else:
            self._present.routes[network] = table

    def _add_rules(self, rule: Rule) -> None:
        """What is not marked goes by the table, unless the main one knows more of its destination
        than a default route. The system puts each rule before those that are there."""
        self._remove_rules(rule)  # those that a killed program left behind
        try:
            self._routing.add_rule(rule)
        except UnsupportedError as exc:
            logger.warning("%s", exc)
            return
        self._present.rules.add(rule)
        self._routing.add_rule(_main_first(rule))

    def _remove_rules(self, rule: Rule) -> None:
        """By priority: other interfaces have the rule of the main table too, before their own."""
        self._present.rules.discard(rule)
        for found in self._routing.rules(rule.version):
            if found._replace(priority=None) == rule and found.priority:
                self._routing.remove_rule(found)
                with contextlib.suppress(RouteError):
                    before = found.priority - 1
                    self._routing.remove_rule(_main_first(rule)._replace(priority=before))


class _Plan(NamedTuple):
    """What an interface needs of the system, or has."""

    routes: dict[Network, int]
    """Each network with the table in which its route stands."""
    rules: set[Rule]
    """The rules that send unmarked packets to a table other than the main one."""


def _plan(config: InterfaceConfig) -> _Plan:
    if isinstance(config.table, int):
        return _Plan(dict.fromkeys(allowed_ips(config), config.table), set())
    networks = beyond(config)
    default = everything(networks)
    mark = config.fwmark
    return _Plan(
        {network: mark if network in default else RT_TABLE_MAIN for network in networks},
        {Rule(network.version, mark, mark, inverted=True) for network in default},
    )


def _main_first(rule: Rule) -> Rule:
    return Rule(rule.version, RT_TABLE_MAIN, suppress_prefixlength=0)
