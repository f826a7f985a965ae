"""The interface on Windows: what is asked, changed and told."""

from __future__ import annotations

import errno
import sys

assert sys.platform == "win32"

from collections.abc import Iterator

import pytest
from rigs import packet
from standin import Far, StandIn, configured
from waiting import wait_until

import aiotun
from aiotun.errors import AddressError, InterfaceGoneError, MTUError, RouteError, UnsupportedError
from aiotun.interfaces import AddressAdded, AddressRemoved, Event, InterfaceGone, LinkChanged


@pytest.fixture
def device(standin: StandIn) -> Iterator[aiotun.Device]:
    with aiotun.Device(**configured(addresses="10.9.0.1/24")) as device:
        yield device


@pytest.fixture
def far(standin: StandIn, device: aiotun.Device) -> Far:
    return Far(standin, device.name)


def told(device: aiotun.Device) -> list[Event]:
    """What is told of the changes of a moment ago."""
    events: list[Event] = []

    def heard() -> bool:
        events.extend(device.events())
        return bool(events)

    wait_until(heard)
    return events


def test_addresses(device: aiotun.Device) -> None:
    device.add_address("fd09::1/64")
    device.add_address("10.9.1.1/16")
    with pytest.raises(AddressError, match="already"):
        device.add_address("10.9.1.1/16")
    device.remove_address("10.9.0.1/24")
    for absent in ("10.9.0.1/24", "10.9.1.1/24"):
        with pytest.raises(AddressError, match="no address"):
            device.remove_address(absent)
    assert sorted(map(str, device.addresses())) == ["10.9.1.1/16", "fd09::1/64"]
    for wanted in ("10.9.2.1/24", "10.9.2.1/16"):
        device.set_addresses([wanted])
        assert list(map(str, device.addresses())) == [wanted]


def test_routes(device: aiotun.Device) -> None:
    device.add_route("10.10.0.0/16 metric 5")
    with pytest.raises(RouteError, match=rf"\[Errno {errno.EEXIST}\] .*already.*: remove"):
        device.add_route("10.10.0.0/16")
    device.add_route("10.10.0.0/16 via 10.9.0.2")
    with pytest.raises(RouteError, match="IP version"):
        device.add_route("10.11.0.0/16 via fd09::2")
    device.remove_route("10.10.0.0/16 metric 5")
    with pytest.raises(RouteError, match="no route"):
        device.remove_route("10.10.0.0/16")
    assert list(map(str, device.routes())) == ["10.10.0.0/16 via 10.9.0.2 metric 0"]


def test_mtus(device: aiotun.Device) -> None:
    device.mtu = 9000
    assert (device.mtu, device.mtu_v6) == (9000, 9000)
    device.mtu_v6 = 1280
    assert (device.mtu, device.mtu_v6) == (9000, 1280)
    device.mtu = 576  # less than IPv6 can have
    assert (device.mtu, device.mtu_v6) == (576, 1280)
    for wrong in (67, 65536):
        with pytest.raises(MTUError):
            device.mtu = wrong
    device.mtu = 1400
    with pytest.raises(MTUError, match="larger than the mtu"):
        device.mtu_v6 = 1401


def test_details_and_statistics(device: aiotun.Device, far: Far) -> None:
    assert device.is_running
    assert device.carrier
    assert device.mac is None
    assert not device.persistent
    for number in range(3):
        far.push(packet(number))
        assert device.recv(timeout=1) == packet(number)
    device.send(packet(3))
    assert far.pull(1) == packet(3)
    statistics = device.statistics()
    assert (statistics.packets_received, statistics.bytes_received) == (3, 192)
    assert (statistics.packets_sent, statistics.bytes_sent) == (1, 64)
    drops = statistics.dropped_received, statistics.dropped_sent, statistics.errors_sent
    assert drops == (7, 3, 1)  # what the stand-in says
    device.down()
    assert not device.is_running
    with pytest.raises(UnsupportedError):
        device.tx_queue_len = 7


def test_changes_are_told(device: aiotun.Device) -> None:
    assert device.events() == []
    device.add_address("10.9.1.1/24")
    address = aiotun.Address.parse("10.9.1.1/24")
    assert told(device) == [AddressAdded(address)]
    device.remove_address("10.9.1.1/24")
    device.mtu = 1400
    events = told(device)
    while len(events) < 2:
        events += told(device)
    assert sorted(map(type, events), key=str) == sorted([LinkChanged, AddressRemoved], key=str)
    device.name = "other0"
    assert told(device) == [LinkChanged("other0", 1400, True, True)]
    device.down()
    assert told(device) == [LinkChanged("other0", 1400, False, False)]


def test_an_adapter_that_is_removed(device: aiotun.Device, far: Far) -> None:
    far.remove()
    assert told(device) == [InterfaceGone()]
    assert device.events() == []
    for ask in (
        lambda: device.name,
        lambda: device.mtu,
        lambda: device.index,
        device.addresses,
        device.statistics,
        lambda: device.recv(timeout=1),
        lambda: device.send(packet()),
        lambda: device.add_address("10.9.7.1/24"),
        lambda: device.add_route("10.7.0.0/16"),
        device.up,
    ):
        with pytest.raises(InterfaceGoneError):
            ask()
