"""Routes to peers, and to their endpoints, on the MODELS of macOS and the BSDs."""

from __future__ import annotations

import sys

assert sys.platform == "linux"  # on which the models run

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from models.devices import open_on_model
from models.kernel import ModelKernel, Route
from rigs import until

import aiotun
from aiotun.platforms.bsd.headers import common
from aiotun.wireguard.config import InterfaceConfig, PeerConfig
from aiotun.wireguard.system.bsd import Bsd

ADDRESSES = (ip_interface("10.9.0.1/24"), ip_interface("fd09::1/64"))

HALVES = ["0.0.0.0/1", "128.0.0.0/1"]


class NoDNS:
    def set(self, servers: list[str], domains: list[str]) -> str | None:
        return None

    def close(self) -> None:
        pass


@pytest.fixture
def device(kernel: ModelKernel) -> Iterator[aiotun.Device]:
    with open_on_model(kernel, addresses=ADDRESSES, ipv6_quiet=True) as device:
        yield device
    assert not kernel.listeners


@pytest.fixture
def system(kernel: ModelKernel, device: aiotun.Device) -> Iterator[Bsd]:
    before = sorted(map(str, kernel.routes))
    system = Bsd(kernel.system(kernel), device.index, NoDNS())
    yield system
    system.close()
    assert sorted(map(str, kernel.routes)) == before


def config(*networks: str, **settings: Any) -> InterfaceConfig:
    """Each network is another peer's."""
    peers = [
        PeerConfig(bytes([number]) * 32, allowed_ips=(ip_network(network),))
        for number, network in enumerate(networks)
    ]
    return InterfaceConfig(addresses=ADDRESSES, peers=tuple(peers), **settings)


class Shown:
    """What stands in the table of the model beside what was there."""

    def __init__(self, kernel: ModelKernel, device: aiotun.Device) -> None:
        self._kernel = kernel
        self._index = device.index
        self._before = kernel.routes[:]

    def _new(self) -> list[Route]:
        return [route for route in self._kernel.routes if route not in self._before]

    @property
    def networks(self) -> list[str]:
        """Those that lead to the device."""
        return sorted(
            f"{route.destination}/{route.prefix}"
            for route in self._new()
            if route.index == self._index
        )

    @property
    def hosts(self) -> dict[str, str]:
        """Others, by the gateway or the interface to which they lead."""
        return {
            str(route.destination): "nowhere"
            if route.flags & common.RTF_BLACKHOLE
            else str(route.gateway or self._kernel.name(route.index))
            for route in self._new()
            if route.index != self._index
        }


@pytest.fixture
def shown(kernel: ModelKernel, device: aiotun.Device) -> Shown:
    return Shown(kernel, device)


@pytest.mark.parametrize(
    ("networks", "routes"),
    [
        (["10.1.0.0/16", "fd01::/32"], ["10.1.0.0/16", "fd01::/32"]),
        (["10.9.0.7/32", "fd09::7/128"], []),  # the addresses' own networks lead there
        (["0.0.0.0/0"], HALVES),
        (["::/0", "10.1.0.0/16"], ["10.1.0.0/16", "8000::/1", "::/1"]),
        (["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1"], HALVES),
    ],
)
def test_where_routes_go(system: Bsd, shown: Shown, networks: list[str], routes: list[str]) -> None:
    wanted = config(*networks)
    assert system.with_mark(wanted) is wanted
    for peers in (wanted, InterfaceConfig(), wanted):
        system.update(replace(wanted, peers=peers.peers), [])
        assert shown.networks == (routes if peers.peers else [])
    assert shown.hosts == {}


def test_routes_that_went_are_made_again(
    kernel: ModelKernel, device: aiotun.Device, system: Bsd, shown: Shown
) -> None:
    wanted = config("10.1.0.0/16", "10.2.0.0/16")
    system.update(wanted, [])
    gone = [each for each in kernel.routes if str(each.destination) == "10.1.0.0"]
    change(kernel, kernel.routes.remove, *gone)
    system.update(wanted, [])
    assert shown.networks == ["10.2.0.0/16"]
    system.look_again()
    system.update(wanted, [])
    assert shown.networks == ["10.1.0.0/16", "10.2.0.0/16"]


def test_tables_of_the_file(system: Bsd, shown: Shown) -> None:
    system.update(config("0.0.0.0/1", "10.1.0.0/16", table=254), [])
    assert shown.networks == ["0.0.0.0/1", "10.1.0.0/16"]
    system.update(config("0.0.0.0/0", table="off"), [])
    assert shown.networks == []
    with pytest.raises(aiotun.UnsupportedError, match="leave Table out"):
        system.with_mark(config("0.0.0.0/0", table=7))


@pytest.mark.parametrize(
    ("networks", "host", "way"),
    [
        (["0.0.0.0/0"], "203.0.113.5", "192.0.2.1"),
        (["0.0.0.0/0"], "::ffff:203.0.113.5", "192.0.2.1"),  # as a socket of both versions has it
        (["::/0"], "2001:db8:5::5", "fe80::1"),  # a link-local gateway, with its interface
        (["203.0.113.0/24"], "203.0.113.5", "192.0.2.1"),  # in a network of a peer
        (["192.0.2.0/25"], "192.0.2.9", "em0"),  # a neighbour
        (["0.0.0.0/0"], "192.0.2.9", None),  # its own network is the better route
        (["0.0.0.0/0"], "2001:db8:5::5", None),  # of the other version
        (["10.1.0.0/16"], "203.0.113.5", None),
    ],
)
def test_endpoints_stay_outside(
    system: Bsd, shown: Shown, networks: list[str], host: str, way: str | None
) -> None:
    plain = host.removeprefix("::ffff:")
    system.update(config(*networks), [host])
    assert shown.hosts == ({} if way is None else {plain: way})
    system.update(config(), [host])
    assert shown.hosts == {}


@pytest.mark.parametrize("flags", ["RTF_HOST", "RTF_REJECT", "RTF_BLACKHOLE", "RTF_IFSCOPE"])
def test_routes_that_say_nothing(
    system: Bsd, kernel: ModelKernel, shown: Shown, flags: str
) -> None:
    """What the system made for a host, what leads nowhere, and what only some sockets know."""
    flag = getattr(kernel.headers, flags, None) or getattr(common, flags, None)
    if flag is None:
        return  # macOS alone has scopes
    route = Route(
        ip_address("203.0.113.5"),
        32,
        ip_address("198.51.100.1"),
        kernel.index("em1"),
        common.RTF_UP
        | common.RTF_GATEWAY
        | flag
        | (0 if flags == "RTF_HOST" else common.RTF_STATIC),
    )
    change(kernel, kernel.routes.append, route)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "change_route", lambda message: asked.append(message))
        asked: list[bytes] = []
        system.update(config("0.0.0.0/0"), ["203.0.113.5"])
        assert ip_address("192.0.2.1").packed in asked[0]
        system.update(config(), [])
    change(kernel, kernel.routes.remove, route)


def test_endpoints_that_come_and_go(system: Bsd, shown: Shown) -> None:
    system.update(config("0.0.0.0/0"), ["203.0.113.5"])
    system.update(config("0.0.0.0/0"), ["203.0.113.5", "203.0.113.6"])
    assert set(shown.hosts) == {"203.0.113.5", "203.0.113.6"}
    system.update(config("0.0.0.0/0"), ["203.0.113.6"])
    assert set(shown.hosts) == {"203.0.113.6"}


async def test_gateways_and_peers_are_followed(
    system: Bsd, kernel: ModelKernel, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiotun.wireguard.system.following.INTERVAL", 0.01)
    hosts = {"203.0.113.5"}
    system.update(config("0.0.0.0/0"), hosts)
    following = asyncio.ensure_future(system.follow(lambda: set(hosts)))
    hosts.add("203.0.113.6")
    await until(lambda: len(shown.hosts) == 2)
    (old,) = (
        each for each in kernel.routes if str(each.gateway) == "192.0.2.1" and not each.prefix
    )
    new = replace(old, gateway=ip_address("198.51.100.1"), index=kernel.find("em1").index)
    change(kernel, kernel.routes.remove, old)
    await until(lambda: set(shown.hosts.values()) == {"nowhere"})  # not round in circles
    change(kernel, kernel.routes.append, new)
    await until(lambda: list(shown.hosts.values()) == ["198.51.100.1"] * 3)  # itself, too
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following
    change(kernel, kernel.routes.remove, new)
    change(kernel, kernel.routes.append, old)


def test_a_look_that_comes_after_the_end(system: Bsd, shown: Shown) -> None:
    system.update(config("0.0.0.0/0"), ["203.0.113.5"])
    system.close()
    system._look(["203.0.113.6"])
    assert shown.hosts == {}


def test_domains_that_are_not_searched(system: Bsd, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(system._dns, "set", lambda *words: asked.append(words))
    system.set_dns(["10.9.0.1", "~.", "example.net", "~corp.example"])
    assert asked == [(["10.9.0.1"], ["example.net"])]


def change(kernel: ModelKernel, function: Callable[[Route], None], route: Route) -> None:
    """As another program does."""
    with kernel.routing:
        function(route)
        kernel.announce(kernel.route_message(route))
