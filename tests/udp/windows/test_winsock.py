"""Many datagrams in a call on Windows. USO and URO are a MODEL: wine has neither."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import asyncio
import socket
import struct
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import ip_address
from socket import IPPROTO_IP, IPPROTO_UDP

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rigs import until

import aiotun
from aiotun.udp import winsock
from aiotun.udp.event import EventUdpTransport
from aiotun.udp.winsock import (
    ECN,
    HEAD,
    PKTINFO,
    UDP_SEND_MSG_SIZE,
    Winsock,
    WinsockUdpSocket,
    _messages,
    _padded,
    decode,
    encode,
    packed_address,
    unpacked_address,
    works_here,
)

WSAEINVAL = 10022

LOOPBACK = {4: "127.0.0.1", 6: "::1"}


class Offloading(Winsock):
    """A model of Windows with both: calls are cut, and what comes is coalesced.

    It tells whoever receives a datagram the address and the ECN field with which it was sent: wine
    takes no notice of either.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[int] = []
        """How many datagrams each call sent."""
        self.ways: dict[bytes, tuple[str, int]] = {}
        """From where each datagram was sent, with which ECN field."""
        self.refuse = False
        self._kept: tuple[bytes, bytes, bytes] | None = None

    def send(self, fd: int, parts: Sequence[bytes], name: bytes | None, control: bytes) -> None:
        data, segment, local, ecn = b"".join(parts), 0, "", 0
        for level, kind, value in _messages(control):
            if (level, kind) == (IPPROTO_UDP, UDP_SEND_MSG_SIZE):
                (segment,) = struct.unpack("=I", value)
                assert 0 < segment < len(data)
                if self.refuse:
                    raise OSError(0, "invalid", None, WSAEINVAL)
            elif kind == ECN:
                (ecn,) = struct.unpack("=i", value)
            else:
                assert (level, kind, value[4:]) == (IPPROTO_IP, PKTINFO, bytes(4))
                local = socket.inet_ntoa(value[:4])
        cut = aiotun.trains.cut(data, segment)
        self.calls.append(len(cut))
        for each in cut:
            self.ways[each] = local, ecn
            super().send(fd, [each], name, b"")

    def receive(self, fd: int) -> tuple[bytes, bytes, bytes]:
        first, self._kept = self._kept or super().receive(fd), None
        data, source, control = first
        size = len(data)
        local, ecn = way = self.ways.get(data, ("", 0))
        while size:
            try:
                following = super().receive(fd)
            except BlockingIOError:
                break
            another = self.ways.get(following[0], ("", 0)) != way
            if another or following[1:] != first[1:] or len(following[0]) > size:
                self._kept = following
                break
            data += following[0]
            if len(following[0]) < size:
                break
        if local:
            source = packed_address((local, *unpacked_address(source)[1:]))
        if ecn:
            control += _padded((IPPROTO_IP, ECN, struct.pack("=i", ecn)))
        if len(data) > size:
            control += _padded((IPPROTO_UDP, 3, struct.pack("=I", size)))
        return data, source, control


class Offloaded(WinsockUdpSocket):
    """The model's options are there."""

    def _set(self, level: int, option: int, value: int) -> bool:
        if option == PKTINFO:
            return super()._set(level, option, value)
        assert (option, value) in ((2, 0), (3, 65535), (ECN, 1))
        return True


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls as wine has them, for each datagram one."""
    monkeypatch.setattr(winsock, "works_here", lambda: True)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Offloading:
    calls = Offloading()
    monkeypatch.setattr(winsock, "works_here", lambda: True)
    monkeypatch.setattr(winsock, "WinsockUdpSocket", partial(Offloaded, winsock=calls))
    return calls


class Gathering(aiotun.UdpProtocol):
    def __init__(self) -> None:
        self.got: list[aiotun.Datagram] = []
        self.errors: list[Exception] = []
        self.lost: list[Exception | None] = []

    def connection_made(self, transport: aiotun.UdpTransport) -> None:
        self.transport = transport

    def datagrams_received(self, datagrams: list[aiotun.Datagram]) -> None:
        self.got += datagrams

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)


class Trains(Gathering):
    def __init__(self) -> None:
        super().__init__()
        self.segments: list[int] = []

    def trains_received(self, trains: list[aiotun.DatagramTrain]) -> None:
        for train in trains:
            self.segments.append(train.segment)
            self.got += train.datagrams()


async def opened(
    kind: Callable[[], Gathering] = Gathering, host: str = "127.0.0.1", **where: object
) -> Gathering:
    where = where or {"local_addr": (host, 0)}
    transport, protocol = await aiotun.create_udp_endpoint(kind, **where)  # type: ignore[arg-type]
    assert isinstance(transport, EventUdpTransport)
    return protocol


@pytest.mark.parametrize("version", [4, 6])
async def test_there_and_back(plain: None, version: int) -> None:
    near, far = await opened(host=LOOPBACK[version]), await opened(host=LOOPBACK[version])
    here, there = near.transport.local_addr, far.transport.local_addr
    sent: list[bytes] = []
    for _ in range(3):
        for _ in range(200):  # as many as the socket has room for
            sent.append(b"%d" % len(sent))
            near.transport.sendto(sent[-1], there)
        await until(lambda: len(far.got) == len(sent))
    assert [datagram.data for datagram in far.got] == sent
    assert {datagram.addr for datagram in far.got} == {here}
    far.transport.sendto(b"", here)
    await until(lambda: bool(near.got))
    assert near.got == [aiotun.Datagram(b"", there, LOOPBACK[version], 0)]
    assert not near.transport.get_extra_info("gso")
    for each in near, far:
        await each.transport.aclose()
        assert each.lost == [None]


async def test_a_mapped_address(plain: None) -> None:
    near, far = await opened(host="::"), await opened()
    near.transport.sendto(b"x", far.transport.local_addr)
    await until(lambda: bool(far.got))
    far.transport.sendto(b"y", far.got[0].addr)
    await until(lambda: bool(near.got))
    assert near.got[0].addr == far.transport.local_addr
    await asyncio.gather(near.transport.aclose(), far.transport.aclose())


async def test_what_comes_while_reading_is_paused_comes_later(plain: None) -> None:
    near, far = await opened(), await opened()
    far.transport.pause_reading()
    near.transport.sendto(b"x", far.transport.local_addr)
    await asyncio.sleep(0.05)
    assert not far.got
    far.transport.resume_reading()
    await until(lambda: len(far.got) == 1)
    near.transport.sendto(b"y", far.transport.local_addr)
    await until(lambda: len(far.got) == 2)
    await asyncio.gather(near.transport.aclose(), far.transport.aclose())


async def test_many_leave_in_a_call_and_come_in_one(model: Offloading) -> None:
    near, far = await opened(), await opened(Trains)
    sent = [bytes([number]) * 1000 for number in range(50)] + [b"last"]
    near.transport.sendto_many(sent, far.transport.local_addr)
    near.transport.sendto(b"alone", far.transport.local_addr)
    await until(lambda: len(far.got) == 52)
    assert [datagram.data for datagram in far.got] == [*sent, b"alone"]
    assert model.calls == [51, 1]
    assert isinstance(far, Trains)
    assert far.segments[0] == 1000
    counters = far.transport.counters
    assert counters.datagrams_received == 52
    assert counters.messages_received == len(far.segments) < 52
    assert counters.bytes_received == sum(map(len, sent)) + 5
    assert near.transport.counters.messages_sent == 2
    await asyncio.gather(near.transport.aclose(), far.transport.aclose())


async def test_a_refusal_loses_nothing(model: Offloading, caplog: pytest.LogCaptureFixture) -> None:
    model.refuse = True
    near, far = await opened(), await opened()
    sent = [bytes([number]) * 10 for number in range(5)]
    for _ in range(2):
        near.transport.sendto_many(sent, far.transport.local_addr)
        near.transport.flush()
    await until(lambda: len(far.got) == 10)
    assert [datagram.data for datagram in far.got] == sent * 2
    assert not near.transport.get_extra_info("gso")
    assert [record.message for record in caplog.records if "one by one" in record.message] == [
        "Windows refuses UDP_SEND_MSG_SIZE (invalid) and takes the datagrams: "
        "they are sent one by one from now on"
    ]
    assert not near.errors
    await asyncio.gather(near.transport.aclose(), far.transport.aclose())


async def test_one_that_is_too_large_is_dropped_and_told(plain: None) -> None:
    near, far = await opened(), await opened()
    near.transport.sendto(bytes(65_600), far.transport.local_addr)
    near.transport.sendto(b"x", far.transport.local_addr)
    await until(lambda: bool(far.got))
    assert [datagram.data for datagram in far.got] == [b"x"]
    assert near.transport.counters.dropped_sent == len(near.errors) == 1
    await asyncio.gather(near.transport.aclose(), far.transport.aclose())


async def test_a_connected_one(model: Offloading) -> None:
    far = await opened()
    near = await opened(remote_addr=far.transport.local_addr)
    near.transport.sendto_many([b"a", b"b", b"c"])
    await until(lambda: len(far.got) == 3)
    assert model.calls == [3]
    await asyncio.gather(near.transport.aclose(), far.transport.aclose())


def test_it_is_tried_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    has_both = True
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for option, value in ((2, 0), (3, 65535)):
            try:
                sock.setsockopt(socket.IPPROTO_UDP, option, value)
            except OSError:
                has_both = False
    works_here.cache_clear()
    assert works_here() is has_both  # wine has neither
    monkeypatch.setattr(winsock, "WinsockUdpSocket", Offloaded)
    works_here.cache_clear()
    assert works_here(Offloading())
    works_here.cache_clear()
    assert not works_here(Winsock()) or has_both  # the options are there, and do nothing
    works_here.cache_clear()


@pytest.mark.parametrize(
    "address",
    [("192.0.2.1", 51820), ("::ffff:192.0.2.1", 7), ("2001:db8::1", 7, 0, 0), ("fe80::1", 7, 0, 5)],
)
def test_addresses(address: tuple[str | int, ...]) -> None:
    raw = packed_address(address)
    assert len(raw) == (28 if ":" in str(address[0]) else 16)
    host, port = unpacked_address(raw)[:2]
    assert (host.partition("%")[0], port) == (str(address[0]).removeprefix("::ffff:"), address[1])


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_the_address_that_was_asked_is_told(plain: None, host: str) -> None:
    near, far = await opened(), await opened(host=host)
    for asked in ("127.0.0.1", "127.0.0.2"):
        near.transport.sendto(b"question", (asked, far.transport.local_addr[1]))
        await until(lambda: bool(far.got))
        question = far.got.pop()
        assert question.local == asked
        far.transport.sendto(b"answer", question.addr, local=question.local)
        await until(lambda: bool(near.got))
        assert near.got.pop().data == b"answer"
    assert not far.errors
    await asyncio.gather(near.transport.aclose(), far.transport.aclose())


async def test_many_leave_with_an_address_and_an_ecn_field(model: Offloading) -> None:
    near, far = await opened(host="0.0.0.0"), await opened()
    sent = [bytes([number]) * 1000 for number in range(10)]
    for local, ecn in ("127.0.0.2", 2), ("127.0.0.3", 1):
        near.transport.sendto_many(sent, far.transport.local_addr, local=local, ecn=ecn)
        near.transport.flush()
        await until(lambda: len(far.got) == len(sent))
        assert {(each.addr[0], each.local, each.ecn) for each in far.got} == {
            (local, "127.0.0.1", ecn)
        }
        far.got.clear()
    assert model.calls == [10, 10]
    await asyncio.gather(near.transport.aclose(), far.transport.aclose())


async def test_what_the_system_does_not_know_is_left_out(
    model: Offloading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows 10 has USO and no ECN; and of a socket that is bound to an address the source is."""

    def set_alone(self: Offloaded, level: int, option: int, value: int) -> bool:
        return option not in (PKTINFO, ECN)

    monkeypatch.setattr(Offloaded, "_set", set_alone)
    near, far = await opened(host="0.0.0.0"), await opened()
    near.transport.sendto(b"x", far.transport.local_addr, local="127.0.0.2", ecn=2)
    await until(lambda: bool(far.got))
    assert far.got[0].addr[0] == "127.0.0.1"
    assert (far.got[0].local, far.got[0].ecn) == (None, 0)
    await asyncio.gather(near.transport.aclose(), far.transport.aclose())


def test_control_messages() -> None:
    """Beside what the structs of ws2def.h and ws2ipdef.h are in memory."""
    assert encode(0, None, 0, 0) == b""
    assert encode(0, None, 0, 1420).hex() == "140000000000000011000000020000008c05000000000000"
    assert encode(0, "192.0.2.1", 2, 0).hex() == (
        "18000000000000000000000013000000c000020100000000"  # IN_PKTINFO
        "140000000000000000000000320000000200000000000000"
    )
    assert encode(41, "2001:db8::1", 0, 0).hex() == (
        "240000000000000029000000130000002001" + "0db8" + "00" * 11 + "01" + "00" * 8
    )
    other = HEAD.pack(17, 0, 50) + b"\1".ljust(8, b"\0")  # too short for an int
    coalesced = HEAD.pack(20, 17, 3) + struct.pack("=I4x", 1420)
    assert decode(other + coalesced) == (1420, None, 0)
    assert decode(coalesced[:20]) == (1420, None, 0)
    assert decode(encode(0, "192.0.2.1", 3, 0) + coalesced) == (1420, "192.0.2.1", 3)
    assert decode(encode(41, "2001:db8::1", 1, 0)) == (0, "2001:db8::1", 1)
    assert decode(encode(41, "::ffff:192.0.2.1", 0, 0)) == (0, "192.0.2.1", 0)
    for broken in (b"", other, coalesced[:19], HEAD.pack(0, 17, 3), HEAD.pack(1 << 40, 17, 3)):
        assert decode(broken) == (0, None, 0)


@given(st.binary(max_size=128))
def test_control_messages_of_whatever_bytes(control: bytes) -> None:
    segment, local, ecn = decode(control)
    assert 0 <= segment < 1 << 32
    assert 0 <= ecn <= 3
    assert local is None or ip_address(local)
