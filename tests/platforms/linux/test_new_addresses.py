"""The kernel takes packets to a new IPv6 address once the call that brought it returns."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import time
from collections.abc import Callable
from ipaddress import IPv6Address
from pathlib import Path

import pytest

import aiotun
from aiotun.platforms.linux import interface
from aiotun.testing.namespace import Namespace

pytestmark = pytest.mark.requires("tun", "netns")

OWN = "fd00::1"
RTF_LOCAL = 0x80000000  # linux/ipv6_route.h


def is_heard(namespace: Namespace, address: str) -> bool:
    """Whether there is a local route to it."""
    table = namespace.run(Path("/proc/thread-self/net/ipv6_route").read_text)
    found = [line.split() for line in table.splitlines()]
    digits = IPv6Address(address).packed.hex()
    return any(route[0] == digits and int(route[8], 16) & RTF_LOCAL for route in found)


def opened(device: aiotun.Device) -> None:
    pass


def added(device: aiotun.Device) -> None:
    device.remove_address(f"{OWN}/64")
    device.add_address(f"{OWN}/64")


def set_anew(device: aiotun.Device) -> None:
    device.set_addresses(["fd00::2/64"])
    device.set_addresses([f"{OWN}/64"])


def up_again(device: aiotun.Device) -> None:
    device.down()
    device.up()


def with_ipv6_again(device: aiotun.Device) -> None:
    device.mtu = 1000
    device.mtu = 1500


@pytest.mark.parametrize("how", [opened, added, set_anew, up_again, with_ipv6_again])
def test_heard_at_once(how: Callable[[aiotun.Device], None], namespace: Namespace) -> None:
    for _ in range(20):  # it is a race, which the kernel wins now and then
        with namespace.run(aiotun.Device, addresses=f"{OWN}/64") as device:
            how(device)
            assert is_heard(namespace, OWN)


@pytest.mark.parametrize(
    "settings", [{"dad": True, "layer": "tap"}, {"up": False}, {"carrier": False}], ids=str
)
def test_there_is_nothing_to_wait_for(
    settings: dict[str, object], namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While duplicates are looked for, and where nothing arrives."""
    monkeypatch.setattr(interface, "HEARD_WITHIN", 600.0)  # longer than a test may take
    with namespace.run(aiotun.Device, **settings) as device:
        device.add_address(f"{OWN}/64")
        device.down()
        device.up()


def test_the_wait_has_an_end(namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interface, "HEARD_WITHIN", 0.1)
    monkeypatch.setattr(interface, "decode_route", lambda body: None)
    began = time.monotonic()
    with namespace.run(aiotun.Device, addresses=f"{OWN}/64"):
        assert time.monotonic() >= began + 0.1
