"""Routes and rules to the peers, as `ip` shows them."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import json
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_interface, ip_network
from typing import Any

import pytest

import aiotun
from aiotun.testing import Namespace
from aiotun.wireguard.config import InterfaceConfig, PeerConfig
from aiotun.wireguard.system.linux import Linux

pytestmark = pytest.mark.requires("tun", "netns", "ip")


ADDRESSES = (ip_interface("10.9.0.1/24"), ip_interface("fd09::1/64"))


@pytest.fixture
def device(namespace: Namespace) -> Iterator[aiotun.Device]:
    with namespace.run(aiotun.Device, name="wg9", addresses=ADDRESSES, ipv6_quiet=True) as device:
        yield device


@pytest.fixture
def routes(namespace: Namespace, device: aiotun.Device) -> Iterator[Linux]:
    routes = namespace.run(Linux, device)
    yield routes
    routes.close()


def config(*networks: str, **settings: Any) -> InterfaceConfig:
    """Each network is another peer's."""
    peers = [
        PeerConfig(bytes([number]) * 32, allowed_ips=(ip_network(network),))
        for number, network in enumerate(networks)
    ]
    return InterfaceConfig(addresses=ADDRESSES, peers=tuple(peers), **settings)


def shown(namespace: Namespace, table: object) -> list[str]:
    """The destinations of a table that lead to the device, and are not its own."""
    found = []
    for version in (4, 6):
        words = ("-json", f"-{version}", "route", "show", "table", "all", "dev", "wg9")
        found += [
            route["dst"].replace("default", f"default{version}")
            for route in json.loads(namespace.command("ip", *words, "proto", "static") or "[]")
            if route.get("table", "main") == str(table)
        ]
    return sorted(found)


def rules(namespace: Namespace, version: int) -> list[str]:
    lines = namespace.command("ip", f"-{version}", "rule").splitlines()
    return [line.split(":", 1)[1].strip() for line in lines]


MAIN_FIRST = "from all lookup main suppress_prefixlength 0"
ALL_BUT_OURS = "not from all fwmark 0xca6c lookup 51820"


@pytest.mark.parametrize(
    ("networks", "main", "table", "versions"),
    [
        (["10.1.0.0/16", "fd01::/32"], ["10.1.0.0/16", "fd01::/32"], [], ""),
        (["10.9.0.7/32", "fd09::7/128"], [], [], ""),  # the addresses' own networks lead there
        (["0.0.0.0/0"], [], ["default4"], "4"),
        (["::/0", "10.1.0.0/16"], ["10.1.0.0/16"], ["default6"], "6"),
        (["0.0.0.0/1", "128.0.0.0/1"], [], ["0.0.0.0/1", "128.0.0.0/1"], "4"),
        (["8000::/1", "::/1", "0.0.0.0/1"], ["0.0.0.0/1"], ["8000::/1", "::/1"], "6"),
        (["128.0.0.0/1", "::/1"], ["128.0.0.0/1", "::/1"], [], ""),  # halves of two
        (["0.0.0.0/0", "0.0.0.0/1"], ["0.0.0.0/1"], ["default4"], "4"),
    ],
)  # fmt: skip
def test_where_routes_go(
    namespace: Namespace,
    routes: Linux,
    networks: list[str],
    main: list[str],
    table: list[str],
    versions: str,
) -> None:
    before = [rules(namespace, version) for version in (4, 6)]
    wanted = routes.with_mark(config(*networks))
    assert wanted.fwmark == (51820 if versions else 0)
    for peers in (wanted, InterfaceConfig(), wanted):
        routes.update(replace(wanted, peers=peers.peers))
        assert shown(namespace, "main") == (main if peers.peers else [])
        assert shown(namespace, 51820) == (table if peers.peers else [])
        for version, (local, *others) in zip((4, 6), before, strict=True):
            made = [MAIN_FIRST, ALL_BUT_OURS] if peers.peers and str(version) in versions else []
            assert rules(namespace, version) == [local, *made, *others]
    routes.close()
    assert [rules(namespace, version) for version in (4, 6)] == before


def test_one_that_stays_keeps_its_rules(namespace: Namespace, routes: Linux) -> None:
    """A default route and its halves share them."""
    both = routes.with_mark(config("0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1"))
    for wanted in (both, replace(both, peers=both.peers[:1]), replace(both, peers=both.peers[1:])):
        routes.update(wanted)
        assert rules(namespace, 4)[1:3] == [MAIN_FIRST, ALL_BUT_OURS]
        assert rules(namespace, 4).count(MAIN_FIRST) == 1


def test_tables_and_marks_of_the_file(namespace: Namespace, routes: Linux) -> None:
    routes.update(config("0.0.0.0/0", "10.9.0.7/32", table=1234))
    assert shown(namespace, 1234) == ["10.9.0.7", "default4"]
    assert MAIN_FIRST not in rules(namespace, 4)
    routes.update(config("0.0.0.0/0", table="off"))
    assert shown(namespace, 1234) == shown(namespace, "main") == []
    marked = config("0.0.0.0/0", fwmark=77)
    assert routes.with_mark(marked) is marked
    routes.update(marked)
    assert shown(namespace, 77) == ["default4"]
    assert rules(namespace, 4)[1:3] == [MAIN_FIRST, "not from all fwmark 0x4d lookup 77"]


def test_a_mark_that_is_there_stays_and_a_table_in_use_is_left(
    namespace: Namespace, routes: Linux
) -> None:
    namespace.command("ip", "-6", "route", "add", "fd77::/64", "dev", "wg9", "table", "51820")
    assert routes.with_mark(config("0.0.0.0/0")).fwmark == 51821
    assert routes.with_mark(config("0.0.0.0/0"), 51820).fwmark == 51820


def test_what_a_killed_program_left_behind(
    namespace: Namespace, device: aiotun.Device, routes: Linux
) -> None:
    before = rules(namespace, 4)
    killed = namespace.run(Linux, device)
    everything = killed.with_mark(config("0.0.0.0/0"))
    killed.update(everything)
    namespace.command("ip", "route", "flush", "table", "51820")  # its interface is gone
    routes.update(everything)
    assert rules(namespace, 4) == [before[0], MAIN_FIRST, ALL_BUT_OURS, *before[1:]]
    routes.close()
    assert rules(namespace, 4) == before
    killed.close()


def test_rules_of_others_stay(namespace: Namespace, routes: Linux) -> None:
    namespace.command("ip", "rule", "add", "from", "10.9.0.1", "table", "51820", "pref", "7")
    namespace.command("ip", "rule", "add", "fwmark", "0xca6c", "table", "51820", "pref", "8")
    before = rules(namespace, 4)
    routes.update(routes.with_mark(config("0.0.0.0/0")))
    routes.close()
    assert rules(namespace, 4) == before


def test_a_route_that_others_removed_is_no_error(namespace: Namespace, routes: Linux) -> None:
    routes.update(config("10.1.0.0/16", "10.2.0.0/16"))
    namespace.command("ip", "route", "delete", "10.1.0.0/16", "dev", "wg9")
    routes.update(config("10.2.0.0/16"))
    assert shown(namespace, "main") == ["10.2.0.0/16"]


def test_routes_that_went_are_made_again(namespace: Namespace, routes: Linux) -> None:
    wanted = config("10.1.0.0/16", "0.0.0.0/0", fwmark=51820)
    routes.update(wanted)
    namespace.command("ip", "link", "set", "wg9", "down")
    namespace.command("ip", "link", "set", "wg9", "up")
    namespace.command("ip", "route", "add", "10.1.0.0/16", "dev", "wg9", "proto", "static")
    assert shown(namespace, 51820) == []
    routes.look_again()
    routes.update(wanted)
    assert shown(namespace, "main") == ["10.1.0.0/16"]
    assert shown(namespace, 51820) == ["default4"]
    assert rules(namespace, 4).count(ALL_BUT_OURS) == 1


def test_without_ipv6_the_rest_is_routed(
    namespace: Namespace, caplog: pytest.LogCaptureFixture
) -> None:
    with namespace.run(aiotun.Device, name="wg9", addresses=ADDRESSES[:1]) as device:
        namespace.sysctl("net.ipv6.conf.wg9.disable_ipv6", 1)
        routes = namespace.run(Linux, device)
        routes.update(config("::/1", "0.0.0.0/0", "fd01::/16", "10.1.0.0/16", fwmark=51820))
        assert shown(namespace, "main") == ["10.1.0.0/16"]
        assert shown(namespace, 51820) == ["default4"]
        routes.close()
    assert "fd01::/16" in caplog.text


@pytest.mark.requires("ipv6")
def test_an_mtu_that_is_too_small_for_ipv6(
    namespace: Namespace, device: aiotun.Device, routes: Linux, caplog: pytest.LogCaptureFixture
) -> None:
    """The rest is routed, and all of it once there is IPv6."""
    wanted = config("fd01::/16", "10.1.0.0/16")
    device.mtu = 1279
    routes.update(wanted)
    assert shown(namespace, "main") == ["10.1.0.0/16"]
    assert "no route leads to fd01::/16: " in caplog.text
    assert "1280 or more" in caplog.text
    device.mtu = 1280
    routes.update(wanted)
    assert shown(namespace, "main") == ["10.1.0.0/16", "fd01::/16"]
