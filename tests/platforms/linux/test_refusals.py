"""TUNs handed to a process that may ask little of them (seccomp filters, which are real).

A filter holds for the thread that asked for it.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import contextlib
import fcntl
import os
import select
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import outside
import pytest
from restricted import (
    CAP_NET_ADMIN,
    CAP_SYS_ADMIN,
    drop_capabilities,
    no_ioctls_of_a_tun,
    no_netlink,
    no_netlink_and_hardly_an_ioctl,
    no_netlink_and_no_ioctl,
)
from rigs import Recorder, TunRig, endpoint, packet, segments, until

import aiotun
from aiotun.handover import receive_device, send_device
from aiotun.platforms.adopted import FdInterface
from aiotun.platforms.linux.threads import in_thread
from aiotun.platforms.linux.tun import TUNSETVNETHDRSZ
from aiotun.testing import Namespace

pytestmark = pytest.mark.requires("tun", "netns")

REFUSALS: dict[str, tuple[Callable[[], None], str]] = {
    "netlink": (no_netlink, "t0"),
    "netlink and ioctls": (no_netlink_and_hardly_an_ioctl, "t0"),
    "netlink and all ioctls": (no_netlink_and_no_ioctl, "fd"),
    "ioctls": (no_ioctls_of_a_tun, "fd"),
}
"""And what the device's name begins with then."""


def adopt(rig: TunRig, refuse: Callable[[], object], **settings: Any) -> aiotun.Device:
    """The rig's device, taken over by a thread of which that is taken."""
    fd = rig.device.detach()

    def call() -> aiotun.Device:
        refuse()
        return aiotun.Device.from_fd(fd, **settings)

    return rig.namespace.run(call)


@contextlib.contextmanager
def tun_rig(**settings: Any) -> Iterator[TunRig]:
    rig = TunRig(name="t0", addresses="10.9.0.1/24", **settings)
    try:
        yield rig
    finally:
        rig.close()


refusals = pytest.mark.parametrize(("refuse", "name"), REFUSALS.values(), ids=REFUSALS)


@refusals
def test_a_tun_of_which_little_is_known(refuse: Callable[[], None], name: str) -> None:
    with tun_rig(offload=False) as rig, adopt(rig, refuse, mtu=1400) as device:
        assert isinstance(device.interface, FdInterface)
        assert device.name.startswith(name)
        assert (device.layer, device.mtu, device.offload) == ("tun", 1400, False)
        rig.send(packet(1))
        assert device.recv(timeout=2) == packet(1)
        device.send(packet(2))
        assert rig.recv() == packet(2)
        with pytest.raises(aiotun.UnsupportedError, match="ask whoever handed it over"):
            device.addresses()
        assert device.is_up
        rig.namespace.run(outside.set_up, "t0", False)
        assert not device.is_up
        with pytest.raises(aiotun.InterfaceDownError, match="handed the descriptor over"):
            device.send(packet(3))
        rig.namespace.run(outside.set_up, "t0", True)
        device.send(packet(4))
        rig.delete()
        for _ in range(2):
            with pytest.raises(aiotun.InterfaceGoneError):
                device.recv(timeout=2)
            with pytest.raises(aiotun.InterfaceGoneError):
                device.send(packet(5))
        assert not device.is_up


@refusals
def test_borrowed_and_given_away(refuse: Callable[[], None], name: str) -> None:
    with tun_rig(offload=False) as rig:
        fd = rig.device.detach()

        def borrow() -> aiotun.Device:
            refuse()
            return aiotun.Device.from_fd(fd, closefd=False)

        with rig.namespace.run(borrow) as device:
            rig.send(packet(1))
            assert device.recv(timeout=2) == packet(1)
        device = rig.namespace.run(borrow)
        assert device.detach() == fd
        rig.send(packet(2))
        assert select.select([fd], [], [], 2)[0]
        assert os.read(fd, 100) == packet(2)
        os.close(fd)


@refusals
async def test_its_deletion_on_a_loop(refuse: Callable[[], None], name: str) -> None:
    with tun_rig(offload=False) as rig:
        async with endpoint(adopt(rig, refuse), Recorder) as protocol:
            rig.send(packet(1))
            await until(lambda: protocol.packets)
            rig.delete()
            await until(lambda: protocol.named("connection_lost"))
            (error,) = protocol.named("connection_lost")
            assert isinstance(error, aiotun.InterfaceGoneError)


async def test_its_deletion_while_paused() -> None:
    """Nothing tells of it until something is written, or reading resumes."""
    with tun_rig(offload=False) as rig:
        async with endpoint(adopt(rig, no_netlink_and_no_ioctl), Recorder) as protocol:
            protocol.transport.pause_reading()
            rig.delete()
            protocol.transport.write(packet(1))
            await until(lambda: protocol.named("connection_lost"))


def test_a_tap_of_which_little_is_known() -> None:
    frame = bytes.fromhex("ffffffffffff 020000000001 0800") + packet(1)
    with (
        tun_rig(layer="tap", offload=False) as rig,
        adopt(rig, no_netlink_and_hardly_an_ioctl) as device,
    ):
        assert device.layer == "tap"
        device.send(frame)
        assert rig.recv() == frame


@pytest.mark.parametrize("refuse", [no_netlink, no_netlink_and_hardly_an_ioctl])
def test_super_packets_of_which_little_is_known(refuse: Callable[[], None]) -> None:
    """Its descriptor has virtio headers, which the driver's flags tell."""
    with tun_rig(offload=True) as rig, adopt(rig, refuse) as device:
        assert (device.offload, device.queue.framing) == (True, "vnet")
        device.send_many(segments(3))
        assert len(rig.recv()) == 3 * 1000 + 40
        assert device.counters.frames_sent == 1


def test_super_packets_handed_to_whom_may_ask_nothing() -> None:
    """What the sender says of its descriptor is believed then."""
    near, far = socket.socketpair()
    with tun_rig(offload=True) as rig, near, far:
        send_device(near, rig.device)

        def receive() -> aiotun.Device:
            no_netlink_and_no_ioctl()
            return receive_device(far)

        with rig.namespace.run(receive) as device:
            rig.send(packet(1))
            assert device.recv(timeout=2) == packet(1)
            device.send_many(segments(3))
            assert len(rig.recv()) == 3 * 1000 + 40


def test_headers_of_another_size() -> None:
    with tun_rig(offload=True) as rig:
        fcntl.ioctl(rig.device.fileno(), TUNSETVNETHDRSZ, struct.pack("=i", 12))
        fd = rig.device.detach()

        def call() -> None:
            no_netlink()
            aiotun.Device.from_fd(fd)

        with pytest.raises(aiotun.UnsupportedError, match="headers of 12 bytes"):
            rig.namespace.run(call)
        os.close(fd)


@pytest.mark.parametrize("dropped", [[CAP_SYS_ADMIN], [CAP_SYS_ADMIN, CAP_NET_ADMIN]])
def test_a_tun_of_a_network_that_cannot_be_entered(dropped: list[int]) -> None:
    """As slirp4netns and rootless containers hand over theirs."""
    with tun_rig(offload=False) as rig, Namespace() as other:
        fd = rig.device.detach()

        def call() -> aiotun.Device:
            drop_capabilities(*dropped)
            return aiotun.Device.from_fd(fd, mtu=1400)

        with other.run(call) as device:
            assert (device.name, device.mtu) == ("t0", 1400)
            rig.send(packet(1))
            assert device.recv(timeout=2) == packet(1)


def test_another_descriptor_whose_ioctls_are_forbidden() -> None:
    reading, writing = os.pipe()

    def call() -> None:
        no_ioctls_of_a_tun()
        aiotun.Device.from_fd(reading)

    with pytest.raises(aiotun.UnsupportedError, match="is not of a TUN"):
        in_thread(call)
    os.close(reading)
    os.close(writing)
