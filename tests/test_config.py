"""DeviceConfig: every form a value may have, and every value that no device can have."""

from __future__ import annotations

import errno
import inspect
import re
import sys
from dataclasses import FrozenInstanceError, fields
from ipaddress import (
    IPv4Interface,
)
from typing import Any

import pytest

from aiotun.addresses import Address
from aiotun.config import DeviceConfig, check_mtu
from aiotun.errors import (
    ConfigError,
    MACError,
    MTUError,
    NameInvalidError,
    RouteError,
)

V4 = IPv4Interface("10.9.0.1/24")


def of_posix(*values: str) -> Any:
    """Windows has other rules (tests/platforms/windows/test_opening.py)."""
    mark = pytest.mark.skipif(sys.platform == "win32", reason="a rule of POSIX' systems")
    return pytest.param(*values, marks=mark)


@pytest.mark.parametrize(
    "name", ["a", "vpn0", "vpn%d", "%d", "x" * 15, "é", "a.b", "...", "a-b", of_posix("\u2003")]
)
def test_name(name: str) -> None:
    assert DeviceConfig(name=name).name == name


BAD_NAMES = [
    of_posix("", "empty"),
    of_posix("x" * 16, "16 bytes, 15 are possible"),
    of_posix("é" * 8, "16 bytes, 15 are possible"),
    of_posix(".", "not possible"),
    of_posix("..", "not possible"),
    ("a/b", "not possible"),
    ("a:b", "not possible"),
    of_posix("a b", "not possible"),
    ("a\n", "not possible"),
    ("a\0b", "not possible"),
    of_posix("à", "not possible"),
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
        ({"owner": -1}, ConfigError, "neither a name nor a number from 0 to"),
        ({"owner": 1.5}, ConfigError, "neither a name nor a number from 0 to"),
        ({"group": True}, ConfigError, "neither a name nor a number from 0 to"),
        ({"group": 2**32 - 1}, ConfigError, "neither a name nor a number from 0 to"),
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
