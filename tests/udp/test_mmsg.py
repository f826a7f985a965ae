"""Many datagrams received in one call: on a MODEL of recvmsg_x and of the BSDs' recvmmsg(2)."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from headers import ask
from hypothesis import given
from hypothesis import strategies as st
from models.udp import ModelUdpSocket, receive_many, use_sockets_of
from rigs import until
from udp_rigs import endpoint, udp_socket

import aiotun
from aiotun.platforms.bsd.headers import darwin, netbsd, openbsd
from aiotun.platforms.bsd.headers.common import iovec
from aiotun.udp import endpoint as udp_endpoint
from aiotun.udp import mmsg
from aiotun.udp.bsd import BsdUdpSocket
from aiotun.udp.cmsg import ControlMessage
from aiotun.udp.mmsg import ROOMS, Receiver, check_call, control_messages, system_call
from aiotun.udp.protocol import UdpCounters

HEADERS = [netbsd, openbsd, darwin]
NAMES = ["netbsd", "openbsd", "darwin"]

each_system = pytest.mark.parametrize("headers", HEADERS, ids=NAMES)


def model_socket(headers: ModuleType) -> Callable[[int, int], socket.socket]:
    def make(family: int, kind: int) -> socket.socket:
        sock = socket.socket(family, kind)
        ModelUdpSocket.of(sock, headers)
        return sock

    return make


class Rig:
    """A socket of such a system, and one that sends to it."""

    def __init__(self, headers: ModuleType, host: str = "127.0.0.1") -> None:
        self.calls: list[int] = []
        self.errors: list[OSError] = []
        self.counters = UdpCounters()
        self.call = receive_many(headers)
        self.near = udp_socket(host)
        self.far = udp_socket(host)
        self.near.setblocking(False)
        ModelUdpSocket.of(self.near, headers)
        receiver = Receiver(self.near.family, headers, self._receive)
        self.socket = BsdUdpSocket(self.near, self.counters, self.errors.append, headers, receiver)

    def _receive(self, fd: int, messages: Any, count: int) -> int:
        received = self.call(fd, messages, count)
        self.calls.append(received)
        return received

    def send(self, *datagrams: bytes) -> None:
        for datagram in datagrams:
            self.far.sendto(datagram, self.near.getsockname())

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *exc: object) -> None:
        self.near.close()
        self.far.close()


@each_system
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_many_come_in_one_call(headers: ModuleType, host: str) -> None:
    with Rig(headers, host) as rig:
        sent = [bytes([n]) * n * 40 for n in range(20)]
        rig.send(*sent)
        received = rig.socket.receive(256)
        assert [each.data for each in received] == sent
        assert {each.addr for each in received} == {rig.far.getsockname()}
        assert {each.local for each in received} == {host}
        assert rig.calls == [20]
        assert rig.counters.datagrams_received == 20
        assert rig.counters.bytes_received == sum(map(len, sent))
        assert not rig.errors


@each_system
def test_the_largest_datagram(headers: ModuleType) -> None:
    with Rig(headers) as rig:
        sent = [os.urandom(65_507), b"", os.urandom(65_507)]
        rig.send(*sent)
        assert [each.data for each in rig.socket.receive(256)] == sent


@each_system
def test_more_than_there_is_room_for(headers: ModuleType) -> None:
    with Rig(headers) as rig:
        sent = [b"%d" % n for n in range(ROOMS + 5)]
        rig.send(*sent)
        assert [each.data for each in rig.socket.receive(256)] == sent


@each_system
def test_no_more_than_asked_for(headers: ModuleType) -> None:
    with Rig(headers) as rig:
        rig.send(b"1", b"2", b"3")
        assert [each.data for each in rig.socket.receive(2)] == [b"1", b"2"]
        assert [each.data for each in rig.socket.receive(2)] == [b"3"]


@each_system
def test_nothing_of_an_earlier_datagram_is_left(headers: ModuleType) -> None:
    """A dual-stack socket is told the ECN field of IPv6 alone."""
    with Rig(headers, "::") as rig, udp_socket("127.0.0.1") as v4:
        port = rig.near.getsockname()[1]
        ecn = [(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, struct.pack("=i", 3))]
        for _ in range(2):
            rig.far.sendmsg([b"longer"], ecn, 0, ("::1", port))
            (received,) = rig.socket.receive(256)
            assert (received.data, received.local, received.ecn) == (b"longer", "::1", 3)
            v4.sendto(b"short", ("127.0.0.1", port))
            (received,) = rig.socket.receive(256)
            assert received == (b"short", v4.getsockname(), "127.0.0.1", 0)


REFUSED = OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))


@pytest.mark.parametrize("stays", [False, True], ids=["told by the call", "told by both"])
def test_an_error_is_told_once(stays: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Older NetBSDs keep it, so that the next call tells it too."""
    with Rig(netbsd) as rig:
        kept: list[OSError] = []

        def refuse(*arguments: object) -> int:
            if stays:
                kept.append(REFUSED)
            raise REFUSED

        def recvmsg(self: Any, *arguments: Any) -> Any:
            if kept:
                raise kept.pop()
            return plain(self, *arguments)

        plain = ModelUdpSocket.recvmsg
        rig.call = refuse
        monkeypatch.setattr(ModelUdpSocket, "recvmsg", recvmsg)
        rig.send(b"1")
        received = rig.socket.receive(256)
        assert rig.errors == [REFUSED]
        assert not kept
        assert [each.data for each in received] == ([] if stays else [b"1"])


def test_that_none_wait_is_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Older NetBSDs keep even EAGAIN, and call the socket readable until a call has told it."""
    with Rig(netbsd) as rig:
        asked = []
        plain = ModelUdpSocket.recvmsg

        def recvmsg(self: Any, *arguments: Any) -> Any:
            asked.append(self is rig.near)
            return plain(self, *arguments)

        monkeypatch.setattr(ModelUdpSocket, "recvmsg", recvmsg)
        assert rig.socket.receive(256) == []
        assert asked == [False, True]
        assert not rig.errors


def test_a_closed_descriptor_raises() -> None:
    with Rig(netbsd) as rig:
        os.close(rig.near.fileno())
        with pytest.raises(OSError, match="Bad file descriptor"):
            rig.socket.receive(256)
        rig.near.detach()


# Control messages.

TOS = struct.pack("=IiiB3x", 13, 0, 27, 2)
"""As macOS lays it out: the data behind the header, the next one at a multiple of 4."""
DESTINATION = struct.pack("=Iii4x4s4x", 20, 0, 7, b"\x7f\0\0\x01")
"""As NetBSD and OpenBSD do: both at multiples of 8."""


@pytest.mark.parametrize(
    ("control", "data_at", "unit", "expected"),
    [
        (TOS + TOS, 12, 4, [(0, 27, b"\2"), (0, 27, b"\2")]),
        (TOS + bytes(96), 12, 4, [(0, 27, b"\2")]),
        (DESTINATION + DESTINATION[:20], 16, 8, [(0, 7, b"\x7f\0\0\x01")] * 2),
        (DESTINATION[:19], 16, 8, []),
        (b"", 12, 4, []),
    ],
    ids=["macOS", "zeros", "NetBSD", "cut off", "none"],
)
def test_control_messages_byte_for_byte(
    control: bytes, data_at: int, unit: int, expected: list[ControlMessage]
) -> None:
    assert list(control_messages(control, data_at, unit)) == expected


@pytest.mark.interop
def test_where_they_lie_by_the_headers() -> None:
    places = ["CMSG_LEN(0)", "CMSG_SPACE(1) - CMSG_SPACE(0)"]
    for system, data_at, unit in [("darwin", 12, 4), ("netbsd", 16, 8), ("openbsd", 16, 8)]:
        assert ask(system, places) == dict(zip(places, (data_at, unit), strict=True))


@given(st.binary(max_size=128), st.sampled_from([(12, 4), (16, 8)]))
def test_hostile_control_messages(control: bytes, places: tuple[int, int]) -> None:
    found = list(control_messages(control, *places))
    assert sum(len(data) for _, _, data in found) <= len(control)


# The call.


class LinuxHeader(ctypes.Structure):
    """struct msghdr of Linux (socket.h): sizes have 8 bytes."""

    _fields_ = (
        ("msg_name", ctypes.c_void_p),
        ("msg_namelen", ctypes.c_uint32),
        ("msg_iov", ctypes.c_void_p),
        ("msg_iovlen", ctypes.c_size_t),
        ("msg_control", ctypes.c_void_p),
        ("msg_controllen", ctypes.c_size_t),
        ("msg_flags", ctypes.c_int),
    )


class LinuxMessage(ctypes.Structure):
    _fields_ = (("msg_hdr", LinuxHeader), ("msg_len", ctypes.c_uint32))


@pytest.mark.skipif(sys.platform != "linux", reason="with the structs of Linux")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_real_recvmmsg(host: str) -> None:
    """That of Linux has the same arguments, and says in the same way that none wait."""
    headers = ModuleType("linux")
    vars(headers).update(mmsghdr=LinuxMessage, IPV6_TCLASS=0)
    with udp_socket(host) as near, udp_socket(host) as far:
        near.setblocking(False)
        receiver = Receiver(near.family, headers, system_call())
        with pytest.raises(BlockingIOError):
            receiver.receive(near.fileno(), ROOMS)
        sent = [os.urandom(100 * n) for n in range(10)]
        for _ in range(2):
            for data in sent:
                far.sendto(data, near.getsockname())
            received = receiver.receive(near.fileno(), ROOMS)
            assert [each.data for each in received] == sent
            assert {each.addr for each in received} == {far.getsockname()}


@each_system
def test_a_call_that_works_passes(headers: ModuleType) -> None:
    check_call(headers, receive_many(headers), model_socket(headers))


def shorter(fd: int, messages: Any, count: int) -> int:
    received = receive_many(darwin)(fd, messages, count)
    messages[0].msg_datalen -= 1
    return received


def elsewhere(fd: int, messages: Any, count: int) -> int:
    """The structs begin with something new."""
    received = receive_many(darwin)(fd, messages, count)
    part = iovec.from_address(messages[1].msg_iov)
    ctypes.memset(part.iov_base, 0, 4)
    return received


def unknown(fd: int, messages: Any, count: int) -> int:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


def idle(fd: int, messages: Any, count: int) -> int:
    """It never gets further, and says so."""
    return 0


def beyond(fd: int, messages: Any, count: int) -> int:
    """It says that it received more than it was asked for."""
    receive_many(darwin)(fd, messages, count)
    return ROOMS + 1


@pytest.mark.parametrize("call", [shorter, elsewhere, unknown, idle, beyond])
def test_a_call_that_does_not_is_refused(call: mmsg.Call) -> None:
    with pytest.raises(aiotun.UnsupportedError, match="leave receive_many=True out"):
        check_call(darwin, call, model_socket(darwin))


def test_where_the_loopback_takes_nothing() -> None:
    class Refused(socket.socket):
        def bind(self, *args: object) -> None:
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))

    with pytest.raises(aiotun.UnsupportedError):
        check_call(netbsd, receive_many(netbsd), Refused)


def test_freebsd_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its recvmmsg is a loop over recvmsg in the C library."""
    monkeypatch.setattr(sys, "platform", "freebsd15")
    with pytest.raises(aiotun.UnsupportedError):
        system_call()


# Asking for it.


async def test_an_endpoint_that_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    received = use_sockets_of(netbsd, monkeypatch)
    with udp_socket("127.0.0.1") as far:
        async with endpoint(local_addr=("127.0.0.1", 0), receive_many=True) as near:
            near.transport.pause_reading()
            for n in range(3):
                far.sendto(b"%d" % n, near.addr)
            near.transport.resume_reading()
            await until(lambda: len(near.data) == 3)
    assert max(received) == 3


@pytest.mark.parametrize("call", [None, unknown], ids=["works", "does not"])
async def test_an_endpoint_that_takes_it_where_it_works(
    call: mmsg.Call | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    received = use_sockets_of(darwin, monkeypatch, call)
    with udp_socket("127.0.0.1") as far:
        async with endpoint(local_addr=("127.0.0.1", 0), receive_many=None) as near:
            far.sendto(b"1", near.addr)
            await until(lambda: near.data == [b"1"])
    assert bool(received) is (call is None)


async def test_linux_does_it_anyway() -> None:
    async with endpoint(receive_many=True) as near, endpoint() as far:
        far.transport.sendto_many([b"1", b"2"], near.addr)
        await until(lambda: near.data == [b"1", b"2"])


async def test_windows_refuses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp_endpoint, "sys", SimpleNamespace(platform="win32"))
    with pytest.raises(aiotun.UnsupportedError, match="receive_many"):
        await aiotun.create_udp_endpoint(aiotun.UdpProtocol, ("127.0.0.1", 0), receive_many=True)
