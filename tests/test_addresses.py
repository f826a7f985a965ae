"""Addresses and routes: every form they may have, and every value that is none."""

from __future__ import annotations

import errno
import ipaddress
from contextlib import suppress
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aiotun.addresses import Address, Route
from aiotun.config import DeviceConfig
from aiotun.errors import (
    AddressError,
    ConfigError,
    RouteError,
)

V4, V6 = IPv4Interface("10.9.0.1/24"), IPv6Interface("fd09::1/64")


@pytest.mark.parametrize(
    ("value", "address"),
    [
        pytest.param("10.9.0.1/24", Address(V4), id="text"),
        pytest.param("10.9.0.1/255.255.255.0", Address(V4), id="netmask"),
        pytest.param("10.9.0.1", Address(IPv4Interface("10.9.0.1/32")), id="no prefix length"),
        pytest.param("fd09::1/64", Address(V6), id="IPv6 text"),
        pytest.param(V4, Address(V4), id="interface"),
        pytest.param(V6, Address(V6), id="IPv6 interface"),
        pytest.param(Address(V4), Address(V4), id="Address"),
        pytest.param(
            "10.9.0.1 peer 10.9.0.2",
            Address(IPv4Interface("10.9.0.1/32"), IPv4Address("10.9.0.2")),
            id="peer",
        ),
        pytest.param(
            "10.9.0.1 peer 10.8.0.0/24", Address(V4, IPv4Address("10.8.0.0")), id="peer network"
        ),
        pytest.param(
            ("10.9.0.1/24", IPv4Address("10.9.0.2")),
            Address(V4, IPv4Address("10.9.0.2")),
            id="pair",
        ),
        pytest.param((V6, "fd09::2"), Address(V6, IPv6Address("fd09::2")), id="IPv6 pair"),
        pytest.param(("10.9.0.1/24", None), Address(V4), id="pair without peer"),
        pytest.param("10.9.0.1 peer 10.9.0.1/24", Address(V4), id="its own peer"),
    ],
)
def test_address(value: Any, address: Address) -> None:
    assert Address.parse(value) == address
    assert Address.parse(str(address)) == address
    assert DeviceConfig(addresses=[value]).addresses == (address,)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "not an address"),
        ("10.9.0", "not an address"),
        ("10.9.0.1/33", "not an address"),
        ("10.9.0.1/24/24", "not an address"),
        ("fd09::1/129", "not an address"),
        ("vpn.example", "not an address"),
        ("10.9.0.1 via 10.9.0.2", "not an address"),
        ("10.9.0.1 peer", "not an address"),
        ("10.9.0.1 peer ::1", "different IP versions"),
        ("10.9.0.1/24 peer 10.9.0.2/25", "different prefix lengths"),
        ("fe80::1%eth0/64", "zone"),
        (5, "not an address"),
        (b"\x0a\x09\x00\x01", "not an address"),
        (None, "not an address"),
        (("10.9.0.1", 24), "not an address"),
        (("10.9.0.1", "10.9.0.2", "10.9.0.3"), "not an address"),
    ],
)
def test_address_that_is_none(value: Any, words: str) -> None:
    with pytest.raises(AddressError, match=words) as caught:
        DeviceConfig(addresses=[value])
    assert caught.value.errno == errno.EINVAL
    assert isinstance(caught.value, ValueError)


@given(st.from_type(IPv4Interface) | st.from_type(IPv6Interface), st.none() | st.ip_addresses())
def test_address_as_text_and_back(interface: Any, peer: Any) -> None:
    if peer is None or peer.version == interface.version:
        address = Address.parse((interface, peer))
        assert Address.parse(str(address)) == address
        # With a peer, a full prefix length is as good as none.
        assert address.interface == interface or (address.peer and address.interface.ip)
        assert ipaddress.ip_address(address.interface.ip) == interface.ip


@given(st.text("0123456789abcdef.:/% peer"))
@example("1.2.3.4 peer 1.2.3.4")
def test_any_text_is_an_address_or_an_address_error(text: str) -> None:
    with suppress(AddressError):
        assert Address.parse(str(Address.parse(text))) == Address.parse(text)


@pytest.mark.parametrize(
    ("value", "addresses"),
    [
        ((), ()),
        ("10.9.0.1/24", (Address(V4),)),
        (V6, (Address(V6),)),
        (Address(V4), (Address(V4),)),
        (["10.9.0.1/24", V6], (Address(V4), Address(V6))),
        (iter(["10.9.0.1/24"]), (Address(V4),)),
        (("10.9.0.1/24", "fd09::1/64"), (Address(V4), Address(V6))),
    ],
)
def test_addresses(value: Any, addresses: tuple[Address, ...]) -> None:
    assert DeviceConfig(addresses=value).addresses == addresses


def test_addresses_that_are_none() -> None:
    with pytest.raises(AddressError, match="neither an address nor several"):
        DeviceConfig(addresses=5)  # type: ignore[arg-type]


def test_address_twice() -> None:
    with pytest.raises(AddressError, match=r"10\.9\.0\.1 stands twice"):
        DeviceConfig(addresses=["10.9.0.1/24", "fd09::1/64", "10.9.0.1/25"])


NETWORK, NETWORK6 = IPv4Network("10.8.0.0/16"), IPv6Network("fd08::/32")


@pytest.mark.parametrize(
    ("value", "route"),
    [
        ("10.8.0.0/16", Route(NETWORK)),
        ("10.8.0.0/255.255.0.0", Route(NETWORK)),
        ("10.8.0.0/16 via 10.9.0.2", Route(NETWORK, IPv4Address("10.9.0.2"))),
        ("10.8.0.0/16 metric 5", Route(NETWORK, None, 5)),
        ("fd08::/32 via fd09::2 metric 0", Route(NETWORK6, IPv6Address("fd09::2"), 0)),
        ("default", Route(IPv4Network("0.0.0.0/0"))),
        ("default via 10.9.0.2", Route(IPv4Network("0.0.0.0/0"), IPv4Address("10.9.0.2"))),
        ("default via fd09::2", Route(IPv6Network("::/0"), IPv6Address("fd09::2"))),
        (NETWORK, Route(NETWORK)),
        (NETWORK6, Route(NETWORK6)),
        (Route(NETWORK, None, 5), Route(NETWORK, None, 5)),
        ("10.8.0.0/16 via fd09::2", Route(NETWORK, IPv6Address("fd09::2"))),
        ("0.0.0.0/0 via fd09::2", Route(IPv4Network("0.0.0.0/0"), IPv6Address("fd09::2"))),
    ],
)
def test_route(value: Any, route: Route) -> None:
    assert Route.parse(value) == route
    assert Route.parse(str(route)) == route
    assert DeviceConfig(routes=value).routes == DeviceConfig(routes=[value]).routes == (route,)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "is not a route"),
        ("10.8.0.1/16", "has host bits set"),
        ("10.8.0.0/33", "is not a route"),
        ("10.8.0.0/16 dev vpn0", "is not a route"),
        ("10.8.0.0/16 via", "is not a route"),
        ("10.8.0.0/16 via gateway", "is not a route"),
        ("fd08::/32 via 10.9.0.2", "no IPv4 gateway"),
        ("10.8.0.0/16 metric -1", "is not a route"),
        (5, "is not a route"),
        (None, "is not a route"),
    ],
)
def test_route_that_is_none(value: Any, words: str) -> None:
    with pytest.raises(RouteError, match=words) as caught:
        DeviceConfig(routes=[value])
    assert caught.value.errno == errno.EINVAL


def test_routes_that_are_none() -> None:
    with pytest.raises(RouteError, match="neither a route nor several"):
        DeviceConfig(routes=5)  # type: ignore[arg-type]


@given(st.text("0123456789abcdef.:/ viametric"))
@example("10.8.0.0/16 metric 4294967296")
@example("10.8.0.0/16 metric " + "9" * 5000)
def test_any_text_is_a_route_or_an_error(text: str) -> None:
    with suppress(ConfigError):
        assert Route.parse(str(Route.parse(text))) == Route.parse(text)
