"""The settings of interfaces on the BSDs and macOS: on MODELS of their drivers."""

from __future__ import annotations

import pytest
from models.bsds import FreeBSDKernel
from models.devices import Opener
from models.kernel import ModelKernel

import aiotun
from aiotun.addresses import Address, Route
from aiotun.config import Layer
from aiotun.errors import (
    AddressError,
    ClosedError,
    InterfaceGoneError,
    MACError,
    NameInUseError,
    NotPermittedError,
    RouteError,
    UnsupportedError,
)
from aiotun.interfaces import AddressAdded, AddressRemoved, InterfaceGone, LinkChanged

LAYERS: tuple[Layer, ...] = ("tun", "tap")
TWO = ["10.9.0.1/24", "fd09::1/64"]


def texts(device: aiotun.Device) -> list[str]:
    return [str(address) for address in device.addresses()]


def test_addresses(kernel: ModelKernel, opened: Opener) -> None:
    device = opened(addresses=TWO)
    assert texts(device) == TWO
    device.add_address("10.10.0.1 peer 10.10.0.2")
    device.add_address("fd0a::1 peer fd0a::2")
    device.add_address("10.11.0.1 peer 10.11.9.2/24")
    assert texts(device) == [
        *TWO,
        "10.10.0.1 peer 10.10.0.2/32",
        "fd0a::1 peer fd0a::2/128",
        "10.11.0.1 peer 10.11.9.2/24",
    ]
    device.remove_address("10.9.0.1/24")
    device.remove_address("fd0a::1 peer fd0a::2")
    assert texts(device) == [
        "fd09::1/64",
        "10.10.0.1 peer 10.10.0.2/32",
        "10.11.0.1 peer 10.11.9.2/24",
    ]


def test_addresses_that_are_refused(kernel: ModelKernel, opened: Opener) -> None:
    device = opened(addresses=TWO)
    for address in ("10.9.0.1/24", "10.9.0.1/16", "fd09::1/64"):
        with pytest.raises(AddressError, match="already"):
            device.add_address(address)
    for address in ("10.9.0.2/24", "10.9.0.1/16", "fd09::2/64"):
        with pytest.raises(AddressError, match="lacks"):
            device.remove_address(address)
    with pytest.raises(AddressError, match="cannot be added"):
        device.add_address("fd0a::1 peer fd0a::2/64")  # a peer wants 128
    assert texts(device) == TWO


def test_all_addresses_are_set(kernel: ModelKernel, opened: Opener) -> None:
    device = opened(addresses=TWO)
    wanted = ["10.9.0.1/16", "10.12.0.1/24", "fd0b::1/64"]
    device.set_addresses(wanted)
    assert sorted(texts(device)) == sorted(wanted)


def test_link_local_addresses_are_told_without_the_index(
    kernel: ModelKernel, opened: Opener
) -> None:
    device = opened(addresses=["fe80::1234/64"])
    assert texts(device) == ["fe80::1234/64"]
    device.set_addresses([])
    assert texts(device) == ["fe80::1234/64"]


def test_duplicate_detection(kernel: ModelKernel, opened: Opener) -> None:
    flags = [
        kernel.find(opened(layer="tap", addresses=["fd09::1/64"], dad=dad).name).addresses[0].flags
        for dad in (False, True)
    ]
    assert flags == [kernel.system.no_dad, 0]
    assert kernel.system.no_dad == (0 if kernel.system.name in ("NetBSD", "OpenBSD") else 0x20)


def test_the_route_to_the_network(kernel: ModelKernel, opened: Opener) -> None:
    """An address makes one to its peer alone; on a tap the system makes it."""
    tun = opened(addresses=["10.9.0.1/24", "10.10.0.1/32"])
    assert [(str(each.destination), each.prefix) for each in kernel.routes] == [("10.9.0.0", 24)]
    assert tun.routes() == []
    tun.remove_address("10.9.0.1/24")
    assert not kernel.routes
    opened(layer="tap", addresses=["10.12.0.1/24"])
    assert not kernel.routes
    without = opened(addresses=["10.13.0.1/24"], connected_routes=False)
    assert not kernel.routes
    with pytest.raises(UnsupportedError, match="makes the route"):
        without.add_address("fd09::1/64")


def test_routes(kernel: ModelKernel, opened: Opener) -> None:
    routes = ["10.8.0.0/16", "10.7.0.0/16 via 10.9.0.2", "fd08::/64", "10.6.0.1/32", "0.0.0.0/0"]
    device = opened(addresses=TWO, routes=routes)
    assert [str(route) for route in device.routes()] == routes
    with pytest.raises(RouteError, match="File exists"):
        device.add_route("10.8.0.0/16")
    device.remove_route("10.8.0.0/16")
    device.remove_route("fd08::/64")
    with pytest.raises(RouteError, match="cannot be removed"):
        device.remove_route("10.8.0.0/16")
    assert [str(route) for route in device.routes()] == [routes[1], *routes[3:]]
    with pytest.raises(UnsupportedError, match="metric"):
        device.add_route("10.5.0.0/16 metric 3")
    with pytest.raises(RouteError):
        device.add_route("10.4.0.0/16 via 172.16.0.1")


def test_a_route_wants_an_address(kernel: ModelKernel, opened: Opener) -> None:
    device = opened(addresses=["10.9.0.1/24"])
    if kernel.system.names_routes_by_index:
        device.add_route("fd08::/64")
        return
    with pytest.raises(RouteError, match="needs an IPv6 address"):
        device.add_route("fd08::/64")


@pytest.mark.parametrize("layer", LAYERS)
def test_up_and_down(kernel: ModelKernel, opened: Opener, layer: Layer) -> None:
    device = opened(layer=layer)
    assert device.is_up
    assert device.is_running
    device.down()
    assert not device.is_up
    assert not kernel.find(device.name).flags & 1
    device.up()
    assert device.is_up
    down = opened(layer=layer, up=False, addresses=["10.9.0.1/24"])
    assert not down.is_up


def test_up_is_left_alone(kernel: ModelKernel, opened: Opener) -> None:
    """An address sets an interface up; that is undone."""
    device = opened(layer="tap", up=None, addresses=["10.9.0.1/24"])
    up_by_itself = kernel.system.name == "OpenBSD"
    assert device.is_up == up_by_itself


def test_mac(kernel: ModelKernel, opened: Opener) -> None:
    device = opened(layer="tap", mac="02:11:22:33:44:55")
    assert device.mac == "02:11:22:33:44:55"
    device.mac = "02:11:22:33:44:66"
    assert kernel.find(device.name).mac == bytes.fromhex("021122334466")
    tun = opened()
    assert tun.mac is None
    with pytest.raises(MACError):
        tun.mac = "02:11:22:33:44:66"


def test_rename(kernel: ModelKernel, opened: Opener) -> None:
    device, other = opened(), opened()
    if not isinstance(kernel, FreeBSDKernel):
        with pytest.raises(UnsupportedError, match="renames no interfaces"):
            device.name = "vpn0"
        return
    device.name = "vpn0"
    assert device.name == "vpn0"
    with pytest.raises(NameInUseError):
        other.name = "vpn0"
    device.add_address("10.9.0.1/24")
    device.mtu = 1400
    device.close()
    assert {each.name for each in kernel.interfaces.values()} == {"tun1"}


def test_broadcast(kernel: ModelKernel, opened: Opener) -> None:
    device = opened(layer="tap", addresses=["10.9.0.1/24"])
    assert str(device.broadcast) == "10.9.0.255"
    device.broadcast = "10.9.0.127"
    assert str(device.broadcast) == "10.9.0.127"
    assert texts(device) == ["10.9.0.1/24"]
    tun = opened(addresses=["10.10.0.1/24"])
    assert tun.broadcast is None
    with pytest.raises(UnsupportedError):
        tun.broadcast = "10.10.0.127"


def test_statistics(kernel: ModelKernel, opened: Opener) -> None:
    device = opened(addresses=["10.9.0.1/24"])
    interface = kernel.find(device.name)
    for number, counter in enumerate(
        ("opackets", "obytes", "oqdrops", "ipackets", "ibytes", "iqdrops", "ierrors"), 1
    ):
        interface.counters[f"ifi_{counter}"] = number << 33
    found = device.statistics()
    has_drops = kernel.system.name in ("FreeBSD", "OpenBSD")
    assert found.packets_received == 1 << 33
    assert found.bytes_received == 2 << 33
    assert found.dropped_received == (3 << 33 if has_drops else 0)
    assert found.packets_sent == 4 << 33
    assert found.bytes_sent == 5 << 33
    assert found.dropped_sent == 6 << 33
    assert found.errors_sent == 7 << 33


def test_quiet(kernel: ModelKernel, opened: Opener) -> None:
    device = opened(ipv6_quiet=True)
    has_flag = kernel.system.name in ("FreeBSD", "NetBSD")
    assert kernel.find(device.name).nd_flags == (0x1 | 0x8 if has_flag else 0x29)


def test_events(kernel: ModelKernel, opened: Opener) -> None:
    device = opened()
    other = opened(layer="tap")
    device.events(), other.events()
    device.add_address("10.9.0.1/24")
    device.mtu = 1400
    assert device.events() == [
        LinkChanged(device.name, 1400, True),
        AddressAdded(Address.parse("10.9.0.1/24")),
    ]
    assert device.events() == other.events() == []
    device.remove_address("10.9.0.1/24")
    device.down()
    assert device.events() == [
        LinkChanged(device.name, 1400, False, carrier=device.carrier),
        AddressRemoved(Address.parse("10.9.0.1/24")),
    ]
    other.mac = "02:11:22:33:44:55"
    (changed,) = other.events()
    assert isinstance(changed, LinkChanged)
    assert changed.mac == "02:11:22:33:44:55"


def test_events_that_were_lost(kernel: ModelKernel, opened: Opener) -> None:
    device = opened()
    device.events()
    for number in range(1000):
        device.mtu = 1000 + number % 7
    assert kernel.lost
    device.mtu = 1400
    device.add_address("10.9.0.1/24")
    assert device.events() == [
        LinkChanged(device.name, 1400, True),
        AddressAdded(Address.parse("10.9.0.1/24")),
    ]
    assert device.events() == []


def test_deletion(kernel: ModelKernel, opened: Opener) -> None:
    device = opened(addresses=TWO)
    device.events()
    kernel.remove(kernel.find(device.name))
    if kernel.system.name != "macOS":  # which has no message for that, and no such deletion
        assert device.events() == [InterfaceGone()]
        assert device.events() == []
    for ask in (lambda: device.mtu, device.up, device.addresses, device.statistics):
        with pytest.raises(InterfaceGoneError):
            ask()


def test_without_privileges(kernel: ModelKernel, opened: Opener) -> None:
    device = opened(addresses=TWO)
    with kernel.unprivileged():
        assert texts(device) == TWO
        for change in (device.up, lambda: device.add_address("10.8.0.1/24")):
            with pytest.raises(NotPermittedError) as info:
                change()
            assert info.value.remedies == ("run as root",)
        with pytest.raises(NotPermittedError, match="routes"):
            device.add_route("10.8.0.0/16")


def test_after_the_close(kernel: ModelKernel, opened: Opener) -> None:
    device = opened()
    device.close()
    device.close()
    with pytest.raises(ClosedError):
        _ = device.mtu
    assert device.interface.events().read() == []


def test_the_route_is_as_it_was_given(kernel: ModelKernel, opened: Opener) -> None:
    device = opened(addresses=["10.9.0.1/24", "fd09::1/64"])
    route = Route.parse("fd0c::/64 via fd09::2")
    device.add_route(route)
    assert device.routes() == [route]
