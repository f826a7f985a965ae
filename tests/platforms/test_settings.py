"""Every setting on every system: on Linux' kernel, and on MODELS of macOS and the BSDs."""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterator
from dataclasses import fields
from typing import Any, NamedTuple

import pytest
from systems import BSDS, SYSTEMS, System, made

import aiotun
from aiotun.addresses import Address
from aiotun.config import DeviceConfig, Layer
from aiotun.errors import (
    AddressError,
    ClosedError,
    ConfigError,
    InterfaceGoneError,
    MACError,
    NameInUseError,
    RouteError,
    TunError,
    UnsupportedError,
)
from aiotun.interfaces import AddressAdded, AddressRemoved, InterfaceGone, LinkChanged
from aiotun.options import DarwinOptions, FreeBSDOptions, OpenBSDOptions, WindowsOptions
from aiotun.platforms.base import Interface

FREEBSD = ["freebsd14", "freebsd15"]

TWO = ["10.9.0.1/24", "fd09::1/64"]

MAC = "02:00:5e:00:00:0a"


NEEDS = pytest.mark.requires("tun", "netns", "ipv6", "multi-queue")


@pytest.fixture(
    params=[pytest.param(each, marks=NEEDS if each == "linux" else ()) for each in SYSTEMS]
)
def system(request: pytest.FixtureRequest) -> Iterator[System]:
    with made(request.param) as system:
        yield system


Read = Callable[[System, aiotun.Device], Any]


class Case(NamedTuple):
    settings: dict[str, Any]
    read: Read
    expected: Any
    on: Collection[str] = SYSTEMS
    """The systems that have it. The others refuse it."""
    error: type[TunError] = UnsupportedError
    change: Callable[[aiotun.Device], Any] = lambda device: None


def seen(field: str) -> Read:
    return lambda system, device: getattr(system.see(device.name), field)


def told(name: str) -> Read:
    """What the device itself says."""
    return lambda system, device: getattr(device, name)


def left(system: System, device: aiotun.Device) -> bool:
    """Whether the interface outlives its device."""
    name = device.name
    device.close()
    return name in system.names()


def refuses_another(system: System, device: aiotun.Device) -> bool:
    device.close()
    with pytest.raises(NameInUseError):
        system.open(name="{kind}3", layer="tap", exclusive=True)
    return True


def queues(system: System, device: aiotun.Device) -> int:
    with device.open_queue():
        return device.queues


def moved(system: System, device: aiotun.Device) -> bool:
    return device.name not in system.names()


SETTINGS: dict[str, list[Case]] = {
    "name": [Case({"name": "{kind}3"}, lambda s, d: d.name == f"{s.kinds['tun']}3", True)],
    "layer": [
        Case({"layer": "tap"}, lambda s, d: s.see(d.name).mac is None, False),
        Case({"layer": "tun"}, seen("mac"), None),
    ],
    "addresses": [
        Case({"addresses": TWO}, seen("ipv4"), ["10.9.0.1/24"]),
        Case({"addresses": TWO}, seen("ipv6"), {"fd09::1/64"}),
    ],
    "mtu": [Case({"mtu": 1400}, seen("mtu"), 1400)],
    "mtu_v6": [Case({"mtu_v6": 1280}, told("mtu_v6"), 1280, ["linux"])],
    "offload": [
        Case({}, lambda s, d: d.offload == (s.name == "linux"), True),
        Case({"offload": False}, told("offload"), False),
    ],
    "udp_zero_checksum": [Case({"udp_zero_checksum": True}, told("udp_zero_checksum"), True)],
    "up": [
        Case({"up": True}, seen("up"), True),
        Case({"up": False, "addresses": TWO[:1]}, seen("up"), False),  # which an address undoes
        Case(
            {"up": None, "addresses": TWO[:1]},
            lambda s, d: s.see(d.name).up == (s.name in ("openbsd", "darwin")),
            True,  # there a new interface is up
        ),
    ],
    "mac": [Case({"layer": "tap", "mac": MAC}, seen("mac"), MAC)],
    "tx_queue_len": [Case({"tx_queue_len": 77}, told("tx_queue_len"), 77, ["linux"])],
    "backpressure": [Case({"backpressure": True}, seen("up"), True)],  # or it does without
    "multi_queue": [Case({"multi_queue": True}, queues, 2, ["linux"])],
    "persistent": [
        Case({}, left, False),
        Case({"persistent": True, "layer": "tap"}, left, True),
        Case({"persistent": True}, left, True, ["linux", *BSDS]),
    ],
    "owner": [Case({"owner": 0}, told("owner"), 0, ["linux"])],
    "group": [Case({"group": 0}, told("group"), 0, ["linux"])],
    "exclusive": [
        Case({"name": "{kind}3", "layer": "tap", "persistent": True}, refuses_another, True)
    ],
    "carrier": [Case({"carrier": False}, told("carrier"), False, ["linux"])],
    "ipv6_quiet": [
        Case({"ipv6_quiet": True}, lambda s, d: s.gives_link_local(d.name), False),
        Case(
            {},
            lambda s, d: s.gives_link_local(d.name) == (s.name not in ("openbsd", "darwin")),
            True,  # there an interface gets none by itself
        ),
    ],
    "dad": [
        Case(
            {"layer": "tap", "addresses": "fd09::1/64", "ipv6_quiet": True},
            lambda s, d: s.detects_duplicates(d.name) == (s.name in ("netbsd", "openbsd")),
            True,  # these have no such flag
        ),
        Case(
            {"layer": "tap", "addresses": "fd09::1/64", "ipv6_quiet": True, "dad": True},
            lambda s, d: s.detects_duplicates(d.name),
            True,
        ),
    ],
    "connected_routes": [
        Case({"addresses": TWO}, seen("routes"), {"10.9.0.0/24"}),
        Case({"addresses": TWO[:1], "connected_routes": False}, seen("routes"), set()),
    ],
    "metric": [
        Case(
            {"addresses": TWO, "metric": 50, "routes": "10.8.0.0/16"},
            lambda s, d: list(map(str, d.routes())),
            ["10.8.0.0/16 metric 50"],
            ["linux"],
        )
    ],
    "routes": [
        Case(
            {"addresses": TWO, "routes": ["10.8.0.0/16", "10.7.0.0/16 via 10.9.0.2"]},
            seen("routes"),
            {"10.9.0.0/24", "10.8.0.0/16", "10.7.0.0/16 via 10.9.0.2"},
        )
    ],
    "namespace": [Case({"namespace": "{path}"}, moved, True, ["linux"])],
    "windows": [Case({"windows": WindowsOptions()}, seen("up"), True, [], ConfigError)],
    "darwin": [Case({"darwin": DarwinOptions()}, seen("up"), True, ["darwin"], ConfigError)],
    "openbsd": [Case({"openbsd": OpenBSDOptions()}, seen("up"), True, ["openbsd"], ConfigError)],
    "freebsd": [Case({"freebsd": FreeBSDOptions()}, seen("up"), True, FREEBSD, ConfigError)],
}
"""By field of `DeviceConfig`."""


def test_each_setting_is_here() -> None:
    assert list(SETTINGS) == [field.name for field in fields(DeviceConfig)]


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=name) for name in SETTINGS for case in SETTINGS[name]]
)
def test_made(system: System, case: Case) -> None:
    settings = dict(case.settings)
    if system.name in case.on:
        assert case.read(system, system.open(**settings)) == case.expected
        return
    with pytest.raises(case.error) as info:
        system.open(**settings)
    assert info.value.remedies or case.error is ConfigError
    assert not system.names()


def change(name: str, value: object) -> Callable[[aiotun.Device], None]:
    return lambda device: setattr(device, name, value)


def rename(device: aiotun.Device) -> None:
    device.down()  # Linux before 6.2 renames no interface that is up
    device.name = "vpn7"


ROUTED = {"addresses": TWO, "routes": "10.8.0.0/16"}

CHANGES: dict[str, Case] = {
    "set_mtu": Case({}, seen("mtu"), 1400, change=change("mtu", 1400)),
    "set_up": Case({}, seen("up"), False, change=lambda d: d.down()),
    "add_address": Case({}, seen("ipv4"), TWO[:1], change=lambda d: d.add_address(TWO[0])),
    "remove_address": Case(
        {"addresses": TWO}, seen("ipv6"), set(), change=lambda d: d.remove_address(TWO[1])
    ),
    "set_addresses": Case(
        {"addresses": TWO},
        lambda s, d: (s.see(d.name).ipv4, s.see(d.name).ipv6, s.see(d.name).routes),
        (["10.9.0.1/16"], {"fd0b::1/64"}, {"10.9.0.0/16"}),
        change=lambda d: d.set_addresses(["10.9.0.1/16", "fd0b::1/64"]),
    ),
    "set_name": Case(
        {}, lambda s, d: "vpn7" in s.names(), True, ["linux", *FREEBSD], change=rename
    ),
    "set_mtu_v6": Case({}, told("mtu_v6"), 1280, ["linux"], change=change("mtu_v6", 1280)),
    "set_mac": Case({"layer": "tap"}, seen("mac"), MAC, change=change("mac", MAC)),
    "set_tx_queue_len": Case(
        {}, told("tx_queue_len"), 77, ["linux"], change=change("tx_queue_len", 77)
    ),
    "set_carrier": Case({}, told("carrier"), False, ["linux"], change=change("carrier", False)),
    "set_persistent": Case(
        {}, left, True, ["linux", *FREEBSD, "netbsd"], change=change("persistent", True)
    ),
    "set_owner": Case({}, told("owner"), 0, ["linux"], change=change("owner", 0)),
    "set_group": Case({}, told("group"), 0, ["linux"], change=change("group", 0)),
    "set_broadcast": Case(
        {"layer": "tap", "addresses": TWO},
        lambda s, d: str(d.broadcast),
        "10.9.0.127",
        change=change("broadcast", "10.9.0.127"),
    ),
    "add_route": Case(
        {"addresses": TWO},
        seen("routes"),
        {"10.9.0.0/24", "10.8.0.0/16"},
        change=lambda d: d.add_route("10.8.0.0/16"),
    ),
    "remove_route": Case(
        ROUTED, seen("routes"), {"10.9.0.0/24"}, change=lambda d: d.remove_route("10.8.0.0/16")
    ),
}
"""By method of `Interface`."""


def test_each_change_is_here() -> None:
    changes = [name for name in vars(Interface) if name.startswith(("set_", "add_", "remove_"))]
    assert sorted(CHANGES) == sorted(changes)


@pytest.mark.parametrize("case", CHANGES.values(), ids=CHANGES)
def test_changed(system: System, case: Case) -> None:
    device = system.open(**case.settings)
    if system.name not in case.on:
        with pytest.raises(case.error):
            case.change(device)
        return
    if case.read is not left:
        assert case.read(system, device) != case.expected
    case.change(device)
    assert case.read(system, device) == case.expected


def texts(device: aiotun.Device) -> list[str]:
    found = [str(each) for each in device.addresses() if not each.interface.ip.is_link_local]
    return sorted(found)


def test_addresses(system: System) -> None:
    device = system.open(addresses=TWO)
    peers = ["10.10.0.1 peer 10.10.0.2/32", "10.11.0.1 peer 10.11.9.2/24"]
    for address in (*peers, "fd0a::1 peer fd0a::2"):
        device.add_address(address)
    assert texts(device) == sorted([*TWO, *peers, "fd0a::1 peer fd0a::2/128"])
    device.remove_address("10.9.0.1/24")
    device.remove_address("fd0a::1 peer fd0a::2")
    assert texts(device) == sorted([TWO[1], *peers])


def test_addresses_that_are_refused(system: System) -> None:
    device = system.open(addresses=TWO)
    for address in ("10.9.0.1/24", "fd09::1/64"):
        with pytest.raises(AddressError, match=r"cannot be added: .* has it already") as caught:
            device.add_address(address)
        assert caught.value.errno == errno.EEXIST
    for address in ("10.9.0.2/24", "10.9.0.1/16", "fd09::2/64"):
        with pytest.raises(AddressError, match="cannot be removed: the interface lacks it"):
            device.remove_address(address)
    assert texts(device) == TWO


def test_all_addresses_are_set(system: System) -> None:
    device = system.open(addresses=TWO)
    for wanted in (
        ["10.12.0.1/24", "10.9.0.1/16", "fd0b::1/64"],
        ["10.9.0.1/24", "fd0b::1/48"],  # the same ones, but for the prefix
        ["fd0b::1 peer fd0b::2/128"],
    ):
        device.set_addresses(wanted)
        assert texts(device) == wanted


def test_routes(system: System) -> None:
    routes = ["0.0.0.0/0", "10.6.0.1/32", "10.7.0.0/16 via 10.9.0.2", "10.8.0.0/16", "fd08::/64"]
    device = system.open(addresses=TWO, routes=routes)

    def found() -> list[str]:
        return sorted(str(route).partition(" metric")[0] for route in device.routes())

    assert found() == routes
    words = rf"\[Errno {errno.EEXIST}\] .*: 10\.8\.0\.0/16 .*{device.name} exists already: .*remove"
    with pytest.raises(RouteError, match=words):
        device.add_route("10.8.0.0/16")
    device.remove_route("10.8.0.0/16")
    device.remove_route("fd08::/64")
    with pytest.raises(RouteError, match="cannot be removed: it does not exist"):
        device.remove_route("10.8.0.0/16")
    assert found() == routes[:3]
    with pytest.raises(RouteError, match="gateway: add an address or a route first"):
        system.open().add_route("10.4.0.0/16 via 172.16.0.1")
    device.add_route("fd0c::/64 via fd09::2")
    assert found() == [*routes[:3], "fd0c::/64 via fd09::2"]


@pytest.mark.parametrize("layer", ["tun", "tap"])
def test_up_and_down(system: System, layer: Layer) -> None:
    device = system.open(layer=layer)
    assert device.is_up
    assert device.is_running
    device.down()
    assert not device.is_up
    assert not system.see(device.name).up
    device.up()
    assert device.is_up


def test_mac(system: System) -> None:
    device = system.open(layer="tap", mac=MAC)
    assert device.mac == MAC
    tun = system.open()
    assert tun.mac is None
    with pytest.raises(MACError):
        tun.mac = MAC


def test_rename(system: System) -> None:
    if system.name not in ("linux", *FREEBSD):
        with pytest.raises(UnsupportedError, match="renames no interfaces"):
            system.open().name = "vpn0"
        return
    device, other = system.open(up=False), system.open(up=False)
    device.name = "vpn0"
    assert device.name == "vpn0"
    with pytest.raises(NameInUseError):
        other.name = "vpn0"
    device.add_address("10.9.0.1/24")
    device.mtu = 1400
    assert system.see("vpn0").mtu == 1400
    device.close()
    assert system.names() == {other.name}


def test_broadcast(system: System) -> None:
    device = system.open(layer="tap", addresses=TWO)
    device.broadcast = "10.9.0.127"
    assert str(device.broadcast) == "10.9.0.127"
    assert texts(device) == TWO
    bare = system.open(layer="tap")
    with pytest.raises(AddressError, match="without an IPv4 address"):
        bare.broadcast = "10.9.0.127"


def happened(device: aiotun.Device) -> tuple[LinkChanged | None, set[object]]:
    """The last that was told of the link, and all else."""
    events = device.events()
    links = [event for event in events if isinstance(event, LinkChanged)]
    return links[-1] if links else None, {event for event in events if event not in links}


def test_events(system: System) -> None:
    device, other = system.open(ipv6_quiet=True), system.open(layer="tap", ipv6_quiet=True)
    happened(device), happened(other)
    address = Address.parse("10.9.0.1/24")
    device.add_address(address)
    device.mtu = 1400
    assert happened(device) == (LinkChanged(device.name, 1400, True), {AddressAdded(address)})
    assert device.events() == []
    device.remove_address(address)
    device.down()
    link, others = happened(device)
    assert (link.mtu, link.up) == (1400, False) if link else False
    assert others == {AddressRemoved(address)}
    other.mac = MAC
    link, _ = happened(other)
    assert link is not None
    assert link.mac == MAC


def test_deletion(system: System) -> None:
    device = system.open(addresses=TWO)
    device.events()
    system.delete(device.name)
    if system.name != "darwin":  # which has no message for that, and no such deletion
        assert device.events()[-1] == InterfaceGone()
        assert device.events() == []
    for ask in (lambda: device.mtu, device.up, device.addresses, device.statistics):
        with pytest.raises(InterfaceGoneError):
            ask()


def test_after_the_close(system: System) -> None:
    device = system.open()
    device.close()
    device.close()
    with pytest.raises(ClosedError):
        _ = device.mtu
