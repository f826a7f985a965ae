"""send_messages: many messages in one system call (sendmmsg(2)), as Python sends one by one."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import chain
from socket import AF_INET, AF_INET6
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from udp_rigs import udp_socket

from aiotun.native import native
from aiotun.udp.linux import UdpSocket, receive_datagrams, send_messages
from aiotun.udp.messages import Message
from aiotun.udp.protocol import Datagram, SocketAddress, UdpCounters
from aiotun.udp.sockets import set_buffer

pytestmark = pytest.mark.requires("netns", "ip")

Send = Callable[[socket.socket, int, SocketAddress | None, list[Message], int], tuple[int, int]]


def natively(sock: socket.socket, *how: Any) -> tuple[int, int]:
    return native.send_messages(sock.fileno(), *how)


WAYS: dict[str, Send] = {"python": send_messages}
if native is not None:
    WAYS["native"] = natively


@pytest.fixture(params=WAYS)
def send(request: pytest.FixtureRequest) -> Send:
    return WAYS[request.param]


@pytest.fixture
def near() -> Iterator[socket.socket]:
    with udp_socket("127.0.0.1") as sock:
        sock.setblocking(False)
        yield sock


@pytest.fixture
def far() -> Iterator[socket.socket]:
    with udp_socket("127.0.0.1") as sock:
        sock.setblocking(False)
        yield sock


def received(sock: socket.socket) -> list[Datagram]:
    return receive_datagrams(sock, 1 << 20)[0]


UNREACHABLE = {4: ("192.0.2.1", 9), 6: ("2001:db8::1", 9)}
LOCAL = {4: "127.0.0.7", 6: "::1"}

LENGTHS = st.one_of(
    st.tuples(st.integers(0, 64), st.integers(1, 64), st.integers(1, 64)).map(
        lambda n: [n[1]] * n[0] + [min(n[1:])]
    ),
    st.just([0]),
    st.just([70_000]),
    st.just([100] * 1025),  # beyond UIO_MAXIOV
)

MESSAGES = st.lists(
    st.tuples(
        st.sampled_from([4, 6]),
        st.sampled_from([0, 0, 1, 1, None]),  # one of two sockets, or nobody
        st.booleans(),
        st.integers(0, 3),
        LENGTHS,
        st.booleans(),  # datagrams, or one train of them
    ),
    max_size=100,
)


def outcome(send: Send, family: int, drawn: list[Any]) -> Any:
    """What each call gave, and what arrived where."""
    hosts = {4: "127.0.0.1", 6: "::1"} if family == AF_INET6 else {4: "127.0.0.1"}
    with ExitStack() as stack:
        far = {
            version: [stack.enter_context(udp_socket(host)) for _ in range(2)]
            for version, host in hosts.items()
        }
        near = stack.enter_context(udp_socket("::" if family == AF_INET6 else "0.0.0.0"))
        near.setblocking(False)
        for sock in chain(*far.values()):
            sock.setblocking(False)
            set_buffer(sock, socket.SO_RCVBUF, 1 << 24)
            UdpSocket(sock, UdpCounters(), lambda exc: None)  # sets the options
        messages = []
        for number, (version, place, from_local, ecn, lengths, joined) in enumerate(drawn):
            version = version if version in hosts else 4
            addr = UNREACHABLE[version] if place is None else far[version][place].getsockname()
            data = [bytes([number]) * length for length in lengths]
            segment = lengths[0] if joined and len(data) > 1 else 0
            if segment:
                data = [b"".join(data)]
            local = LOCAL[version] if from_local else None
            messages.append(Message(addr, local, ecn, data, segment))
        results = []
        at = 0
        while at < len(messages):
            sent, number = send(near, family, None, messages, at)
            results.append((sent, number))
            assert number or at + sent == len(messages)
            at += sent + 1
        return results, [
            [(data, source[0], local, ecn) for data, source, local, ecn in received(sock)]
            for sock in chain(*far.values())
        ]


@pytest.mark.parametrize("family", [AF_INET, AF_INET6])
@given(drawn=MESSAGES)
def test_both_ways_send_the_same(family: int, drawn: list[Any]) -> None:
    """Messages of any shape, to IPv4 and IPv6, some of them refused."""
    first, *others = [outcome(send, family, drawn) for send in WAYS.values()]
    assert all(other == first for other in others)


def test_more_than_one_system_call_takes(
    send: Send, near: socket.socket, far: socket.socket
) -> None:
    addr = far.getsockname()
    set_buffer(far, socket.SO_RCVBUF, 1 << 24)
    messages = [Message(addr, None, 0, [n.to_bytes(2, "big")]) for n in range(1000)]
    assert send(near, AF_INET, None, messages, 1) == (999, 0)
    assert [data for data, *_ in received(far)] == [data for *_, (data,), _ in messages[1:]]
    assert send(near, AF_INET, None, messages, 1000) == (0, 0)


def test_a_connected_socket_is_told_of_each_error(send: Send, near: socket.socket) -> None:
    """sendmmsg(2) loses the error that ends a call after its first message."""
    with udp_socket("127.0.0.1") as gone:
        remote = gone.getsockname()
    near.connect(remote)
    messages = [Message(None, None, 0, [b"%d" % n]) for n in range(3)]
    assert send(near, AF_INET, remote, messages, 0) == (1, errno.ECONNREFUSED)
    assert send(near, AF_INET, remote, messages, 1) == (1, errno.ECONNREFUSED)


def test_a_closed_socket(send: Send, near: socket.socket) -> None:
    addr = near.getsockname()
    near.close()
    assert send(near, AF_INET, None, [Message(addr, None, 0, [b"1"])], 0) == (0, errno.EBADF)


def test_a_message_that_raises_ends_the_call(
    send: Send, near: socket.socket, far: socket.socket
) -> None:
    addr = far.getsockname()
    wrong = Message((addr[0], "9"), None, 0, [b"wrong"])  # type: ignore[arg-type]
    good = [Message(addr, None, 0, [bytes([n])]) for n in range(100)]
    for at in (1, 63, 64, 65, 99):
        messages = [*good[:at], wrong, *good[at:]]
        assert send(near, AF_INET, None, messages, 0) == (at, 0)
        with pytest.raises(TypeError):
            send(near, AF_INET, None, messages, at)
        assert send(near, AF_INET, None, messages, at + 1) == (100 - at, 0)
        assert [data for data, *_ in received(far)] == [data for *_, (data,), _ in good]


GOOD: tuple[Any, ...] = (("127.0.0.1", 9), None, 0, [b"1"], 0)


@pytest.mark.parametrize(
    ("family", "wrong"),
    [
        pytest.param(AF_INET, None, id="no message"),
        pytest.param(AF_INET, (*GOOD[:3], (b"1",), 0), id="no list"),
        pytest.param(AF_INET, (*GOOD[:3], [b"1", "2"], 0), id="no bytes"),
        pytest.param(AF_INET, (None, *GOOD[1:]), id="nowhere"),
        pytest.param(AF_INET, ((), *GOOD[1:]), id="no host"),
        pytest.param(AF_INET, (("127.0.0.1",), *GOOD[1:]), id="no port"),
        pytest.param(AF_INET, (("localhost", 9), *GOOD[1:]), id="a name"),
        pytest.param(AF_INET, (("::1", 9), *GOOD[1:]), id="IPv6 on IPv4"),
        pytest.param(AF_INET, (("127.0.0.1", "9"), *GOOD[1:]), id="a port in letters"),
        pytest.param(AF_INET6, (("::ffff:1.2.3.400", 9), *GOOD[1:]), id="no IPv6"),
        pytest.param(AF_INET, (GOOD[0], "::1", *GOOD[2:]), id="from IPv6 to IPv4"),
        pytest.param(AF_INET, (GOOD[0], 7, *GOOD[2:]), id="from a number"),
        pytest.param(AF_INET6, (("::1", 9), "127.0.0.1", *GOOD[2:]), id="from IPv4 to IPv6"),
        pytest.param(AF_INET, (*GOOD[:2], None, *GOOD[3:]), id="no ECN field"),
        pytest.param(AF_INET, ((GOOD[0][0] + "\ud800", 9), *GOOD[1:]), id="no text"),
    ],
)
def test_the_native_one_refuses_what_no_transport_gives(
    near: socket.socket, family: int, wrong: Any
) -> None:
    if native is not None:
        with pytest.raises((TypeError, ValueError)):
            native.send_messages(near.fileno(), family, None, [wrong, GOOD], 0)  # type: ignore[list-item]
