"""Groups of options that one system alone has: their values, and where they are refused."""

from __future__ import annotations

import sys
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from aiotun.config import DeviceConfig
from aiotun.errors import AddressError, ConfigError
from aiotun.options import GROUPS, WindowsOptions

GUID = UUID("a1b2c3d4-0000-4000-8000-000000000001")


def test_values_are_kept_in_one_form() -> None:
    options = WindowsOptions(
        description="x" * 127,
        guid="{A1B2C3D4-0000-4000-8000-000000000001}",
        ring_capacity=0x20000,
        wintun_file=Path("wintun.dll"),
        dns=["1.1.1.1", IPv6Address("fd00::1")],
        dns_search=["corp.example"],
    )
    assert options.guid == GUID
    assert options.wintun_file == "wintun.dll"
    assert options.dns == (IPv4Address("1.1.1.1"), IPv6Address("fd00::1"))
    assert options.dns_search == ("corp.example",)
    assert options == WindowsOptions(
        description="x" * 127,
        guid=GUID,
        ring_capacity=128 << 10,
        wintun_file="wintun.dll",
        dns=options.dns,
        dns_search="corp.example",
    )
    assert WindowsOptions(dns="1.1.1.1").dns == (IPv4Address("1.1.1.1"),)


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"description": ""}, ConfigError, "1 to 127"),
        ({"description": "x" * 128}, ConfigError, "1 to 127"),
        ({"description": "\U0001f600" * 64}, ConfigError, "1 to 127"),  # two units each
        ({"description": "a\0b"}, ConfigError, "no NUL"),
        ({"description": 5}, ConfigError, "must be a str"),
        ({"guid": "a1b2"}, ConfigError, "not a GUID"),
        ({"guid": 5}, ConfigError, "not a GUID"),
        ({"ring_capacity": 0x10000}, ConfigError, "a power of two"),
        ({"ring_capacity": 0x8000000}, ConfigError, "a power of two"),
        ({"ring_capacity": 0x20001}, ConfigError, "a power of two"),
        ({"ring_capacity": True}, ConfigError, "a power of two"),
        ({"ring_capacity": "8M"}, ConfigError, "a power of two"),
        ({"dns": ["resolver.example"]}, AddressError, "DNS server"),
        ({"dns_search": ["a,b"]}, ConfigError, "domain to search"),
        ({"dns_search": [""]}, ConfigError, "domain to search"),
        ({"dns_search": [5]}, ConfigError, "domain to search"),
    ],
)
def test_values_that_no_device_has(
    options: dict[str, Any], kind: type[ConfigError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        WindowsOptions(**options)


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_a_group_is_taken_by_its_system_alone(group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind: type[Any] = GROUPS[group]
    options: dict[str, Any] = {group: kind()}
    monkeypatch.setattr(sys, "platform", "plan9")
    with pytest.raises(ConfigError, match=f"{group}= has the options .* {kind.system}.* on plan9"):
        DeviceConfig(**options)
    monkeypatch.setattr(sys, "platform", kind.platform + "14")
    assert getattr(DeviceConfig(**options), group) == kind()
    with pytest.raises(ConfigError, match=f"{group} must be a {kind.__name__}"):
        DeviceConfig(**{**options, group: {}})
