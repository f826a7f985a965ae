"""A device to test with, and the other side of it, in memory and in the kernel."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import socket
import sys
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, TypeVar

import packets
import pytest
from calls import Calls

import aiotun
from aiotun.platforms.memory import MemoryInterface
from aiotun.testing import memory_devices
from aiotun.testing.namespace import Namespace
from aiotun.testing.pytest_plugin import require
from aiotun.transports.base import MessageTransport

AF_PACKET = 17  # linux/socket.h
PACKET_OUTGOING = 4  # linux/if_packet.h
ETH_P_ALL = 3  # linux/if_ether.h
ETH_P_IP = 0x0800


def unix_pair(kind: int = socket.SOCK_SEQPACKET) -> tuple[socket.socket, socket.socket]:
    """Two UNIX sockets joined; where the system has none, the test is skipped."""
    if sys.platform == "win32":
        pytest.skip("no UNIX sockets: not on Windows")
    return socket.socketpair(socket.AF_UNIX, kind)


def packet(number: int = 0, size: int = 64) -> bytes:
    """An IPv4 packet that nothing coalesces, told from others by its number."""
    payload = number.to_bytes(4, "big") + bytes(size - 24)
    return packets.ip(4, 253, payload, identification=number & 0xFFFF)  # RFC 3692: experiments


SEGMENT = 1000
"""Bytes of payload in each of `segments`."""

R = TypeVar("R", bound="Recorder")


def segments(count: int, kind: str = "tcp", first: int = 0) -> list[bytes]:
    """Packets of one flow that follow each other."""
    numbers = range(first, first + count)
    if kind == "udp":
        return [packets.udp(payload=bytes([n]) * SEGMENT, identification=n) for n in numbers]
    return [
        packets.tcp(payload=bytes([n]) * SEGMENT, seq=1 + n * SEGMENT, identification=n)
        for n in numbers
    ]


class Rig:
    """A device under test, and what happens on its far side."""

    device: aiotun.Device

    def send(self, packet: bytes) -> None:
        """Let a packet arrive at the device."""
        raise NotImplementedError

    def recv(self, timeout: float = 2.0) -> bytes:
        """What the device wrote, a super-packet whole; raises `TimeoutError`."""
        raise NotImplementedError

    def delete(self) -> None:
        """Delete the interface as another program would."""
        raise NotImplementedError


class MemoryRig(Rig):
    def __init__(self, **settings: Any) -> None:
        self.device, self.far = memory_devices(**settings)

    def send(self, packet: bytes) -> None:
        self.far.send(packet)

    def send_many(self, packets: list[bytes]) -> None:
        """Let packets arrive at the device, merged where they can be."""
        self.far.send_many(packets)

    def recv(self, timeout: float = 2.0) -> bytes:
        if not self.far.queue.wait_readable(timeout):
            raise TimeoutError
        frame = self.far.queue.read()
        return frame[10:] if self.far.queue.vnet_hdr else frame

    def delete(self) -> None:
        assert isinstance(self.device.interface, MemoryInterface)
        self.device.interface.delete()

    def close(self) -> None:
        self.far.close()
        self.device.close()


class TunRig(Rig):
    """The far side is a packet socket on the interface: it sees what the kernel sees."""

    def __init__(self, **settings: Any) -> None:
        self.namespace = Namespace()
        self.namespace.sysctl("net.ipv6.conf.default.disable_ipv6", 1)  # it speaks unasked
        self.device = self.namespace.run(aiotun.Device, **settings)
        self.socket = self.namespace.run(
            socket.socket, AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)
        )
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.socket.bind((self.device.name, ETH_P_ALL))

    @property
    def name(self) -> str:
        """The interface's, whoever has its device."""
        name: str = self.socket.getsockname()[0]
        return name

    def send(self, packet: bytes) -> None:
        self.socket.sendto(packet, (self.name, ETH_P_IP))

    def recv(self, timeout: float = 2.0) -> bytes:
        deadline = time.monotonic() + timeout
        while True:
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                packet, address = self.socket.recvfrom(1 << 17)
            except OSError as exc:
                if exc.errno != errno.ENETDOWN:  # told once, after the interface was down
                    raise
                continue
            if address[2] != PACKET_OUTGOING:
                return packet

    def delete(self) -> None:
        if sys.platform == "linux":
            import outside

            self.namespace.run(outside.delete, self.name)

    def close(self) -> None:
        self.socket.close()
        self.device.close()
        self.namespace.close()


class RingRig(Rig):
    """The far side are the rings of the stand-in for Wintun."""

    def __init__(self, **settings: Any) -> None:
        self._stack = contextlib.ExitStack()
        self.far: Any
        if sys.platform == "win32":
            import standin

            library = self._stack.enter_context(standin.open_standin())
            self.device = aiotun.Device(**standin.configured(**settings))
            self.far = standin.Far(library, self.device.name)

    def send(self, packet: bytes) -> None:
        assert self.far.push(packet)

    def recv(self, timeout: float = 2.0) -> bytes:
        packet: bytes = self.far.pull(timeout)
        return packet

    def delete(self) -> None:
        self.far.remove()

    def close(self) -> None:
        self.device.close()
        self._stack.close()


SYSTEM = "ring" if sys.platform == "win32" else "tun"
"""The rig whose device is of this system."""

RIGS: dict[str, type[MemoryRig | TunRig | RingRig]] = {
    "memory": MemoryRig,
    "tun": TunRig,
    "ring": RingRig,
}


@contextlib.contextmanager
def open_rig(kind: str, **settings: Any) -> Iterator[Rig]:
    rig = RIGS[kind](**settings)
    try:
        yield rig
    finally:
        rig.close()


MakeRig = Callable[..., contextlib.AbstractContextManager[Rig]]


@pytest.fixture(params=["memory", SYSTEM])
def make_rig(request: pytest.FixtureRequest) -> MakeRig:
    """Makes a device of either kind; for tests that set it up in their own way."""
    if request.param == "tun":
        require("tun", "netns")
    return functools.partial(open_rig, request.param)


@pytest.fixture
def rig(make_rig: MakeRig, no_leaks: None) -> Iterator[Rig]:
    """A device of either kind."""
    with make_rig() as rig:
        yield rig


class Recorder(Calls, aiotun.PacketProtocol):
    def __init__(self) -> None:
        super().__init__()
        self.on_packet: Callable[[bytes], None] = lambda packet: None
        self.transport: aiotun.PacketTransport

    def connection_made(self, transport: aiotun.PacketTransport) -> None:
        self.transport = transport
        self.calls.append(("connection_made",))

    def packet_received(self, packet: bytes) -> None:
        self.calls.append(("packet_received", packet))
        self.on_packet(packet)

    def device_changed(self, event: aiotun.interfaces.Event) -> None:
        self.calls.append(("device_changed", event))

    @property
    def packets(self) -> list[bytes]:
        return self.named("packet_received")


class BatchRecorder(Recorder):
    def packets_received(self, packets: list[bytes]) -> None:
        self.calls.append(("packets_received", packets))
        for packet in packets:
            self.on_packet(packet)

    @property
    def packets(self) -> list[bytes]:
        return [packet for batch in self.named("packets_received") for packet in batch]


class SuperRecorder(Recorder):
    def super_packets_received(self, packets: list[aiotun.SuperPacket]) -> None:
        self.calls.append(("super_packets_received", packets))
        for packet in packets:
            self.on_packet(packet.packet)

    @property
    def super_packets(self) -> list[aiotun.SuperPacket]:
        return [packet for batch in self.named("super_packets_received") for packet in batch]

    @property
    def packets(self) -> list[bytes]:
        return [packet for each in self.super_packets for packet in each.split()]


@contextlib.asynccontextmanager
async def endpoint(device: aiotun.Device, factory: Callable[[], R]) -> AsyncIterator[R]:
    """The device behind a protocol, closed at the end."""
    transport, protocol = await aiotun.create_device_endpoint(factory, device=device)
    try:
        yield protocol
    finally:
        transport.abort()
        await transport.aclose()


ToldAs = Callable[[str], contextlib.AbstractContextManager[Sequence[object]]]


@pytest.fixture(params=["a warning", "an error"])
def told_as(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ToldAs:
    """Sees that somebody is told of what was forgotten, also where warnings are errors."""

    @contextlib.contextmanager
    def forgotten(text: str) -> Iterator[Sequence[object]]:
        if request.param == "a warning":
            with pytest.warns(ResourceWarning, match=text) as warned:
                yield warned.list
            return
        told: list[str] = []
        with monkeypatch.context() as patch, warnings.catch_warnings():
            patch.setattr(sys, "unraisablehook", lambda each: told.append(str(each.exc_value)))
            warnings.simplefilter("error", ResourceWarning)
            yield told
        assert text in told[0]

    return forgotten


def check_write_buffer_limits(transport: MessageTransport) -> None:
    low, high = transport.get_write_buffer_limits()
    assert 0 < low < high
    transport.set_write_buffer_limits(high=100)
    assert transport.get_write_buffer_limits() == (25, 100)
    transport.set_write_buffer_limits(low=5)
    assert transport.get_write_buffer_limits() == (5, 20)
    transport.set_write_buffer_limits()
    assert transport.get_write_buffer_limits() == (low, high)
    for wrong in ({"high": 1, "low": 2}, {"low": -1}, {"high": -1}):
        with pytest.raises(ValueError, match="must be at least"):
            transport.set_write_buffer_limits(**wrong)


def check_limits_at_once(
    transport: MessageTransport, calls: Calls, write: Callable[[], object]
) -> None:
    """New limits pause and resume at once. Ten messages wait; writing gathers one more."""
    assert (transport.get_write_buffer_size(), calls.named("pause_writing")) == (10, [])
    transport.set_write_buffer_limits(high=10)
    assert calls.named("pause_writing") == []
    transport.set_write_buffer_limits(high=9, low=9)
    assert len(calls.named("pause_writing")) == 1
    transport.set_write_buffer_limits(high=10, low=9)
    assert calls.named("resume_writing") == []
    transport.set_write_buffer_limits(high=10, low=10)
    assert len(calls.named("resume_writing")) == 1
    write()
    transport.set_write_buffer_limits(high=9, low=9)
    assert len(calls.named("pause_writing")) == 2


async def until(condition: Callable[[], object], timeout: float = 20.0) -> None:
    """Let the loop run until the condition holds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while not condition():
        assert loop.time() < deadline, "it did not come about in time"
        await asyncio.sleep(0.001)


async def settle(value: Callable[[], object], turns: int = 50) -> None:
    """Let the loop run until this has not changed for so many turns: nothing goes on any more."""
    before, quiet = value(), 0
    while quiet < turns:
        await asyncio.sleep(0.001)
        now = value()
        quiet = quiet + 1 if now == before else 0
        before = now


async def end_each(protocols: Sequence[Recorder], remove: Callable[[int], object]) -> None:
    """Close, abort or remove the devices in turn, and look at what each protocol was told."""
    for number, protocol in enumerate(protocols):
        if number % 3 == 0:
            protocol.transport.close()
        elif number % 3 == 1:
            protocol.transport.abort()
        else:
            remove(number)
    ends = (protocol.transport.wait_closed() for protocol in protocols)
    told = await asyncio.gather(*ends, return_exceptions=True)
    for number, protocol in enumerate(protocols):
        (error,) = protocol.named("connection_lost")
        assert told[number] is error
        assert isinstance(error, aiotun.InterfaceGoneError) == (number % 3 == 2)
