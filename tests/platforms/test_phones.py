"""What phones tell of a descriptor. Their systems are models here, each of one call or two."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from rigs import packet

import aiotun
from aiotun import platforms
from aiotun.platforms import adopted, phones

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


class Sockets:
    """A model of what getsockopt(2) says of descriptors on Apple's systems.

    Level 2 is the protocol of the kernel's controls, option 2 an interface's name: both
    utun and IPsec have it, with the bytes behind a name's end as they happen to be. Another
    socket has no such option, and what is no socket cannot be asked.
    """

    def __init__(self, names: dict[int, bytes | None]) -> None:
        self.names = names
        self.detached: list[int] = []

    def socket(self, *, fileno: int) -> Sockets:
        if fileno not in self.names:
            raise OSError(errno.ENOTSOCK, "not a socket")
        self.fd = fileno
        return self

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        name = self.names[self.fd]
        if (level, option) != (2, 2) or name is None:
            raise OSError(errno.ENOPROTOOPT, "no such option")
        return name[:size]

    def detach(self) -> None:
        self.detached.append(self.fd)


@pytest.fixture
def apple(monkeypatch: pytest.MonkeyPatch) -> Sockets:
    sockets = Sockets({4: None, 5: b"ipsec0\0", 7: b"utun4\0"})
    monkeypatch.setattr(phones, "socket", sockets)
    monkeypatch.setattr(phones, "APPLE", True)
    return sockets


def test_find_utun_descriptor(apple: Sockets) -> None:
    assert aiotun.handover.find_utun_descriptor() == 7
    assert apple.detached == [4, 5, 7], "what was looked at stays open"
    del apple.names[7]
    with pytest.raises(aiotun.NoDriverError, match="setTunnelNetworkSettings") as caught:
        aiotun.handover.find_utun_descriptor()
    assert caught.value.errno == errno.ENOENT


def test_a_utun_has_the_family_in_front(
    apple: Sockets, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "ios")
    near, far = pair
    fd = near.detach()
    apple.names[fd] = b"utun12\0"
    with aiotun.Device.from_fd(fd) as device:
        far.send(b"\0\0\0\2" + packet(1))
        assert device.recv(timeout=2) == packet(1)


def test_another_socket_is_none(
    apple: Sockets, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    for fd in (4, 5, 6):
        with pytest.raises(aiotun.UnsupportedError, match="darwin cannot tell"):
            aiotun.Device.from_fd(fd)


def test_ios_makes_none(apple: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "ios")
    with pytest.raises(aiotun.UnsupportedError, match=r"on ios: .*find_utun_descriptor"):
        aiotun.Device()


def test_there_is_none_here(pair: Pair) -> None:
    assert all(phones.utun_name(fd) is None for fd in (pair[0].fileno(), 0, 99999))
    with socket.socket() as tcp:
        assert phones.utun_name(tcp.fileno()) is None
    with pytest.raises(aiotun.UnsupportedError, match="no utun on linux"):
        aiotun.handover.find_utun_descriptor()
