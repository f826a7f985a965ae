"""Descriptors from elsewhere: what is refused stays as it was."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import fcntl
import os
import struct
from collections.abc import Iterator
from typing import Any

import pytest

import aiotun
from aiotun import errors
from aiotun.platforms.linux import tun
from aiotun.platforms.linux.remedies import NODE
from aiotun.testing.namespace import Namespace

pytestmark = pytest.mark.requires("tun", "netns")

HEADER = struct.pack("=i", 12)


@pytest.fixture
def fd(namespace: Namespace) -> Iterator[int]:
    """A device of another program, which blocks and has headers of another size."""
    fd = namespace.run(os.open, NODE, os.O_RDWR)
    flags = tun.IFF_TUN | tun.IFF_NO_PI | tun.IFF_VNET_HDR
    fcntl.ioctl(fd, tun.TUNSETIFF, tun.IFREQ.pack(b"t0", flags))
    fcntl.ioctl(fd, tun.TUNSETVNETHDRSZ, HEADER)
    yield fd
    os.close(fd)


def is_untouched(fd: int) -> bool:
    return os.get_blocking(fd) and fcntl.ioctl(fd, tun.TUNGETVNETHDRSZ, bytes(4)) == HEADER


def test_taken(fd: int) -> None:
    with aiotun.Device.from_fd(fd, closefd=False) as device:
        assert (device.name, device.offload) == ("t0", True)
        assert not is_untouched(fd)


def test_of_another_driver(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A macvtap answers the same questions; its node is another."""
    monkeypatch.setattr(tun, "TUN_DEVICE", os.stat("/dev/null").st_rdev)
    with pytest.raises(errors.UnsupportedError, match=r"macvtap.*framing="):
        aiotun.Device.from_fd(fd)
    assert is_untouched(fd)


def test_with_packet_information(namespace: Namespace) -> None:
    fd = namespace.run(os.open, NODE, os.O_RDWR)
    fcntl.ioctl(fd, tun.TUNSETIFF, tun.IFREQ.pack(b"t0", tun.IFF_TUN))
    with pytest.raises(errors.UnsupportedError, match=r'packet information.*framing="pi"'):
        aiotun.Device.from_fd(fd)
    assert os.get_blocking(fd)
    os.close(fd)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"framing": "nonsense"}, errors.ConfigError, '"none", "vnet", "pi", "family"'),
        ({"framing": ""}, errors.ConfigError, "framing must be one of"),
        ({"framing": "none", "layer": "ip"}, errors.ConfigError, 'layer must be "tun" or "tap"'),
        ({"layer": "ip"}, errors.ConfigError, 'layer must be "tun" or "tap"'),
        ({"framing": "none", "mtu": 0}, errors.MTUError, "mtu 0 is out of range"),
        ({"framing": "none", "mtu": "1500"}, errors.MTUError, "mtu must be an int"),
        ({"framing": "none", "mtu": 65536}, errors.MTUError, "mtu 65536 is out of range"),
    ],
)
def test_what_no_device_has(
    fd: int, settings: dict[str, Any], error: type[errors.ConfigError], words: str
) -> None:
    with pytest.raises(error) as caught:
        aiotun.Device.from_fd(fd, **settings)
    assert words in str(caught.value).replace("'", '"')
    assert is_untouched(fd)


def test_a_tun_with_another_type_of_link(namespace: Namespace) -> None:
    """TUNSETLINK makes an address of six bytes of it, which nobody gave."""
    tunsetlink, ethernet = 0x400454CD, 1  # linux/if_tun.h, linux/if_arp.h
    with namespace.run(aiotun.Device, name="t0", up=False) as device:
        device.events()
        fcntl.ioctl(device.fileno(), tunsetlink, ethernet)
        assert device.mac is None
        device.up()
        (event,) = [
            each for each in device.events() if isinstance(each, aiotun.interfaces.LinkChanged)
        ]
        assert event.mac is None
