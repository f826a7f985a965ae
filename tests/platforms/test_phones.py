"""What phones tell of a descriptor. Their systems are models here, each of one call or two."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import ClassVar

import pytest
from models.darwin import DarwinKernel
from models.devices import open_on_model
from rigs import packet

import aiotun
from aiotun import platforms
from aiotun.platforms import adopted, phones
from aiotun.platforms.bsd.kernel import Kernel
from aiotun.platforms.darwin.utun import utun_name

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with near, far:
        yield near, far


# Android.


@pytest.fixture
def android(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (phones, platforms, adopted):
        monkeypatch.setattr(module, "ANDROID", True)


def test_a_python_of_android_is_known() -> None:
    assert not phones.ANDROID
    program = (
        "import sys; sys.getandroidapilevel = lambda: 30\n"
        "import aiotun; assert aiotun.platforms.phones.ANDROID"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_android_has_nothing_in_front(android: None, pair: Pair) -> None:
    near, far = pair
    with aiotun.Device.from_fd(near.detach(), mtu=1400) as device:
        assert (device.queue.framing, device.layer, device.mtu) == ("none", "tun", 1400)
        far.send(packet(1))
        assert device.recv(timeout=2) == packet(1)
        device.send(packet(2))
        assert far.recv(100) == packet(2)


def test_android_makes_none(android: None) -> None:
    with pytest.raises(aiotun.UnsupportedError, match=r"on android: .*VpnService.*from_fd"):
        aiotun.Device()


# Errors of a descriptor, which are each system's.


def refuse(call: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(fd: int, data: object) -> bytes:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, refused)


@pytest.mark.parametrize("number", [errno.ENXIO, errno.ENODEV, errno.EIO, errno.ECONNRESET])
def test_reading_what_was_taken_back(
    pair: Pair, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with aiotun.Device.from_fd(pair[0].detach(), framing="family") as device:
        refuse("read", number, monkeypatch)
        with pytest.raises(aiotun.InterfaceGoneError, match="took it back"):
            device.recv(timeout=0)


@pytest.mark.parametrize("number", [errno.ENXIO, errno.ENODEV, errno.ENOTCONN, errno.EPIPE])
def test_writing_what_was_taken_back(
    pair: Pair, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with aiotun.Device.from_fd(pair[0].detach(), framing="family") as device:
        refuse("write", number, monkeypatch)
        with pytest.raises(aiotun.InterfaceGoneError, match="took it back"):
            device.send(packet())


def test_any_other_error_ends_nothing(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    with aiotun.Device.from_fd(pair[0].detach(), framing="family") as device:
        with monkeypatch.context() as patch:
            refuse("write", errno.ENOBUFS, patch)
            with pytest.raises(OSError, match="No buffer space") as caught:
                device.send(packet(1))
            assert not isinstance(caught.value, aiotun.TunError)
        device.send(packet(2))
        assert pair[1].recv(100)[4:] == packet(2)
        assert device.counters.dropped_sent == 1


# utun.


class Sockets(Kernel):
    """A MODEL of what getsockopt(2) says of descriptors on Apple's systems.

    Level 2 is the protocol of the kernel's controls, option 2 an interface's name: both utun
    and IPsec have it. Another socket has no such option, and what is no socket cannot be asked.
    """

    names: ClassVar[dict[int, bytes | None]] = {4: None, 5: b"ipsec0\0", 7: b"utun4\0"}

    def getsockopt(self, fd: int, level: int, option: int, size: int) -> bytes:
        if fd not in self.names:
            raise OSError(errno.ENOTSOCK, "not a socket")
        name = self.names[fd]
        if (level, option) != (2, 2) or name is None:
            raise OSError(errno.ENOPROTOOPT, "no such option")
        return name[:size]


@pytest.fixture
def apple(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiotun.platforms.bsd.kernel.Kernel", Sockets)
    monkeypatch.setattr(phones, "APPLE", True)
    monkeypatch.setattr(platforms, "APPLE", True)
    monkeypatch.setattr(sys, "platform", "ios")


def test_find_utun_descriptor(apple: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert aiotun.handover.find_utun_descriptor() == 7
    monkeypatch.setattr(Sockets, "names", {5: b"ipsec0\0"})
    with pytest.raises(aiotun.NoDriverError, match="setTunnelNetworkSettings") as caught:
        aiotun.handover.find_utun_descriptor()
    assert caught.value.errno == errno.ENOENT


def test_another_descriptor_is_none(apple: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiotun.platforms.darwin.Kernel", Sockets)
    for fd in (4, 5, 6):
        with pytest.raises(aiotun.UnsupportedError, match="ios cannot tell"):
            aiotun.Device.from_fd(fd)


def test_ios_makes_none(apple: None) -> None:
    with pytest.raises(aiotun.UnsupportedError, match=r"on ios: .*find_utun_descriptor"):
        aiotun.Device()


@pytest.fixture
def utun(apple: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[DarwinKernel, int]]:
    """The descriptor of a utun on the MODEL of macOS, whose maker does no more with it."""
    kernel = DarwinKernel()
    monkeypatch.setattr("aiotun.platforms.darwin.Kernel", lambda: kernel)
    yield kernel, open_on_model(kernel, addresses="10.9.0.1/24", mtu=1400).detach()
    assert not kernel.interfaces, "it lives as long as its descriptor"


def test_a_utun_from_elsewhere(utun: tuple[DarwinKernel, int]) -> None:
    kernel, fd = utun
    with aiotun.Device.from_fd(fd) as device:
        assert (device.name, device.mtu, device.layer) == ("utun0", 1400, "tun")
        assert [str(address) for address in device.addresses()] == ["10.9.0.1/24"]
        kernel.emit("utun0", packet(1))
        assert device.recv(timeout=2) == packet(1)
        device.queue.direct = None  # the model's own write, with its refusals
        kernel.refusals["write"] = [errno.ENOBUFS] * 3
        device.send(packet(2), timeout=5)
        assert kernel.taken("utun0") == packet(2)
        assert device.counters.dropped_sent == 0


def test_a_utun_in_a_sandbox(
    utun: tuple[DarwinKernel, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing may be asked of the interface, as in an app."""
    kernel, fd = utun

    def refuse(path: object) -> bytes:
        raise PermissionError(errno.EPERM, "the sandbox forbids it")

    monkeypatch.setattr(kernel, "sysctl", refuse)
    with aiotun.Device.from_fd(fd, mtu=1300) as device:
        assert (device.name, device.mtu) == ("utun0", 1300)
        with pytest.raises(aiotun.UnsupportedError, match="ask whoever handed it over"):
            device.addresses()
        kernel.emit("utun0", packet(1))
        assert device.recv(timeout=2) == packet(1)
        device.send(packet(2))
        assert kernel.taken("utun0") == packet(2)


def test_a_borrowed_utun_stays_open(utun: tuple[DarwinKernel, int]) -> None:
    kernel, fd = utun
    with aiotun.Device.from_fd(fd, closefd=False) as device:
        kernel.emit("utun0", packet(1))
        assert device.recv(timeout=2) == packet(1)
    os.fstat(fd)
    kernel.close(fd)


def test_there_is_none_here(pair: Pair) -> None:
    """Linux' own getsockopt(2) is asked."""
    kernel = Kernel()
    assert all(utun_name(kernel, fd) is None for fd in (pair[0].fileno(), 0, 99999))
    with socket.socket() as tcp:
        assert utun_name(kernel, tcp.fileno()) is None
    with pytest.raises(aiotun.UnsupportedError, match="no utun on linux"):
        aiotun.handover.find_utun_descriptor()
