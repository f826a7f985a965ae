"""Many packets of a utun read in one call, by C: on a MODEL of macOS' recvmsg_x."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

import packets
import pytest
from hypothesis import given
from hypothesis import strategies as st
from models.darwin import DarwinKernel, RecvmsgX
from models.devices import open_on_model
from rigs import Recorder, until

import aiotun
from aiotun.errors import InterfaceGoneError
from aiotun.native import native
from aiotun.options import DarwinOptions
from aiotun.platforms.darwin import recvmsg_x, utun

pytestmark = pytest.mark.requires("native")

FAMILIES = 2, 30
V4, V6 = (packets.udp(version, payload=b"x" * 100) for version in (4, 6))
ADDRESSES = ["10.9.0.1/24", "fd09::1/64"]


class Pair:
    """A descriptor to read from, the other end, and the function."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ours.setblocking(False)
        self.function = RecvmsgX()

    def send(self, *frames: bytes) -> None:
        for frame in frames:
            self.theirs.send(b"\0\0\0\x02" + frame)

    def read(self, limit: int = 64, *, many: bool = True, wait: Any = None) -> list[bytes] | None:
        address = self.function.address if many else 0
        return native.read_frames(self.ours.fileno(), limit, FAMILIES, address, wait)

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


def test_one_call(pair: Pair) -> None:
    sent = [bytes([n]) * (1 + n * 40) for n in range(50)]
    pair.send(*sent)
    assert pair.read() == sent
    assert pair.function.received == [50]


def test_no_more_than_asked_for_and_than_there_is_room_for(pair: Pair) -> None:
    sent = [b"%d" % n for n in range(100)]
    pair.send(*sent)
    assert pair.read(3) == sent[:3]
    assert pair.read(200) == sent[3:67]
    assert pair.read(200) == sent[67:]
    assert pair.function.received == [3, 64, 33]


def test_the_largest(pair: Pair) -> None:
    sent = [os.urandom(65_535), b"1", os.urandom(65_535)]
    pair.send(*sent)
    assert pair.read() == sent


def test_it_says_that_more_came_than_was_asked_for(pair: Pair) -> None:
    pair.function = RecvmsgX(lambda messages, received: 5000)
    pair.send(b"1", b"2", b"3")
    assert pair.read(2) == [b"1", b"2"]


def test_none_waits(pair: Pair) -> None:
    assert pair.read() is None
    assert pair.read(wait=(0.001, ())) is None
    assert pair.function.errors == [errno.EAGAIN] * 2


def test_one_is_waited_for(pair: Pair) -> None:
    timer = threading.Timer(0.02, pair.send, [b"1"])
    timer.start()
    assert pair.read(wait=(10.0, ())) == [b"1"]
    assert pair.function.errors == [errno.EAGAIN]
    timer.join()


def test_a_signal_interrupts(pair: Pair) -> None:
    pair.send(b"1")
    pair.function.refusals = [errno.EINTR, errno.EINTR]
    assert pair.read() == [b"1"]


def test_no_descriptor(pair: Pair) -> None:
    assert native.read_frames(-1, 64, FAMILIES, pair.function.address) == []
    assert pair.function.errors == [errno.EBADF]


def test_two_at_once(pair: Pair) -> None:
    """The GIL is released within the call: another thread may read meanwhile."""
    other = Pair()
    other.send(b"others" * 100)
    meanwhile: list[bytes] = []

    def read_other(messages: object, received: int) -> int:
        meanwhile.extend(other.read() or [])
        return received

    pair.function = RecvmsgX(read_other)
    pair.send(b"ours" * 100)
    assert (pair.read(), meanwhile) == ([b"ours" * 100], [b"others" * 100])
    other.close()


def test_the_end(pair: Pair) -> None:
    """The twin finds out."""
    pair.send(b"1")
    pair.theirs.close()
    assert pair.read() == [b"1"]
    assert pair.read() == []


@given(st.lists(st.binary(max_size=3000), max_size=80), st.integers(1, 130))
def test_as_one_by_one(frames: list[bytes], limit: int) -> None:
    """But for empty ones, of which one is told, as the last."""
    pair = Pair()
    try:
        pair.send(*filter(None, frames))
        batches = []
        while batch := pair.read(limit):
            batches.append(batch)
        assert [frame for batch in batches for frame in batch] == list(filter(None, frames))
        assert {len(batch) for batch in batches[:-1]} <= {min(limit, 64)}
        pair.send(*frames[:64])
        batch = pair.read() or []
        empty = [b""] if b"" in frames[:64] else []
        assert batch == [*filter(None, frames[:64]), *empty]
    finally:
        pair.close()


# A utun that is asked for it.


@pytest.fixture
def function(monkeypatch: pytest.MonkeyPatch) -> RecvmsgX:
    made = RecvmsgX()
    monkeypatch.setattr(utun, "checked", lambda: made.address)
    return made


def opened(kernel: DarwinKernel, monkeypatch: pytest.MonkeyPatch, **settings: str) -> aiotun.Device:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "darwin")
        options = DarwinOptions(receive_many=True)
        return open_on_model(kernel, addresses=ADDRESSES, darwin=options, **settings)


def test_a_device(function: RecvmsgX, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = DarwinKernel()
    with opened(kernel, monkeypatch) as device:
        sent = [V4, V6] * 20
        for packet in sent:
            kernel.emit(device.name, packet)
        assert device.recv_many(timeout=2) == sent
        assert function.received == [40]
        assert device.counters.packets_received == device.counters.frames_received == 40
        with pytest.raises(TimeoutError):
            device.recv(timeout=0)
        kernel.remove(kernel.find(device.name))
        with pytest.raises(InterfaceGoneError):
            device.recv(timeout=2)


async def test_a_transport(function: RecvmsgX, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = DarwinKernel()
    device = opened(kernel, monkeypatch)
    transport, protocol = await aiotun.create_device_endpoint(Recorder, device=device)
    async with transport:
        transport.pause_reading()
        for _ in range(100):
            kernel.emit(device.name, V4)
            kernel.emit(device.name, V6)
        transport.resume_reading()
        await until(lambda: len(protocol.packets) == 200)
        assert protocol.packets == [V4, V6] * 100
        assert function.received[:4] == [64, 64, 64, 8]


def test_what_does_not_work_is_left_to_the_twin(
    function: RecvmsgX, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = DarwinKernel()
    with opened(kernel, monkeypatch) as device:
        function.refusals = [errno.EOPNOTSUPP] * 10
        kernel.emit(device.name, V4)
        assert device.recv(timeout=2) == V4


def test_not_of_a_tap(function: RecvmsgX, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(aiotun.UnsupportedError, match="leave receive_many=True out"):
        opened(DarwinKernel(), monkeypatch, layer="tap")


# It is tried before.


def test_what_works_passes() -> None:
    function = RecvmsgX()
    recvmsg_x.check(function.address)


def shorter(messages: ctypes.Array, received: int) -> int:  # type: ignore[type-arg]
    messages[1].msg_datalen -= 1
    return received


def one_less(messages: ctypes.Array, received: int) -> int:  # type: ignore[type-arg]
    return received - 1


@pytest.mark.parametrize("twist", [shorter, one_less])
def test_what_works_otherwise_does_not(twist: object) -> None:
    function = RecvmsgX(twist)  # type: ignore[arg-type]  # which lives until C has called it
    with pytest.raises(aiotun.UnsupportedError, match="leave receive_many=True out"):
        recvmsg_x.check(function.address)


def test_what_fails_does_not() -> None:
    function = RecvmsgX()
    function.refusals = [errno.ENOSYS]
    with pytest.raises(aiotun.UnsupportedError):
        recvmsg_x.check(function.address)


def test_without_the_native_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recvmsg_x, "native", None)
    with pytest.raises(aiotun.UnsupportedError, match="not built"):
        recvmsg_x.check(RecvmsgX().address)


def test_where_there_is_none() -> None:
    with pytest.raises(aiotun.UnsupportedError, match="no call"):
        recvmsg_x.checked()
