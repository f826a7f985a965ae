"""What an interface loses with its IPv6, with being up, or with an address: it comes back."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import logging
from collections.abc import Callable, Iterator
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import outside
import pytest

import aiotun
from aiotun import errors
from aiotun.addresses import Address, Route
from aiotun.interfaces import AddressAdded
from aiotun.platforms.linux.netlink import NetlinkSocket
from aiotun.platforms.linux.routing import Routing
from aiotun.testing.namespace import Namespace

pytestmark = pytest.mark.requires("tun", "netns", "ipv6")

IFF_TUN = 1

ADDRESSES = ["10.9.0.1/24", "10.9.0.7/24", "fd09::1/64", "fd0a::1 peer fd0a::2/128"]
ROUTES = [
    "10.8.0.0/16",
    "10.7.0.0/16 via 10.9.0.2 metric 5",
    "fd08::/32 via fd09::2 metric 7",
    "fd07::/32 metric 1024",
    "10.6.0.0/16 via fd09::2",
]
LINK_LOCAL = Address.parse("fe80::77/64")
TABLE = 77


@pytest.fixture(params=["tun", "tap"])
def device(namespace: Namespace, request: pytest.FixtureRequest) -> Iterator[aiotun.Device]:
    with namespace.run(
        aiotun.Device,
        name="t0",
        layer=request.param,
        ipv6_quiet=True,
        addresses=ADDRESSES,
        routes=ROUTES,
    ) as device:
        device.add_address(LINK_LOCAL)
        with namespace.run(NetlinkSocket) as netlink:
            Routing(netlink).add_route(Route.parse("::/0"), device.index, TABLE)
        device.events()
        yield device


def addresses(device: aiotun.Device) -> list[str]:
    return sorted(map(str, device.addresses()))


def routes(device: aiotun.Device) -> list[str]:
    return sorted(map(str, device.routes()))


def in_the_table(namespace: Namespace) -> list[str]:
    with namespace.run(NetlinkSocket) as netlink:
        return [str(entry.route) for entry in Routing(netlink).routes(TABLE)]


def is_quiet(namespace: Namespace) -> bool:
    """Whether it made no address of its own since it was opened."""
    mode = Path("/proc/sys/net/ipv6/conf/t0/addr_gen_mode")
    return namespace.run(mode.read_text) == "1\n"


def a_small_mtu(device: aiotun.Device) -> None:
    device.mtu = 1279
    assert addresses(device) == sorted(ADDRESSES[:2])
    assert not [route for route in device.routes() if route.destination.version == 6]
    device.mtu = 1400


def a_small_mtu_while_down(device: aiotun.Device) -> None:
    device.down()
    device.mtu = 1000
    device.mtu = 1400
    device.up()


def up_with_a_small_mtu(device: aiotun.Device) -> None:
    device.down()
    assert device.routes() == []
    device.mtu = 1000
    device.up()
    assert sorted(map(str, device.routes())) == sorted(ROUTES[:2])
    device.mtu = 1400


def down(device: aiotun.Device) -> None:
    device.down()
    assert device.routes() == []
    device.up()


@pytest.mark.requires("sysctl")
@pytest.mark.parametrize("lose", [a_small_mtu, a_small_mtu_while_down, up_with_a_small_mtu, down])
def test_back_again(
    namespace: Namespace, device: aiotun.Device, lose: Callable[[aiotun.Device], None]
) -> None:
    lose(device)
    assert addresses(device) == sorted([*ADDRESSES, str(LINK_LOCAL)])
    assert routes(device) == sorted(ROUTES)
    assert in_the_table(namespace) == ["::/0 metric 1024"]
    assert is_quiet(namespace)
    added = [event.address for event in device.events() if isinstance(event, AddressAdded)]
    assert {str(address) for address in added} <= {*ADDRESSES, str(LINK_LOCAL)}
    assert device.is_running


def test_others_get_their_link_local_address_once(namespace: Namespace) -> None:
    with namespace.run(aiotun.Device, addresses="fd09::1/64") as device:

        def link_local() -> int:
            return sum(address.interface.ip.is_link_local for address in device.addresses())

        assert link_local() == 1
        device.mtu = 1000
        assert device.addresses() == []
        device.mtu = 1500
        assert link_local() == 1
        assert Address.parse("fd09::1/64") in device.addresses()


def test_what_was_removed_stays_away(device: aiotun.Device) -> None:
    device.down()
    device.mtu = 1000
    gone = ["fd09::1/64", str(LINK_LOCAL)]
    for address in gone:
        device.remove_address(address)
        with pytest.raises(errors.AddressError, match="cannot be removed"):
            device.remove_address(address)
    for route in ("10.8.0.0/16", "10.7.0.0/16", "fd08::/32"):
        device.remove_route(route)
        with pytest.raises(errors.RouteError, match="cannot be removed"):
            device.remove_route(route)
    device.mtu = 1400
    device.add_address("fd09::1/64")
    device.up()
    assert addresses(device) == sorted(ADDRESSES)
    assert routes(device) == sorted(ROUTES[3:])


def test_addresses_that_were_set_meanwhile(device: aiotun.Device) -> None:
    device.mtu = 1000
    device.set_addresses("10.9.0.1/24")
    device.mtu = 1400
    assert addresses(device) == ["10.9.0.1/24"]


@pytest.mark.parametrize("wanted", ["10.9.0.3/24", "10.0.0.1/8", "fd0b::1/64"])
def test_routes_outlive_other_addresses(device: aiotun.Device, wanted: str) -> None:
    """With the first address of a network go the others, and with the last one all routes."""
    device.remove_route(ROUTES[1])  # its gateway needs an address
    device.set_addresses([wanted, "fd09::1/64", "fd0a::1 peer fd0a::2/128"])
    assert routes(device) == sorted([ROUTES[0], *ROUTES[2:]])


def test_what_cannot_be_put_back_is_told(
    device: aiotun.Device, caplog: pytest.LogCaptureFixture
) -> None:
    device.down()
    device.remove_address("fd09::1/64")
    with caplog.at_level(logging.WARNING, "aiotun"):
        device.up()
    assert "fd08::/32 via fd09::2 metric 7 is lost, it cannot be put back: " in caplog.text
    assert "fd07::/32 metric 1024" in routes(device)


@pytest.mark.requires("sysctl")
def test_quiet_at_last(namespace: Namespace) -> None:
    """With a small MTU there is no IPv6, so nothing is to be done; with a larger one there is."""
    with namespace.run(aiotun.Device, name="t0", ipv6_quiet=True, mtu=1000) as device:
        device.persistent = True
    with namespace.run(aiotun.Device, name="t0", ipv6_quiet=True, mtu=1500) as device:
        assert is_quiet(namespace)
        assert device.addresses() == []
        device.persistent = False


@pytest.mark.requires("sysctl", "multi-queue")
def test_quiet_by_another_queue(namespace: Namespace) -> None:
    with (
        namespace.run(aiotun.Device, name="t0", ipv6_quiet=True, multi_queue=True) as device,
        device.open_queue() as other,
    ):
        other.mtu = 1000
        other.mtu = 1500
        assert is_quiet(namespace)
        assert device.addresses() == []


@pytest.mark.requires("sysctl")
def test_quiet_after_a_move_there_and_back(namespace: Namespace) -> None:
    with (
        Namespace() as other,
        namespace.run(aiotun.Device, name="t0", ipv6_quiet=True) as device,
    ):
        namespace.run(outside.move, "t0", other)
        other.run(outside.move, "t0", namespace)
        assert not is_quiet(namespace)
        device.up()
        assert is_quiet(namespace)
        assert device.addresses() == []


def test_quiet_already(namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who may not change an interface can attach to one that is as it should be."""
    with namespace.run(aiotun.Device, name="t0", ipv6_quiet=True, persistent=True):
        pass
    requests: list[int] = []
    request = NetlinkSocket.request

    def spy(self: NetlinkSocket, kind: int, *arguments: Any) -> list[bytes]:
        requests.append(kind)
        return request(self, kind, *arguments)

    monkeypatch.setattr(NetlinkSocket, "request", spy)
    with namespace.run(aiotun.Device, name="t0", ipv6_quiet=True, mtu=1500) as device:
        assert set(requests) == {18, 22}  # RTM_GETLINK, RTM_GETADDR
        device.persistent = False


@pytest.mark.requires("sysctl")
@pytest.mark.parametrize("disabled", [True, False])
def test_no_ipv6_on_the_interface(namespace: Namespace, disabled: bool) -> None:
    with namespace.run(aiotun.Device, name="t0", ipv6_quiet=True) as device:
        if disabled:
            namespace.sysctl("net.ipv6.conf.t0.disable_ipv6", 1)
        else:
            device.mtu = 1000
        device.down()
        device.up()
        with pytest.raises(errors.UnsupportedError, match=r"fd08::/32 cannot be .*disable_ipv6=0"):
            device.add_route("fd08::/32")


def test_no_ipv6_in_the_kernel(namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Injected, as such a kernel answers; the messages of links say nothing of IPv6 then."""
    from aiotun.platforms.linux import interface
    from aiotun.platforms.linux.rtnetlink.links import encode_link

    def request(self: NetlinkSocket, kind: int, body: bytes, flags: int = 0) -> list[bytes]:
        if body[0] == 10:
            raise OSError(95, "Operation not supported")
        assert body != encode_link(2, ipv6_quiet=True)
        return real(self, kind, body, flags)

    real = NetlinkSocket.request
    monkeypatch.setattr(NetlinkSocket, "request", request)
    monkeypatch.setattr(interface, "decode_ipv6_quiet", lambda body: None)
    with namespace.run(aiotun.Device, ipv6_quiet=True, addresses="10.9.0.1/24") as device:
        device.mtu = 1000
        device.mtu = 1500
        with pytest.raises(errors.UnsupportedError, match=r"ipv6\.disable=1"):
            device.add_address("fd09::1/64")
        with pytest.raises(errors.UnsupportedError, match=r"ipv6\.disable=1"):
            device.add_route("fd08::/32")


@pytest.mark.interop
@pytest.mark.requires("ip")
def test_broadcast(namespace: Namespace) -> None:
    """Setting it takes the address away for a moment, and so what follows from it."""
    made = ["10.9.0.1/24", "10.9.0.7/24", "fd09::1/64"]
    with namespace.run(aiotun.Device, name="t0", layer="tap", addresses=made) as device:
        namespace.command("ip", "address", "add", "10.5.0.1/24", "dev", "t0", "label", "t0:five")
        for words in (
            "10.8.0.0/16 via 10.9.0.2 src 10.9.0.7 mtu 1300",
            "10.7.0.0/16 via inet6 fd09::2",
            "10.6.0.0/16 via 10.9.0.2 table 77",
            "10.5.5.0/24 metric 9",
        ):
            namespace.command("ip", "route", "add", *words.split(), "dev", "t0")

        def shown() -> set[str]:
            return set(namespace.command("ip", "route", "show", "table", "all").splitlines())

        before = shown()
        device.broadcast = "10.9.0.255"
        added = {line for line in shown() - before if line.startswith("broadcast 10.9.0.255 ")}
        assert shown() - added == before
        assert "10.9.0.1/24 brd 10.9.0.255" in namespace.command(
            "ip", "address", "show", "dev", "t0"
        )
        assert "t0:five" in namespace.command("ip", "address", "show", "dev", "t0")
        device.broadcast = None
        assert shown() == before


@pytest.mark.parametrize("metric", ["", " metric 0", " metric 1024", " metric 9"])
@pytest.mark.parametrize("network", ["10.8.0.0/16", "fd08::/32"])
def test_attached_again(namespace: Namespace, network: str, metric: str) -> None:
    settings = {
        "name": "t0",
        "addresses": ["10.9.0.1/24", "fd09::1/64"],
        "routes": network + metric,
    }
    with namespace.run(aiotun.Device, **settings, persistent=True) as device:
        before = routes(device)
    for persistent in (None, False):
        with namespace.run(aiotun.Device, **settings, persistent=persistent) as device:
            assert routes(device) == before


def test_route_through_a_gateway_of_the_other_family(namespace: Namespace) -> None:
    route = Route(Route.parse("10.8.0.0/16").destination, IPv6Address("fd09::2"))
    with namespace.run(aiotun.Device, addresses="fd09::1/64", routes=str(route)) as device:
        assert device.routes() == [route]
