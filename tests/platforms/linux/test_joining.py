"""A further queue of an interface of which others have queues, or had: whose frames they are."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import outside
import pytest

import aiotun
from aiotun import errors
from aiotun.platforms.linux import tun
from aiotun.platforms.linux.ethtool import TCP_SEGMENTATION, UDP_SEGMENTATION, active_features
from aiotun.platforms.linux.remedies import NODE
from aiotun.testing.namespace import Namespace

pytestmark = pytest.mark.requires("tun", "netns", "multi-queue")


@contextmanager
def raw(
    namespace: Namespace, flags: int = 0, header: int | None = None
) -> Iterator[tuple[int, int]]:
    """A first queue of another program, and its interface's flags."""
    flags |= tun.IFF_TUN | tun.IFF_MULTI_QUEUE
    fd = namespace.run(os.open, NODE, os.O_RDWR)  # which decides where the interface is made
    try:
        fcntl.ioctl(fd, tun.TUNSETIFF, tun.IFREQ.pack(b"t0", flags))
        if header is not None:
            fcntl.ioctl(fd, tun.TUNSETVNETHDRSZ, struct.pack("=i", header))
        yield fd, flags
    finally:
        os.close(fd)


def offloads(namespace: Namespace) -> tuple[bool, bool]:
    """Whether the kernel hands out super-packets of TCP and of UDP."""
    features = namespace.run(active_features, "t0")
    return TCP_SEGMENTATION in features, UDP_SEGMENTATION in features


def state(device: aiotun.Device) -> tuple[bool, bool, bool]:
    return device.offload, device.tcp_offload, device.udp_offload


@pytest.mark.requires("tso", "uso")
@pytest.mark.parametrize("second", [False, True, "tcp", "udp"])
@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (False, (False, False, False)),
        (True, (True, True, True)),
        ("tcp", (True, True, False)),
        ("udp", (True, False, True)),
    ],
)
def test_the_first_queue_decides(
    namespace: Namespace, first: Any, second: Any, expected: tuple[bool, bool, bool]
) -> None:
    settings = {"name": "t0", "multi_queue": True}
    with namespace.run(
        aiotun.Device, **settings, offload=first, addresses="10.9.0.1/24", ipv6_quiet=True
    ) as one:
        assert state(one) == expected
        with namespace.run(aiotun.Device, **settings, offload=second) as other:
            assert state(one) == state(other) == expected
            assert offloads(namespace) == expected[1:]
            with other.open_queue() as third:
                assert state(third) == expected
            with namespace.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as sock:
                for port in range(1000, 1032):
                    sock.sendto(b"hello", ("10.9.0.2", port))
            missing = 32
            while missing:
                for device in (one, other):
                    if device.wait_readable(0):
                        packets = device.recv_many()
                        assert all(packet[0] == 0x45 for packet in packets)
                        missing -= len(packets)
            assert missing == 0
        assert offloads(namespace) == expected[1:]


def test_without_a_header_no_super_packets_are_asked_for(namespace: Namespace) -> None:
    with (
        raw(namespace, tun.IFF_NO_PI),
        namespace.run(aiotun.Device, name="t0", multi_queue=True, offload=True) as device,
    ):
        assert state(device) == (False, False, False)
        assert offloads(namespace) == (False, False)


@pytest.mark.parametrize(
    ("flags", "header", "words"),
    [
        pytest.param(0, None, "packet information", id="packet information"),
        pytest.param(tun.IFF_NO_PI | tun.IFF_VNET_HDR, 12, "headers of 12 bytes", id="header"),
    ],
)
def test_frames_that_cannot_be_read(
    namespace: Namespace, flags: int, header: int | None, words: str
) -> None:
    with raw(namespace, flags, header) as (fd, before):
        with pytest.raises(errors.UnsupportedError, match=words):
            namespace.run(aiotun.Device, name="t0", multi_queue=True)
        assert tun.IFREQ.unpack(fcntl.ioctl(fd, tun.TUNGETIFF, bytes(40)))[1] & before == before
        if header is not None:
            size = fcntl.ioctl(fd, tun.TUNGETVNETHDRSZ, bytes(4))
            assert struct.unpack("=i", size) == (header,)


def test_headers_of_the_other_byte_order(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that is big-endian has none on most desks."""
    with raw(namespace, tun.IFF_NO_PI | tun.IFF_VNET_HDR, 10) as (fd, _):
        fcntl.ioctl(fd, tun.TUNSETVNETLE, struct.pack("=i", 1))
        monkeypatch.setattr(sys, "byteorder", "big")
        with pytest.raises(errors.UnsupportedError, match="little-endian headers of 10 bytes"):
            namespace.run(aiotun.Device, name="t0", multi_queue=True)


def test_a_queue_that_takes_no_packets_counts(namespace: Namespace) -> None:
    tunsetqueue, detach = 0x400454D9, 0x0400  # linux/if_tun.h
    with raw(namespace, tun.IFF_NO_PI) as (fd, _):
        fcntl.ioctl(fd, tunsetqueue, tun.IFREQ.pack(b"", detach))
        with namespace.run(aiotun.Device, name="t0", multi_queue=True) as device:
            assert device.queues == 2
            assert not device.offload


def test_what_the_last_user_left(namespace: Namespace) -> None:
    """A persistent interface keeps the size and the byte order of headers, and offloads."""
    namespace.run(outside.persistent, "t0", tun.IFF_TUN | tun.IFF_VNET_HDR)
    fd = namespace.run(os.open, NODE, os.O_RDWR)
    flags = tun.IFF_TUN | tun.IFF_NO_PI | tun.IFF_VNET_HDR
    fcntl.ioctl(fd, tun.TUNSETIFF, tun.IFREQ.pack(b"t0", flags))
    fcntl.ioctl(fd, tun.TUNSETVNETLE, struct.pack("=i", 1))
    os.close(fd)
    with namespace.run(aiotun.Device, name="t0", offload="udp") as device:
        fd = device.fileno()
        assert struct.unpack("=i", fcntl.ioctl(fd, tun.TUNGETVNETLE, bytes(4))) == (0,)
        assert struct.unpack("=i", fcntl.ioctl(fd, tun.TUNGETVNETHDRSZ, bytes(4))) == (10,)
        assert offloads(namespace) == (device.tcp_offload, device.udp_offload)


@pytest.mark.interop
@pytest.mark.requires("ethtool")
def test_features_as_ethtool_shows_them(namespace: Namespace) -> None:
    with namespace.run(aiotun.Device, name="t0"):
        lines = namespace.command("ethtool", "-k", "t0").splitlines()[1:]
        shown = {line.strip().split(": ")[0] for line in lines if ": on" in line}
        own_words = {name for name in shown if not name.startswith(("tx-", "rx-"))}
        own_words |= {"tx-checksumming", "tx-vlan-offload"}  # each for several features
        assert shown - own_words <= namespace.run(active_features, "t0")
