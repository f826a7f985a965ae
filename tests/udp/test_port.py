"""The native port of a socket, and the transport's own way in its place: both do the same."""

from __future__ import annotations

import asyncio
import errno
import gc
import select
import weakref
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
from rigs import until
from udp_rigs import Receiver, endpoint, receiver, train, udp_socket

import aiotun
from aiotun.native import native
from aiotun.trains import Train
from aiotun.udp import selector

WAYS = ["python"] if native is None else ["native", "python"]


@pytest.fixture(params=WAYS, autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "python":
        monkeypatch.setattr(selector, "native", None)
    return str(request.param)


class Acting(Receiver):
    """Does something with each call's trains."""

    act: Callable[[list[aiotun.DatagramTrain]], object] = staticmethod(lambda trains: None)

    def trains_received(self, trains: list[aiotun.DatagramTrain]) -> None:
        super().trains_received(trains)
        self.act(trains)


def acting() -> Any:
    return endpoint(factory=Acting)  # type: ignore[arg-type]


def send(client: Any, server: Any, *datagrams: bytes) -> None:
    client.transport.sendto_many(datagrams, server.transport.local_addr)
    client.transport.flush()


async def test_what_comes_is_counted_and_delivered(way: str) -> None:
    async with receiver() as server, endpoint() as client:
        assert way == "python" or type(server.transport._ready.__self__) is native.UdpPort
        send(client, server, b"a", b"", b"bc")
        await until(lambda: len(server.data) == 3)
        assert server.data == [b"a", b"", b"bc"]
        addr = client.transport.local_addr
        assert {(each.addr, each.local, each.ecn) for each in server.trains} == {
            (addr, "127.0.0.1", 0)
        }
        counters = server.transport.counters
        assert (counters.datagrams_received, counters.bytes_received) == (3, 3)
        assert counters.messages_received == len(server.trains)


async def test_what_is_written_meanwhile_leaves_in_one_call_at_the_end() -> None:
    async with acting() as server, endpoint() as client:

        def echo(trains: list[aiotun.DatagramTrain]) -> None:
            for each in trains:
                server.transport.sendto(each.data, each.addr)
                assert server.transport.counters.messages_sent == 0

        server.act = echo
        send(client, server, b"a")
        await until(lambda: client.data == [b"a"])
        assert not server.transport._tick
        assert not server.transport._scheduled
        server.transport.sendto(b"b", client.addr)  # by the loop's next turn
        await until(lambda: client.data == [b"a", b"b"])


async def test_each_delivery_is_a_turn() -> None:
    async with receiver() as server, endpoint() as client:
        send(client, server, b"a")
        await until(lambda: server.data == [b"a"])
        assert server.transport.turns == 1
        send(client, server, b"b")
        await until(lambda: server.data == [b"a", b"b"])
        assert (server.transport.turns, server.transport._scheduled) == (2, False)


async def test_an_exit_amid_a_delivery_and_another_at_its_end() -> None:
    """Both are told, and what the second one came from."""

    class Leaving(Acting):
        def error_received(self, exc: Exception) -> None:
            try:
                raise exc
            except Exception:
                raise SystemExit from None

    ends: Any = endpoint(factory=Leaving)  # type: ignore[arg-type]
    async with ends as server, endpoint() as client:
        asyncio.get_running_loop().remove_reader(server.transport._fd)

        def leave(trains: list[aiotun.DatagramTrain]) -> None:
            server.transport._note_error(ValueError("noted"))
            server.transport.sendto(b"still sent", client.addr)
            raise KeyboardInterrupt

        server.act = leave
        send(client, server, b"a")
        assert select.select([server.transport._fd], [], [], 10)[0]
        with pytest.raises(SystemExit) as caught:
            server.transport._ready()
        assert str(caught.value.__context__) == "noted"
        assert isinstance(caught.value.__context__.__context__, KeyboardInterrupt)  # type: ignore[union-attr]
        await until(lambda: client.data == [b"still sent"])


async def test_an_exception_is_reported_and_costs_that_call_alone() -> None:
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    async with acting() as server, endpoint() as client:

        def fail(trains: list[aiotun.DatagramTrain]) -> None:
            server.act = lambda trains: None
            server.transport.sendto(b"still sent", client.addr)
            raise ValueError("of the test")

        server.act = fail
        send(client, server, b"a")
        await until(lambda: client.data == [b"still sent"])
        (report,) = reports
        assert str(report["exception"]) == "of the test"
        assert "trains_received" in report["message"]
        send(client, server, b"b")
        await until(lambda: server.data == [b"a", b"b"])


async def test_an_exit_leaves_and_what_was_written_is_flushed() -> None:
    async with acting() as server, endpoint() as client:

        def leave(trains: list[aiotun.DatagramTrain]) -> None:
            server.transport.sendto(b"still sent", client.addr)
            raise SystemExit

        server.act = leave
        asyncio.get_running_loop().remove_reader(server.transport._fd)
        send(client, server, b"a")
        with pytest.raises(SystemExit):
            server.transport._ready()
        await until(lambda: client.data == [b"still sent"])
        server.act = lambda trains: None


async def test_closing_within_ends_it() -> None:
    async with acting() as server, endpoint() as client:
        server.act = lambda trains: server.transport.close()
        send(client, server, b"a")
        await until(lambda: ("connection_lost", None) in server.calls)
        assert server.data == [b"a"]


async def test_another_protocol_gets_datagrams() -> None:
    async with acting() as server, endpoint() as client, endpoint() as other:
        server.act = lambda trains: server.transport.set_protocol(other)
        send(client, server, b"a")
        await until(lambda: server.data == [b"a"])
        send(client, server, b"b")
        await until(lambda: other.data == [b"b"])


async def test_within_another_delivery_nothing_is_flushed_too_early() -> None:
    async with acting() as server, acting() as other, endpoint() as client:

        def read_other(trains: list[aiotun.DatagramTrain]) -> None:
            server.transport.sendto(b"of the outer", client.addr)
            other.transport._ready()
            assert server.transport._scheduled

        server.act = read_other
        other.act = lambda trains: other.transport.sendto(b"of the inner", client.addr)
        send(client, other, b"b")
        send(client, server, b"a")
        await until(lambda: len(client.data) == 2)


async def test_a_descriptor_that_others_closed_ends_it() -> None:
    async with receiver() as server:
        asyncio.get_running_loop().remove_reader(server.transport._fd)
        server.transport.socket.close()
        server.transport._ready()
        await until(lambda: server.named("connection_lost"))
        (exc,) = server.named("connection_lost")
        assert exc.errno == errno.EBADF


async def test_nothing_waits() -> None:
    async with receiver() as server:
        server.transport._ready()
        assert server.trains == []
        assert server.transport._port.uses == 0


async def test_it_goes_with_its_transport() -> None:
    transport, protocol = await aiotun.create_udp_endpoint(Receiver, local_addr=("127.0.0.1", 0))
    gone = weakref.ref(transport)
    await transport.aclose()
    del transport, protocol.transport
    await asyncio.sleep(0)
    gc.collect()
    assert gone() is None


# Posting.


def entries(addr: Any, *trains: Train, local: Any = None, ecn: Any = 0) -> list[Any]:
    return [(data, segment, addr, local, ecn) for data, segment in trains]


async def post(outgoing: list[Any], *servers: Any, first: bytes = b"") -> tuple[Any, ...]:
    """Post from an endpoint, send in the ordinary way what is left: all that shows."""
    async with endpoint() as client:
        transport = client.transport
        if first:
            transport.sendto(first, servers[0].transport.local_addr)
        left = transport.post(outgoing)
        raised = []
        for data, segment, addr, local, ecn in left:
            try:
                transport.send_train(data, segment, addr, local=local, ecn=ecn)
            except (ValueError, TypeError) as exc:
                raised.append(type(exc))
        transport.flush()
        counters = asdict(transport.counters)
        await until(
            lambda: (
                sum(len(server.data) for server in servers)
                == counters["datagrams_sent"] - counters["dropped_sent"]
            )
        )
        del counters["messages_sent"]  # sent in two goes, trains do not share messages
        assert transport._port.uses == 0
        errors = [exc.errno for exc in client.errors]
        return left, raised, counters, errors, [sorted(server.data) for server in servers]


def plain(a: Any, b: Any) -> list[Any]:
    return [
        *entries(a, (b"one", 0)),
        *entries(b, (train(5, 100), 100), (b"two", 3), ecn=2),
        *entries(a, (b"three", 0), local="127.0.0.1"),
        *entries(b, *[(bytes([number]), 0) for number in range(150)]),
    ]


def refused(a: Any, b: Any) -> list[Any]:
    return [
        *entries(a, (b"one", 0)),
        *entries(("255.255.255.255", 9), (b"x", 0)),
        *entries(b, (b"two", 0)),
    ]


def port_zero(a: Any, b: Any) -> list[Any]:
    return [
        *entries(a, (b"one", 0)),
        *entries(("127.0.0.1", 0), (b"x", 0)),
        *entries(b, (b"two", 0)),
    ]


def no_address(a: Any, b: Any) -> list[Any]:
    return [*entries(a, (b"one", 0)), *entries(("nowhere", 9), (b"x", 0)), *entries(b, (b"two", 0))]


def ports_beyond(a: Any, b: Any) -> list[Any]:
    return [
        *entries(a, (b"one", 0)),
        *entries((b[0], b[1] + 65536), (b"x", 0)),
        *entries((b[0], b[1] - 65536), (b"x", 0)),
        *entries((b[0], b[1] + 2**64), (b"x", 0)),
        *entries(b, (b"two", 0)),
    ]


def beyond_a_zero(a: Any, b: Any) -> list[Any]:
    return [
        *entries((a[0] + "\0", a[1]), (b"x", 0)),
        *entries(b, (b"y", 0), local=b[0] + "\0"),
    ]


def too_many(a: Any, b: Any) -> list[Any]:
    return [*entries(a, (b"one", 0), (bytes(65), 1), (b"three", 0)), *entries(b, (b"two", 0))]


def too_large(a: Any, b: Any) -> list[Any]:
    return [*entries(a, (b"one", 0), (bytes(65530), 0), (b"three", 0)), *entries(b, (b"two", 0))]


@pytest.mark.parametrize(
    ("make", "left"),
    [
        (plain, 0),
        (refused, 2),
        (port_zero, 2),
        (no_address, 2),
        (ports_beyond, 4),
        (beyond_a_zero, 2),
        (too_many, 3),
        (too_large, 3),
    ],
)
async def test_what_is_posted_is_sent_as_ever(
    make: Callable[[Any, Any], list[Any]], left: int, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    for mine in (True, False):
        with monkeypatch.context() as patch:
            if not mine:
                patch.setattr(selector, "native", None)
            async with receiver() as a, receiver() as b:
                outgoing = make(a.transport.local_addr, b.transport.local_addr)
                was_left, *rest = await post(outgoing, a, b)
        if mine and way == "native":
            assert len(was_left) == left
        else:
            assert was_left == outgoing
        seen.append(rest)
    assert seen[0] == seen[1]


async def test_a_list_that_others_change_meanwhile(way: str) -> None:
    """As a thread may while the system sends; here it is an object that is converted."""

    class Changing:
        def __index__(self) -> int:
            outgoing.clear()
            return port

    async with receiver() as server, endpoint() as client:
        addr = server.transport.local_addr
        host, port = addr[0], int(addr[1])
        last = entries((host, Changing()), (b"last", 0))
        outgoing = [*entries(addr, (b"one", 0), (train(3, 5), 5)), *last]
        if way == "native":
            assert client.transport.post(outgoing) == []
            await until(lambda: len(server.data) == 5)
            counters = client.transport.counters
            assert counters.datagrams_sent == 5
            assert counters.bytes_sent == len(train(3, 5)) + 7


async def test_a_port_that_says_something_else_each_time(way: str) -> None:
    class Turning:
        def __index__(self) -> int:
            return ports.pop(0)

    async with receiver() as first, receiver() as second, endpoint() as client:
        ends = (first, second)
        ports = [int(end.transport.local_addr[1]) for end in ends]
        addr = (first.transport.local_addr[0], Turning())
        if way == "native":
            for data in (b"one", b"two"):
                assert client.transport.post(entries(addr, (data, 0))) == []
            await until(lambda: [end.data for end in ends] == [[b"one"], [b"two"]])


class Address(tuple[Any, ...]):
    """It may have attributes."""


async def test_no_address_is_kept_that_holds_something_else() -> None:
    async with receiver() as server, endpoint() as client:
        addr: Any = Address(server.transport.local_addr)
        gone = weakref.ref(held := Acting())
        addr.held = held
        client.transport.post(entries(addr, (b"x", 0)))
        del addr, held
        assert gone() is None


async def test_nothing_overtakes_what_gathered() -> None:
    async with receiver() as server:
        addr = server.transport.local_addr
        left, *_ = await post(entries(addr, (b"second", 0)), server, first=b"first")
        assert left
        assert server.data == [b"first", b"second"]


async def test_a_closed_transport_takes_nothing() -> None:
    async with receiver() as server, endpoint() as client:
        outgoing = entries(server.transport.local_addr, (b"x", 0))
        client.transport.close()
        assert client.transport.post(outgoing) == outgoing


async def test_trains_are_left_where_the_kernel_takes_none() -> None:
    async with receiver() as server, endpoint() as client:
        client.transport._socket.gso = False  # type: ignore[attr-defined]
        outgoing = entries(server.transport.local_addr, (train(2, 10), 10))
        assert client.transport.post(outgoing) == outgoing


async def test_a_connected_endpoint_has_no_native_port() -> None:
    async with receiver() as server:
        sock = udp_socket("127.0.0.1")
        sock.connect(server.transport.local_addr)
        async with endpoint(sock=sock) as client:
            outgoing = entries(None, (b"x", 0))
            assert client.transport.post(outgoing) == outgoing


@pytest.mark.requires("native")
async def test_a_native_port_takes_what_a_transport_gives() -> None:
    async with receiver() as server:
        with pytest.raises(TypeError):
            native.UdpPort(server.transport)  # type: ignore[call-arg]
        wrongs: list[Any] = [
            (),
            [1],
            [(1, 2)],
            [(b"x", None, ("127.0.0.1", 9), None, 0)],
            [(b"x", 0, (), None, 0)],
            [(b"x", 0, ("127.0.0.1", 9), None, 4)],
        ]
        for wrong in wrongs:
            port = native.UdpPort(
                server.transport,
                server.transport._socket,
                server.transport._fd,
                2,
                [],
                [],
                server.transport.counters,
                aiotun.DatagramTrain,
                9,
            )
            if wrong == ():
                with pytest.raises(TypeError, match="list"):
                    port.post(wrong)
            else:
                assert port.post(wrong) == wrong


@pytest.mark.requires("native")
async def test_a_native_port_whose_transport_raises_is_no_longer_in_use() -> None:
    class Transport:
        _gathered: tuple[()] = ()
        asked = 0

        @property
        def _closing(self) -> bool:
            self.asked += 1
            return 1 // (2 - self.asked) == 0  # raises when asked again

    async with receiver() as server:
        counters = server.transport.counters
        port: Any = native.UdpPort(Transport(), None, -1, 2, [], [], counters, tuple, 9)  # type: ignore[arg-type]
        with pytest.raises(ZeroDivisionError):
            port.post([])
        assert port.uses == 0
