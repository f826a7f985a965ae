"""Routes and DNS on Windows, on the stand-in for iphlpapi."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Iterator
from ipaddress import ip_interface, ip_network
from typing import Any

import pytest
from rigs import until
from standin import Card, Far, StandIn, configured

import aiotun
from aiotun.platforms import windows
from aiotun.platforms.windows.structs import AF_INET
from aiotun.wireguard.config import InterfaceConfig, PeerConfig
from aiotun.wireguard.system.windows import IP_UNICAST_IF, LOOPBACK, Windows

CARDS = {"Ethernet": 11, "Wi-Fi": 12}
"""Network cards and their indices."""

HOST = "203.0.113.5"

EVERYTHING = ("0.0.0.0/0", "::/0")


class Sock:
    """What is set on a socket of both versions."""

    family = socket.AF_INET6

    def __init__(self) -> None:
        self.bound: dict[int, int] = {}

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        assert option == IP_UNICAST_IF
        order = "!I" if level == socket.IPPROTO_IP else "=I"
        self.bound[level] = struct.unpack(order, value)[0]


class WireGuard:
    def __init__(self, device: aiotun.Device) -> None:
        self.device = device
        self.sock: Any = Sock()

    def prepare_sockets(self, prepare: Callable[[socket.socket], None]) -> None:
        prepare(self.sock)

    @property
    def way(self) -> tuple[int, int]:
        """Where IPv4 and IPv6 go out."""
        bound = self.sock.bound
        return bound.get(socket.IPPROTO_IP, 0), bound.get(socket.IPPROTO_IPV6, 0)


@pytest.fixture
def device(standin: StandIn) -> Iterator[aiotun.Device]:
    with aiotun.Device(**configured(name="wg0", addresses="10.9.0.1/24")) as device:
        yield device


@pytest.fixture
def wireguard(device: aiotun.Device) -> WireGuard:
    return WireGuard(device)


@pytest.fixture
def system(wireguard: Any) -> Iterator[Windows]:
    with contextlib.closing(Windows(wireguard)) as system:
        yield system


@pytest.fixture
def cards(standin: StandIn) -> Iterator[list[Card]]:
    with contextlib.ExitStack() as stack:
        cards = [Card(standin, *each) for each in CARDS.items()]
        for card in cards:
            stack.callback(card.close)
        yield cards


def config(*networks: str, **settings: Any) -> InterfaceConfig:
    allowed = tuple(ip_network(network) for network in networks)
    return InterfaceConfig(
        bytes(32),
        addresses=(ip_interface("10.9.0.1/24"),),
        peers=(PeerConfig(bytes(32), allowed_ips=allowed),),
        **settings,
    )


def routes(device: aiotun.Device) -> set[str]:
    return {str(route.destination) for route in device.routes()}


def test_routes_come_and_go(system: Windows, device: aiotun.Device, wireguard: WireGuard) -> None:
    system.update(config("10.9.0.2/32", "10.10.0.0/16", "fd00::/64"), [HOST])
    assert routes(device) == {"10.10.0.0/16", "fd00::/64"}
    system.update(config("10.11.0.0/16"), [HOST])
    assert routes(device) == {"10.11.0.0/16"}
    assert wireguard.way == (0, 0)
    system.close()
    assert routes(device) == set()


def test_none_are_made_where_they_are_not_wanted(system: Windows, device: aiotun.Device) -> None:
    system.update(config(*EVERYTHING, table="off"), [HOST])
    assert routes(device) == set()
    with pytest.raises(aiotun.UnsupportedError, match="on Windows routes to peers"):
        system.with_mark(config(table=7))
    assert system.with_mark(config(table=254)) == config(table=254)


def test_a_default_route_is_the_first_and_our_datagrams_go_around_it(
    system: Windows, device: aiotun.Device, wireguard: WireGuard, cards: list[Card]
) -> None:
    ethernet, wifi = cards
    ethernet.route("0.0.0.0/0", 30)
    wifi.route("0.0.0.0/0", 20)
    ethernet.route("::/0", 0)
    assert metric_is_automatic(device)
    system.update(config(*EVERYTHING), [HOST])
    assert routes(device) == set(EVERYTHING)
    interface = device.interface
    assert isinstance(interface, windows.WindowsInterface)
    assert (interface.metric(4), interface.metric(6)) == (0, 0)
    assert not metric_is_automatic(device)
    assert wireguard.way == (CARDS["Wi-Fi"], CARDS["Ethernet"])
    system.update(config("10.10.0.0/16"), [HOST])
    assert routes(device) == {"10.10.0.0/16"}
    assert wireguard.way == (0, 0)
    assert metric_is_automatic(device)


def metric_is_automatic(device: aiotun.Device) -> bool:
    interface = device.interface
    assert isinstance(interface, windows.WindowsInterface)
    return bool(interface._ip_interface(AF_INET).UseAutomaticMetric)


def test_where_nothing_leads_out_it_leads_nowhere(
    system: Windows, wireguard: WireGuard, cards: list[Card]
) -> None:
    system.update(config(*EVERYTHING), [])
    assert wireguard.way == (LOOPBACK, LOOPBACK)


@pytest.mark.parametrize("host", [HOST, f"::ffff:{HOST}"])
def test_a_network_that_an_endpoint_is_in(
    system: Windows, wireguard: WireGuard, cards: list[Card], host: str
) -> None:
    cards[0].route("0.0.0.0/0", 0)
    system.update(config("203.0.113.0/24"), ["198.51.100.7"])
    assert wireguard.way == (0, 0)
    system.update(config("203.0.113.0/24"), [host, "fe80::1%7"])
    assert wireguard.way == (CARDS["Ethernet"], 0)


async def test_changes_are_followed(
    system: Windows,
    wireguard: WireGuard,
    cards: list[Card],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aiotun.wireguard.system.following.INTERVAL", 0.01)
    ethernet, wifi = cards
    ethernet.route("0.0.0.0/0", 5)
    system.update(config("0.0.0.0/0"), [])
    assert wireguard.way == (CARDS["Ethernet"], 0)
    following = asyncio.ensure_future(system.follow(lambda: {HOST}))
    wifi.route("0.0.0.0/0", 1)
    await until(lambda: wireguard.way == (CARDS["Wi-Fi"], 0))
    wifi.unroute("0.0.0.0/0")
    await until(lambda: wireguard.way == (CARDS["Ethernet"], 0))
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


def test_without_ipv6(standin: StandIn, system: Windows, device: aiotun.Device) -> None:
    standin.call("Ipv6", 0)
    system.update(config(*EVERYTHING), [HOST])
    assert routes(device) == {"0.0.0.0/0"}


def test_dns_is_set_and_undone(standin: StandIn, system: Windows, device: aiotun.Device) -> None:
    far = Far(standin, "wg0")
    assert system.set_dns(["10.9.0.53", "fd00::53", "corp.example", "~x.example"]) is None
    asked = [far.call("Dns", v6, search) for v6 in (0, 1) for search in (0, 1)]
    assert asked == ["10.9.0.53", "corp.example", "fd00::53", "corp.example"]
    system.close()
    assert [far.call("Dns", v6, search) for v6 in (0, 1) for search in (0, 1)] == [""] * 4


def test_dns_that_somebody_forbids_is_told(standin: StandIn, system: Windows) -> None:
    standin.fail("SetInterfaceDnsSettings", 5)
    missing = system.set_dns(["10.9.0.53"])
    assert missing is not None
    assert "may not change its DNS servers" in missing
