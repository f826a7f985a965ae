"""UDP endpoints with the control messages of macOS and the BSDs: on a MODEL of their sockets.

What holds for every system, test_endpoint.py asks of them too.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import socket
import sys
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from models.udp import ModelUdpSocket, receive_many
from rigs import until
from udp_rigs import endpoint, udp_socket, use_transport

from aiotun.platforms.bsd.headers import darwin, freebsd, netbsd, openbsd
from aiotun.udp.bsd import BsdUdpSocket, decode, encode, headers_here
from aiotun.udp.mmsg import Receiver
from aiotun.udp.selector import SelectorUdpTransport

HEADERS = {"freebsd": freebsd, "netbsd": netbsd, "openbsd": openbsd, "darwin": darwin}


@pytest.fixture(params=[*HEADERS, "netbsd, many", "openbsd, many", "darwin, many"])
def headers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Endpoints are made as on that system."""
    name, _, many = request.param.partition(", ")
    found = HEADERS[name]

    def make(loop: asyncio.AbstractEventLoop, sock: socket.socket, protocol: Any) -> Any:
        ModelUdpSocket.of(sock, found)
        receiver = Receiver(sock.family, found, receive_many(found)) if many else None
        kind = functools.partial(BsdUdpSocket, headers=found, receiver=receiver)
        return SelectorUdpTransport(loop, sock, protocol, kind)

    use_transport(make, monkeypatch)
    return found


@pytest.mark.parametrize(
    ("near", "source", "far"),
    [
        ("0.0.0.0", "127.0.0.9", "127.0.0.1"),
        ("::", "::1", "::1"),
        ("::", "127.0.0.9", "127.0.0.1"),
        ("127.0.0.5", "127.0.0.5", "127.0.0.1"),
    ],
)
async def test_an_answer_comes_from_where_one_was_asked(
    headers: ModuleType, near: str, source: str, far: str
) -> None:
    async with endpoint(near) as server, endpoint(far) as client:
        server.on_datagram = lambda datagram: server.transport.sendto(
            datagram.data, datagram.addr, local=datagram.local
        )
        client.transport.sendto(b"?", (source, server.addr[1]))
        await until(lambda: client.datagrams)
        assert client.datagrams[0].addr[0] == source
        assert server.datagrams[0].local == source
        assert not server.errors


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_the_ecn_field(headers: ModuleType, host: str) -> None:
    async with endpoint(host) as near, endpoint(host) as far:
        for ecn in (0, 1, 2, 3):
            near.transport.sendto(b"x", far.addr, ecn=ecn)
        await until(lambda: len(far.data) == 4)
        told = host == "::1" or hasattr(headers, "IP_RECVTOS")
        assert [each.ecn for each in far.datagrams] == ([0, 1, 2, 3] if told else [0] * 4)


async def test_refusals_are_told_and_counted(headers: ModuleType) -> None:
    with udp_socket("127.0.0.1") as gone:
        addr = gone.getsockname()
    async with endpoint(remote_addr=addr) as client:
        client.transport.sendto(b"1")
        await until(lambda: client.errors)
        client.transport.sendto(b"2")
        client.transport.sendto(b"3")
        await until(lambda: client.transport.counters.messages_sent >= 2)
        assert all(exc.errno == errno.ECONNREFUSED for exc in client.errors)


@pytest.mark.parametrize("number", [errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.EMSGSIZE])
async def test_what_icmp_said_of_one_datagram_costs_no_other(
    headers: ModuleType, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A socket that is connected tells of it in place of sending (so_error, uipc_socket.c)."""
    async with endpoint() as far, endpoint(remote_addr=far.addr) as near:
        sendmsg = ModelUdpSocket.sendmsg
        left = [number]

        def told(self: Any, buffers: Any, *more: Any) -> int:
            if left:
                raise OSError(left.pop(), os.strerror(number))
            return sendmsg(self, buffers, *more)

        monkeypatch.setattr(ModelUdpSocket, "sendmsg", told)
        near.transport.sendto_many([b"1", b"2"])
        await until(lambda: len(far.data) == 2)
        assert [exc.errno for exc in near.errors] == [number]
        assert near.transport.counters.dropped_sent == 0


async def test_a_full_queue_loses_one_datagram(
    headers: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with endpoint() as near, endpoint() as far:
        sendmsg = ModelUdpSocket.sendmsg
        left = [errno.ENOBUFS, errno.EAGAIN]

        def hesitate(self: Any, buffers: Any, *more: Any) -> int:
            if left:
                number = left.pop(0)
                raise OSError(number, os.strerror(number))
            return sendmsg(self, buffers, *more)

        monkeypatch.setattr(ModelUdpSocket, "sendmsg", hesitate)
        near.transport.sendto_many([b"1", b"2", b"3"], far.addr)
        await until(lambda: len(far.data) == 2)
        assert far.data == [b"2", b"3"]
        assert near.transport.counters.dropped_sent == 1
        assert "lost" in str(near.errors[0])


@pytest.mark.parametrize("name", HEADERS)
@given(st.lists(st.tuples(st.sampled_from([0, 41]), st.integers(0, 70), st.binary(max_size=24))))
def test_hostile_control_messages(name: str, messages: list[tuple[int, int, bytes]]) -> None:
    local, ecn = decode(messages, HEADERS[name])
    assert local is None or isinstance(local, str)
    assert 0 <= ecn <= 3


def test_control_messages_byte_for_byte() -> None:
    local = "127.0.0.9"
    assert encode(False, True, local, 1, freebsd) == (
        (0, 7, b"\x7f\0\0\x09"),
        (0, 3, b"\1\0\0\0"),
    )
    assert encode(False, True, local, 1, openbsd) == ((0, 7, b"\x7f\0\0\x09"),)
    assert encode(False, True, local, 0, darwin) == (
        (0, 26, bytes(4) + b"\x7f\0\0\x09" + bytes(4)),
    )
    mapped = bytes(10) + b"\xff\xff\x7f\0\0\x09" + bytes(4)
    assert encode(True, True, local, 1, netbsd) == ((41, 46, mapped),)
    assert encode(True, False, "::1", 2, darwin) == (
        (41, 46, bytes(15) + b"\1" + bytes(4)),
        (41, 36, b"\2\0\0\0"),
    )


@pytest.mark.parametrize(
    ("platform", "expected"),
    [("freebsd15", freebsd), ("netbsd11", netbsd), ("openbsd7", openbsd), ("darwin", darwin)],
)
def test_the_system_is_known(
    platform: str, expected: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert headers_here() is expected
