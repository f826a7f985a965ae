"""Trains: many datagrams that are sent and received as they stand, one behind the other."""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Callable
from typing import Any

import pytest
from rigs import until
from udp_rigs import endpoint, receiver, train, udp_socket, use_transport

import aiotun
from aiotun.native import native
from aiotun.trains import cut
from aiotun.udp.asyncio_endpoint import PlainUdpTransport
from aiotun.udp.cmsg import UDP_SEGMENT, encode

if sys.platform == "linux":
    from aiotun.udp import linux

LENGTHS = [(1, 100), (64, 100), (44, 1452)]
"""Datagrams in a train, and the bytes of each but the last."""


@pytest.mark.parametrize(("count", "size"), LENGTHS)
async def test_what_is_sent_as_a_train_arrives_as_one(count: int, size: int) -> None:
    async with receiver() as server, endpoint() as client:
        addr = server.transport.get_extra_info("sockname")
        data = train(count, size)
        client.transport.send_train(data, size, addr, ecn=2)
        await until(lambda: server.trains)
        ((received, segment, source, local, ecn),) = server.trains
        assert (received, local, ecn) == (data, "127.0.0.1", 2)
        assert source == client.transport.get_extra_info("sockname")
        assert cut(received, segment) == cut(data, size)
        counters = client.transport.counters
        assert (counters.datagrams_sent, counters.messages_sent) == (count, 1)
        assert counters.bytes_sent == len(data)
        counters = server.transport.counters
        assert (counters.datagrams_received, counters.messages_received) == (count, 1)
        assert counters.bytes_received == len(data)


async def test_a_protocol_that_takes_datagrams_gets_them_cut() -> None:
    async with endpoint() as server, endpoint() as client:
        client.transport.sendto(b"first", server.addr)
        client.transport.send_train(bytearray(b"aabbc"), 2, server.addr)
        client.transport.send_train(b"one", 0, server.addr)
        client.transport.send_train(b"more", 9, server.addr)
        client.transport.sendto(b"last", server.addr)
        await until(lambda: len(server.data) == 7)
        assert server.data == [b"first", b"aa", b"bb", b"c", b"one", b"more", b"last"]


async def test_where_nothing_joins_datagrams(monkeypatch: pytest.MonkeyPatch) -> None:
    use_transport(PlainUdpTransport, monkeypatch)
    async with receiver() as server, endpoint() as client:
        addr = server.transport.get_extra_info("sockname")
        client.transport.send_train(b"aabbc", 2, addr)
        await until(lambda: len(server.trains) == 3)
        assert [each[:2] for each in server.trains] == [(b"aa", 0), (b"bb", 0), (b"c", 0)]
        assert client.transport.counters.messages_sent == 3


async def test_trains_that_cannot_be() -> None:
    async with endpoint() as server, endpoint() as client:
        with pytest.raises(ValueError, match="a train has at most 64 datagrams, not 65"):
            client.transport.send_train(bytes(65), 1, server.addr)
        with pytest.raises(TypeError):
            client.transport.send_train("text", 1, server.addr)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            client.transport.send_train(b"text", 1, ["127.0.0.1", 9])  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="no numeric"):
            client.transport.send_train(b"text", 1, ("localhost", 9))
        with pytest.raises(TypeError, match="a segment is an int, not float"):
            client.transport.send_train(b"text", 1.5, server.addr)  # type: ignore[arg-type]
        client.transport.send_train(b"good", 2, server.addr)
        await until(lambda: server.data == [b"go", b"od"])
        client.transport.close()
        client.transport.send_train(b"late", 1, server.addr)
        assert client.transport.counters.dropped_sent == 4


class Refusing(socket.socket):
    """Refuses segments as a route without checksum offload does: here none could be had."""

    def sendmsg(self, buffers: Any, ancillary: Any = (), *args: Any) -> int:
        if any(kind == UDP_SEGMENT for _, kind, _ in ancillary):
            raise OSError(errno.EIO, "of the test")
        return super().sendmsg(buffers, ancillary, *args)


@pytest.mark.usefixtures("python_sends")
async def test_a_refused_train_is_sent_one_by_one() -> None:
    near = udp_socket("127.0.0.1", Refusing)
    async with endpoint() as server, endpoint(sock=near) as client:
        client.transport.send_train(b"aabbc", 2, server.addr)
        client.transport.flush()
        assert not client.transport.get_extra_info("gso")
        client.transport.send_train(b"ddeef", 2, server.addr)
        await until(lambda: len(server.data) == 6)
        assert server.data == [b"aa", b"bb", b"c", b"dd", b"ee", b"f"]
        assert client.transport.counters.messages_sent == 6


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_both_ways_to_receive_see_the_same(family: int) -> None:
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    ways: list[Callable[[socket.socket, int], Any]] = [linux.receive_trains]
    if native is not None:
        ways.append(lambda sock, n: native.receive_trains(sock.fileno(), n, aiotun.DatagramTrain))
    seen = []
    for take in ways:
        with udp_socket(host) as far, udp_socket(host) as near:
            far.setblocking(False)
            near.connect(far.getsockname())
            linux.UdpSocket(far, aiotun.udp.UdpCounters(), lambda exc: None)  # sets the options
            for _ in range(2):  # large ones are read into memory that is kept
                near.sendmsg(
                    [bytes([7]) * 60_000], [(socket.IPPROTO_UDP, UDP_SEGMENT, b"\xe8\x03")]
                )
            near.sendmsg([bytes(100)] * 5 + [b"x"], [(socket.IPPROTO_UDP, UDP_SEGMENT, b"\x64\0")])
            near.sendmsg([b""], encode(family == socket.AF_INET, None, 3, 0))
            near.send(b"last")
            trains = [take(far, limit) for limit in (1, 61, 1, 9)]
            source = near.getsockname()
            seen.append(
                [
                    ([(cut(*each[:2]), each[2] == source, *each[3:]) for each in some], *counts)
                    for some, *counts in trains
                ]
            )
    assert all(each == seen[0] for each in seen)
    assert [counts for _, *counts in seen[0]] == [
        [60, 60_000, 0],
        [66, 60_501, 0],
        [1, 0, 0],
        [1, 4, errno.EAGAIN],
    ]


@pytest.mark.skipif(native is None, reason="there is one way")
def test_addresses_that_are_kept_are_those_of_each_datagram() -> None:
    assert native is not None
    with udp_socket("::") as far:
        far.setblocking(False)
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        linux.UdpSocket(far, aiotun.udp.UdpCounters(), lambda exc: None)  # sets the options
        port = far.getsockname()[1]
        sent: list[tuple[bytes, object, str]] = []
        received: list[tuple[bytes, object, str | None]] = []
        for number in range(300):  # more than are kept
            version, to = ("6", "::1") if number % 3 == 0 else ("4", f"127.0.1.{number % 7 + 1}")
            own = "::1" if version == "6" else f"127.0.{number // 9}.1"
            with udp_socket(own) as near:
                near.sendto(b"%d" % number, (to, port))
                sent.append((b"%d" % number, near.getsockname(), to))
        for limit in (1, 130, 500):
            trains, count, _, _ = native.receive_trains(far.fileno(), limit, aiotun.DatagramTrain)
            assert count == len(trains) == min(limit, 300 - len(received))
            received += [(each.data, each.addr, each.local) for each in trains]
        assert received == sent


def test_the_native_one_makes_tuples() -> None:
    if native is not None:
        with pytest.raises(TypeError, match="a train is a tuple"):
            native.receive_trains(0, 1, int)  # type: ignore[arg-type]
