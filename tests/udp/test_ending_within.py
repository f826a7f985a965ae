"""An endpoint that is ended from within a call that sends or receives: by a callback, a
finalizer, a signal handler. Its socket stays open until that call is over."""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from rigs import until
from udp_rigs import Recorder, endpoint, udp_socket, use_transport

from aiotun.udp.asyncio_endpoint import PlainUdpTransport

ENDS = ["close", "abort"]


class Acting(socket.socket):
    """Acts once before it sends, and once before it receives."""

    on_send: Callable[[], object] | None = None
    on_receive: Callable[[], object] | None = None

    def sendmsg(self, *args: Any) -> int:
        act, self.on_send = self.on_send, None
        if act is not None:
            act()
        return super().sendmsg(*args)

    def recvmsg(self, *args: Any) -> Any:
        act, self.on_receive = self.on_receive, None
        if act is not None:
            act()
        return super().recvmsg(*args)


def push_back() -> None:
    raise BlockingIOError(errno.EAGAIN, "of the test")


@asynccontextmanager
async def acting() -> AsyncIterator[tuple[Acting, Recorder, Recorder]]:
    """A socket, the endpoint on it, and one that it sends to."""
    near = udp_socket("127.0.0.1", Acting)
    async with endpoint() as server, endpoint(sock=near) as client:
        yield near, client, server


def send_three(client: Recorder, server: Recorder) -> None:
    """Datagrams that cannot share a message, in one flush."""
    for ecn in range(3):
        client.transport.sendto(b"x", server.addr, ecn=ecn)
    client.transport.flush()


@pytest.mark.usefixtures("python_sends")
@pytest.mark.parametrize("end", ENDS)
async def test_within_a_flush(end: str) -> None:
    async with acting() as (near, client, server):
        transport = client.transport
        near.on_send = getattr(transport, end)
        send_three(client, server)
        await transport.wait_closed()
        assert client.named("connection_lost") == [None]
        await until(lambda: len(server.data) == 3)
        assert (transport.counters.datagrams_sent, transport.counters.dropped_sent) == (3, 0)
        assert near.fileno() == -1


@pytest.mark.usefixtures("python_sends")
@pytest.mark.parametrize("end", ENDS)
async def test_within_a_flush_that_is_pushed_back(end: str) -> None:
    async with acting() as (near, client, server):
        transport = client.transport

        def end_and_push_back() -> None:
            getattr(transport, end)()
            push_back()

        near.on_send = end_and_push_back
        send_three(client, server)
        await transport.wait_closed()
        sent = 3 if end == "close" else 0
        await until(lambda: len(server.data) == sent)
        assert transport.counters.dropped_sent == 3 - sent


@pytest.mark.usefixtures("python_sends")
@pytest.mark.parametrize("end", ENDS)
async def test_within_what_was_pushed_back(end: str) -> None:
    async with acting() as (near, client, server):
        transport = client.transport
        near.on_send = push_back
        send_three(client, server)
        near.on_send = getattr(transport, end)
        await transport.wait_closed()
        await until(lambda: len(server.data) == 3)
        assert transport.counters.dropped_sent == 0


@pytest.mark.usefixtures("python_sends")
@pytest.mark.parametrize("end", ENDS)
async def test_within_a_read(end: str) -> None:
    """Nothing of it is delivered, all is counted."""
    near = udp_socket("127.0.0.1", Acting)
    async with endpoint(sock=near) as server, endpoint() as client:
        near.on_receive = getattr(server.transport, end)
        for _ in range(3):
            client.transport.sendto(b"x", server.addr)
        client.transport.flush()
        await server.transport.wait_closed()
        counters = server.transport.counters
        assert server.data == []
        assert counters.datagrams_received == counters.dropped_received == 3


@pytest.mark.parametrize("end", ENDS)
async def test_plain_within_a_refusal(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    """asyncio's endpoint tells of it while it sends."""
    use_transport(PlainUdpTransport, monkeypatch)

    class Ending(Recorder):
        def error_received(self, exc: Exception) -> None:
            super().error_received(exc)
            getattr(self.transport, end)()

    async with endpoint() as server, endpoint(factory=Ending) as client:
        transport = client.transport
        transport.sendto_many([b"1", bytes(65_508), b"2"], server.addr)
        transport.flush()
        await transport.wait_closed()
        await until(lambda: server.data == [b"1", b"2"])
        assert transport.counters.datagrams_sent == 3
        assert transport.get_write_buffer_size() == 0
