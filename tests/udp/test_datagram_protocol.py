"""A plain `asyncio.DatagramProtocol` on a UDP endpoint, beside asyncio's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from rigs import until
from udp_rigs import OWN, endpoint, use_transport
from udp_rigs import Recorder as Batches

import aiotun


class Recorder(asyncio.DatagramProtocol):
    """Calls as they came, with what it does about them."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.on_datagram: Callable[[bytes, Any], object] = lambda data, addr: None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.calls.append("made")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.calls.append((data, addr))
        self.on_datagram(data, addr)

    def error_received(self, exc: Exception) -> None:
        self.calls.append(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append("lost")


async def asyncio_endpoint(factory: Callable[[], Recorder], **settings: Any) -> Any:
    return await asyncio.get_running_loop().create_datagram_endpoint(factory, **settings)


@pytest.fixture(params=[*OWN, "asyncio's own"])
def create(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Ways to make one, the last of which is the judge."""
    if request.param == "asyncio's own":
        return asyncio_endpoint
    use_transport(OWN[request.param], monkeypatch)
    return aiotun.create_udp_endpoint


@asynccontextmanager
async def opened(create: Any, **settings: Any) -> AsyncIterator[Recorder]:
    transport, protocol = await create(Recorder, **settings)
    assert transport.get_protocol() is protocol if create is not asyncio_endpoint else True
    try:
        yield protocol
    finally:
        transport.close()
        await until(lambda: "lost" in protocol.calls)


LOCAL = {"local_addr": ("127.0.0.1", 0)}


async def test_questions_and_answers(create: Any) -> None:
    async with opened(create, **LOCAL) as server:
        server.on_datagram = lambda data, addr: server.transport.sendto(data[::-1], addr)
        addr = server.transport.get_extra_info("sockname")
        async with opened(create, remote_addr=addr) as client:
            for n in range(100):
                client.transport.sendto(b"question %d" % n)
            await until(lambda: len(client.calls) == 101)
            assert client.calls[0] == "made"
            assert [data for data, _ in client.calls[1:]] == [
                (b"question %d" % n)[::-1] for n in range(100)
            ]
            assert {where for _, where in client.calls[1:]} == {addr}


async def test_an_exception_costs_one_datagram(create: Any) -> None:
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))

    def refuse_the_second(data: bytes, addr: object) -> None:
        if data == b"1":
            raise ZeroDivisionError

    async with opened(create, **LOCAL) as server, endpoint() as client:
        server.on_datagram = refuse_the_second
        addr = server.transport.get_extra_info("sockname")
        client.transport.sendto_many([b"0", b"1", b"2"], addr)
        await until(lambda: len(server.calls) == 4)
        assert [data for data, _ in server.calls[1:]] == [b"0", b"1", b"2"]
        await until(lambda: told)
        assert [type(context["exception"]) for context in told] == [ZeroDivisionError]


async def test_none_comes_after_close(create: Any) -> None:
    async with opened(create, **LOCAL) as server, endpoint() as client:
        server.on_datagram = lambda data, addr: server.transport.close()
        addr = server.transport.get_extra_info("sockname")
        client.transport.sendto_many([b"0", b"1", b"2"], addr)
        await until(lambda: "lost" in server.calls)
        assert [call[0] for call in server.calls if isinstance(call, tuple)] == [b"0"]
        if isinstance(server.transport, aiotun.UdpTransport):
            counters = server.transport.counters
            assert counters.datagrams_received - counters.dropped_received == 1


async def test_errors_of_a_peer(create: Any) -> None:
    async with opened(create, remote_addr=("127.0.0.1", 9)) as client:
        client.transport.sendto(b"nobody listens")
        await until(lambda: len(client.calls) == 2)
        assert isinstance(client.calls[1], ConnectionRefusedError)


async def test_what_one_wake_up_sends_leaves_together() -> None:
    async with endpoint() as client:
        transport, server = await aiotun.create_udp_endpoint(Recorder, ("127.0.0.1", 0))
        async with transport:
            server.on_datagram = lambda data, addr: transport.sendto(data, addr)
            client.transport.sendto_many([bytes(1000)] * 50, transport.local_addr)
            await until(lambda: len(client.data) == 50)
            assert transport.counters.datagrams_sent == 50
            assert transport.counters.messages_sent < 10 or not transport.get_extra_info("gso")


async def test_another_protocol_takes_over_within_a_wake_up() -> None:
    batches = Batches()
    async with endpoint() as client:
        transport, server = await aiotun.create_udp_endpoint(Recorder, ("127.0.0.1", 0))
        async with transport:
            server.on_datagram = lambda data, addr: transport.set_protocol(batches)
            client.transport.sendto_many([b"%d" % n for n in range(5)], transport.local_addr)
            await until(lambda: len(batches.data) == 4)
            assert batches.data == [b"1", b"2", b"3", b"4"]
            transport.set_protocol(server)
            client.transport.sendto(b"5", transport.local_addr)
            await until(lambda: len(server.calls) == 3)


class Awaited(asyncio.DatagramProtocol):
    async def datagram_received(self, data: bytes, addr: Any) -> None:  # type: ignore[override]
        raise AssertionError


async def test_coroutines_are_refused() -> None:
    with pytest.raises(TypeError, match=r"Awaited\.datagram_received is an async def"):
        await aiotun.create_udp_endpoint(Awaited, ("127.0.0.1", 0))
