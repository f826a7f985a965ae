"""What settings are about on the BSDs and macOS alone: on MODELS of their drivers.

What holds on every system, `tests/platforms/test_settings.py` asks of them too.
"""

from __future__ import annotations

import pytest
from models.devices import Opener
from models.kernel import ModelKernel

import aiotun
from aiotun.addresses import Address
from aiotun.errors import AddressError, NotPermittedError, RouteError, UnsupportedError
from aiotun.interfaces import AddressAdded, LinkChanged

TWO = ["10.9.0.1/24", "fd09::1/64"]


def texts(device: aiotun.Device) -> list[str]:
    return [str(address) for address in device.addresses()]


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


def test_link_local_addresses_are_told_without_the_index(
    kernel: ModelKernel, opened: Opener
) -> None:
    device = opened(addresses=["fe80::1234/64"])
    assert texts(device) == ["fe80::1234/64"]
    device.set_addresses([])
    assert texts(device) == ["fe80::1234/64"]


def test_the_route_to_the_network(kernel: ModelKernel, opened: Opener) -> None:
    """An address makes one to its peer alone; on a tap the system makes it."""
    tun = opened(addresses=["10.9.0.1/24", "10.10.0.1/32"])
    assert [(str(each.destination), each.prefix) for each in kernel.routes] == [("10.9.0.0", 24)]
    assert tun.routes() == []
    tun.remove_address("10.9.0.1/24")
    assert not kernel.routes
    tun.add_address("10.11.0.1 peer 10.11.9.2/24")  # whose network is the peer's
    assert [(str(each.destination), each.prefix) for each in kernel.routes] == [("10.11.9.0", 24)]
    tun.remove_address("10.11.0.1 peer 10.11.9.2/24")
    opened(layer="tap", addresses=["10.12.0.1/24"])
    assert not kernel.routes
    without = opened(addresses=["10.13.0.1/24"], connected_routes=False)
    assert not kernel.routes
    with pytest.raises(UnsupportedError, match="makes the route"):
        without.add_address("fd09::1/64")


def test_a_route_wants_an_address(kernel: ModelKernel, opened: Opener) -> None:
    device = opened(addresses=["10.9.0.1/24"])
    if kernel.system.names_routes_by_index:
        device.add_route("fd08::/64")
        return
    with pytest.raises(RouteError, match="needs an IPv6 address"):
        device.add_route("fd08::/64")


def test_a_route_has_no_metric(kernel: ModelKernel, opened: Opener) -> None:
    with pytest.raises(UnsupportedError, match="no metric"):
        opened(addresses=TWO).add_route("10.5.0.0/16 metric 3")


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


def test_events_that_were_lost(kernel: ModelKernel, opened: Opener) -> None:
    device = opened()
    device.events()
    for number in range(1000):
        device.mtu = 1000 + number % 7
    assert kernel.lost
    assert bool(kernel.rerror) == (kernel.system.name in ("FreeBSD", "NetBSD"))  # which tell then
    device.mtu = 1400
    device.add_address("10.9.0.1/24")
    assert device.events() == [
        LinkChanged(device.name, 1400, True),
        AddressAdded(Address.parse("10.9.0.1/24")),
    ]
    assert device.events() == []


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


def test_there_are_no_events_after_the_close(kernel: ModelKernel, opened: Opener) -> None:
    device = opened()
    device.close()
    assert device.interface.events().read() == []
