"""Routing tables and rules, as `ip route` and `ip rule` see and make them."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import json
from collections.abc import Iterator
from typing import Any, Literal

import outside
import pytest
import restricted

from aiotun.addresses import Route
from aiotun.errors import NotPermittedError, RouteError
from aiotun.platforms.linux.interface import LinuxInterface
from aiotun.platforms.linux.netlink import NetlinkSocket
from aiotun.platforms.linux.routing import RT_TABLE_MAIN, Routing, Rule
from aiotun.platforms.linux.threads import in_thread
from aiotun.testing.namespace import Namespace

pytestmark = pytest.mark.requires("tun", "netns")

VERSIONS = pytest.mark.parametrize("version", [4, 6])
NETWORKS = {4: Route.parse("10.8.0.0/16"), 6: Route.parse("fd08::/32")}
DEFAULTS = {4: Route.parse("0.0.0.0/0"), 6: Route.parse("::/0")}


@pytest.fixture
def interface(namespace: Namespace) -> Iterator[LinuxInterface]:
    addresses = ["10.9.0.1/24", "fd09::1/64"]
    with outside.opened(namespace, name="t0", addresses=addresses, ipv6_quiet=True) as (found, _):
        yield found


@pytest.fixture
def routing(namespace: Namespace) -> Iterator[Routing]:
    with namespace.run(NetlinkSocket) as netlink:
        yield Routing(netlink)


def ip(namespace: Namespace, *words: object) -> Any:
    return json.loads(namespace.command("ip", "-json", *map(str, words)) or "[]")


@pytest.mark.interop
@pytest.mark.requires("ip")
@VERSIONS
@pytest.mark.parametrize("table", [100, 51820, 2**32 - 1])
def test_routes_of_a_table(
    namespace: Namespace, interface: LinuxInterface, routing: Routing, version: int, table: int
) -> None:
    def shown() -> list[dict[str, Any]]:
        found = ip(namespace, f"-{version}", "route", "show", "table", "all")
        return [route for route in found if route.get("table") == str(table)]

    before = routing.routes()
    assert routing.routes(table) == []
    routing.add_route(DEFAULTS[version], interface.index, table)
    routing.add_route(NETWORKS[version], interface.index, table)
    assert {(route["dst"], route["dev"]) for route in shown()} == {
        ("default", "t0"),
        (str(NETWORKS[version].destination), "t0"),
    }
    assert {entry.route._replace(metric=None) for entry in routing.routes(table)} == {
        DEFAULTS[version],
        NETWORKS[version],
    }
    assert routing.routes(RT_TABLE_MAIN) == before
    routing.remove_route(DEFAULTS[version], interface.index, table)
    routing.remove_route(NETWORKS[version], interface.index, table)
    assert not shown()
    assert not routing.routes(table)


@pytest.mark.interop
@pytest.mark.requires("ip")
@VERSIONS
def test_a_route_that_leads_nowhere_fills_a_table_too(
    namespace: Namespace, routing: Routing, version: int
) -> None:
    namespace.command("ip", f"-{version}", "route", "add", "unreachable", "default", "table", "77")
    (entry,) = routing.routes(77)
    assert entry.route.destination == DEFAULTS[version].destination
    assert not entry.is_configured


@pytest.mark.interop
@pytest.mark.requires("ip")
def test_a_gateway_of_the_other_family(
    namespace: Namespace, interface: LinuxInterface, routing: Routing
) -> None:
    routing.add_route(Route.parse("10.7.0.0/16 via fd09::2"), interface.index, 77)
    (route,) = ip(namespace, "route", "show", "table", "77")
    assert route["via"] == {"family": "inet6", "host": "fd09::2"}
    routing.remove_route(Route.parse("10.7.0.0/16 via fd09::2"), interface.index, 77)
    namespace.command("ip", "route", "add", "10.7.0.0/16", "via", "inet6", "fd09::2", "dev", "t0")
    assert [str(route) for route in interface.routes()] == ["10.7.0.0/16 via fd09::2"]


RULES = {
    "all": ({}, [], {}),
    "mark": ({"fwmark": 0xCA6C}, ["fwmark", "0xca6c"], {"fwmark": "0xca6c"}),
    "not that mark": (
        {"fwmark": 0xCA6C, "inverted": True},
        ["not", "fwmark", "0xca6c"],
        {"fwmark": "0xca6c", "not": None},
    ),
    "no default routes": (
        {"suppress_prefixlength": 0},
        ["suppress_prefixlength", "0"],
        {"suppress_prefixlen": 0},
    ),
    "priority": ({"priority": 77}, ["priority", "77"], {"priority": 77}),
}


@pytest.mark.interop
@pytest.mark.requires("ip")
@VERSIONS
@pytest.mark.parametrize(("settings", "words", "shown"), RULES.values(), ids=RULES)
def test_rules(
    namespace: Namespace,
    routing: Routing,
    version: Literal[4, 6],
    settings: dict[str, Any],
    words: list[str],
    shown: dict[str, Any],
) -> None:
    rule = Rule(version, 51820, **settings)

    def listed() -> list[dict[str, Any]]:
        return list(ip(namespace, f"-{version}", "rule", "show", "table", "51820"))

    routing.add_rule(rule)
    (found,) = listed()
    assert shown.items() <= found.items()
    assert [known for known in routing.rules(version) if known.table == 51820] == [
        rule._replace(priority=found["priority"])
    ]
    routing.remove_rule(rule)
    assert listed() == []
    # ip takes what a rule is called, and what ip adds is the same rule.
    namespace.command("ip", f"-{version}", "rule", "add", *words, "table", "51820")
    namespace.command("ip", f"-{version}", "rule", "delete", *str(rule).split())
    namespace.command("ip", f"-{version}", "rule", "add", *str(rule).split())
    routing.remove_rule(rule)
    assert listed() == []


@VERSIONS
def test_errors(routing: Routing, interface: LinuxInterface, version: Literal[4, 6]) -> None:
    rule = Rule(version, 100, 1, priority=50)
    routing.add_rule(rule)
    with pytest.raises(
        RouteError, match=r"rule priority 50 fwmark 0x1 table 100 .*added: it exists already$"
    ):
        routing.add_rule(rule)
    routing.remove_rule(rule)
    with pytest.raises(RouteError, match=r"fwmark 0x1 table 100 cannot be removed: there is no"):
        routing.remove_rule(rule)
    routing.add_route(NETWORKS[version], interface.index, 100)
    with pytest.raises(RouteError, match="cannot be added"):
        routing.add_route(NETWORKS[version], interface.index, 100)
    routing.remove_route(NETWORKS[version], interface.index, 100)
    with pytest.raises(RouteError, match="cannot be removed"):
        routing.remove_route(NETWORKS[version], interface.index, 100)


def test_only_the_rule_that_is_equal_is_removed(routing: Routing) -> None:
    """The kernel itself takes the first that has what was named."""
    others = [Rule(4, 100, 1, priority=10), Rule(4, 100, 1, True, priority=20)]
    mine = [Rule(4, 100, priority=30), Rule(4, 100, priority=40)]
    for rule in (*others, *mine):
        routing.add_rule(rule)
    routing.remove_rule(Rule(4, 100))
    left = [rule for rule in routing.rules(4) if rule.table == 100]
    assert left == [*others, mine[1]]


def test_without_the_capability(namespace: Namespace) -> None:
    def attempt() -> None:
        restricted.drop_capabilities(restricted.CAP_NET_ADMIN)
        with NetlinkSocket() as netlink:
            routing = Routing(netlink)
            assert routing.rules(4)
            with pytest.raises(NotPermittedError, match=r"CAP_NET_ADMIN.*sudo"):
                routing.add_rule(Rule(4, 100))

    namespace.run(in_thread, attempt)
