"""DeviceConfig: every form a value may have, and every value that no device can have."""

from __future__ import annotations

import errno
import inspect
import ipaddress
import re
from contextlib import suppress
from dataclasses import FrozenInstanceError, fields
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

from aiotun.config import Address, DeviceConfig, Route, check_mtu
from aiotun.errors import (
    AddressError,
    ConfigError,
    MACError,
    MTUError,
    NameInvalidError,
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


@pytest.mark.parametrize(
    "name", ["a", "vpn0", "vpn%d", "%d", "x" * 15, "é", "a.b", "...", "a-b", "\u2003"]
)
def test_name(name: str) -> None:
    assert DeviceConfig(name=name).name == name


BAD_NAMES = [
    ("", "empty"),
    ("x" * 16, "16 bytes, 15 are possible"),
    ("é" * 8, "16 bytes, 15 are possible"),
    (".", "not possible"),
    ("..", "not possible"),
    ("a/b", "not possible"),
    ("a:b", "not possible"),
    ("a b", "not possible"),
    ("a\n", "not possible"),
    ("a\0b", "not possible"),
    ("à", "not possible"),
    ("\ud800", "not possible"),
    ("a%", '"%d"'),
    ("a%s", '"%d"'),
    ("a%d%d", '"%d"'),
    ("%%d", '"%d"'),
    (5, "is a str"),
    (b"vpn0", "is a str"),
]


@pytest.mark.parametrize(("name", "words"), BAD_NAMES)
def test_name_that_is_none(name: Any, words: str) -> None:
    with pytest.raises(NameInvalidError, match=words):
        DeviceConfig(name=name)


@pytest.mark.parametrize(
    ("layer", "mtu"), [("tun", 68), ("tun", 65535), ("tap", 68), ("tap", 65521)]
)
def test_mtu(layer: Any, mtu: int) -> None:
    assert DeviceConfig(layer=layer, mtu=mtu).mtu == mtu


@pytest.mark.parametrize(
    ("layer", "mtu", "words"),
    [
        ("tun", 67, "68 to 65535 for a tun"),
        ("tun", 65536, "out of range"),
        ("tap", 65522, "68 to 65521 for a tap"),
        ("tun", 0, "out of range"),
        ("tun", -1500, "out of range"),
        ("tun", 1500.0, "must be an int"),
        ("tun", "1500", "must be an int"),
        ("tun", True, "must be an int"),
    ],
)
def test_mtu_that_is_none(layer: Any, mtu: Any, words: str) -> None:
    with pytest.raises(MTUError, match=words):
        DeviceConfig(layer=layer, mtu=mtu)
    with pytest.raises(MTUError, match=words):
        check_mtu(mtu, layer)


def test_mtu_too_small_for_ipv6() -> None:
    DeviceConfig(mtu=1279, addresses=["10.9.0.1/24"])
    DeviceConfig(mtu=1280, addresses=["fd09::1/64"])
    with pytest.raises(MTUError, match="1280"):
        DeviceConfig(mtu=1279, addresses=["10.9.0.1/24", "fd09::1/64"])


def test_layer_that_is_none() -> None:
    with pytest.raises(ConfigError, match='"tun" or "tap"'):
        DeviceConfig(layer="ppp")  # type: ignore[arg-type]


def test_defaults() -> None:
    config = DeviceConfig()
    assert (config.name, config.layer, config.addresses, config.mtu) == (None, "tun", (), None)
    assert config.offload
    assert config.up


def test_frozen_and_comparable() -> None:
    config = DeviceConfig(name="vpn0", addresses=["10.9.0.1/24"])
    assert config == DeviceConfig(name="vpn0", addresses=[Address(V4)])
    assert len({config, DeviceConfig(**vars(config))}) == 1
    with pytest.raises(FrozenInstanceError):
        config.mtu = 1400  # type: ignore[misc]


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


@given(st.text("0123456789abcdef.:/ viametric"))
@example("10.8.0.0/16 metric 4294967296")
@example("10.8.0.0/16 metric " + "9" * 5000)
def test_any_text_is_a_route_or_an_error(text: str) -> None:
    with suppress(ConfigError):
        assert Route.parse(str(Route.parse(text))) == Route.parse(text)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"offload": "icmp"}, ConfigError, '"tcp" or "udp"'),
        ({"mac": "02:00:00:00:00:01"}, MACError, "a TUN has no MAC"),
        ({"layer": "tap", "mac": "02:00:00:00:00"}, MACError, "is not a MAC"),
        ({"layer": "tap", "mac": "02:00-00:00:00:01"}, MACError, "is not a MAC"),
        ({"layer": "tap", "mac": b"\2\0\0\0\0\1"}, MACError, "is not a MAC"),
        ({"layer": "tap", "mac": "01:00:5e:00:00:01"}, MACError, "for groups"),
        ({"layer": "tap", "mac": "00:00:00:00:00:00"}, MACError, "cannot be"),
        ({"tx_queue_len": 0}, ConfigError, "tx_queue_len 0 is out of range"),
        ({"tx_queue_len": 2**31}, ConfigError, "out of range"),
        ({"tx_queue_len": True}, ConfigError, "out of range"),
        ({"metric": -1}, ConfigError, "metric -1 is out of range"),
        ({"metric": 2**32}, ConfigError, "out of range"),
        ({"metric": "50"}, ConfigError, "out of range"),
        ({"up": False, "routes": "10.8.0.0/16"}, RouteError, "device that is up"),
    ],
)
def test_values_that_no_device_can_have(
    settings: dict[str, Any], error: type[ConfigError], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        DeviceConfig(**settings)
    assert type(caught.value) is error
    assert caught.value.errno == errno.EINVAL


def test_mac_is_written_in_one_way() -> None:
    config = DeviceConfig(layer="tap", mac="02-00-5E-00-00-0A")
    assert config.mac == "02:00:5e:00:00:0a"


def test_help_explains_every_keyword() -> None:
    text = inspect.getdoc(DeviceConfig)
    assert text is not None
    explained = re.findall(r"^(\w+): \S+", text, re.MULTILINE)
    assert explained == [field.name for field in fields(DeviceConfig)]
    assert explained == list(inspect.signature(DeviceConfig).parameters)
