"""What a UDP endpoint does for its protocol, by Linux' own means and by asyncio's."""

from __future__ import annotations

import asyncio
import errno
import functools
import gc
import ipaddress
import socket
import sys
import weakref
from asyncio.proactor_events import _ProactorDatagramTransport  # type: ignore[attr-defined]
from types import SimpleNamespace
from typing import Any

import pytest
from rigs import check_limits_at_once, check_write_buffer_limits, unix_pair, until
from udp_rigs import OWN, Backend, Recorder, endpoint, use_transport

import aiotun
from aiotun.udp import base
from aiotun.udp import endpoint as udp_endpoint
from aiotun.udp.asyncio_endpoint import PlainUdpTransport, _Inner
from aiotun.udp.base import UdpTransport
from aiotun.udp.protocol import SocketAddress
from aiotun.udp.sockets import FORCED, set_buffer, set_dont_fragment

TRANSPORTS = OWN.copy()
if sys.platform == "linux":
    from models.udp import ModelUdpSocket, receive_many

    from aiotun.platforms.bsd.headers import freebsd, netbsd
    from aiotun.udp.bsd import BsdUdpSocket
    from aiotun.udp.mmsg import Receiver
    from aiotun.udp.selector import SelectorUdpTransport

    def on_freebsd(
        loop: asyncio.AbstractEventLoop, sock: socket.socket, protocol: Any
    ) -> UdpTransport:
        """A MODEL of its sockets."""
        ModelUdpSocket.of(sock, freebsd)
        kind = functools.partial(BsdUdpSocket, headers=freebsd)
        return SelectorUdpTransport(loop, sock, protocol, kind)

    def on_netbsd(
        loop: asyncio.AbstractEventLoop, sock: socket.socket, protocol: Any
    ) -> UdpTransport:
        """A MODEL of its sockets, with `receive_many`."""
        ModelUdpSocket.of(sock, netbsd)
        receiver = Receiver(sock.family, netbsd, receive_many(netbsd))
        kind = functools.partial(BsdUdpSocket, headers=netbsd, receiver=receiver)
        return SelectorUdpTransport(loop, sock, protocol, kind)

    TRANSPORTS["bsd"] = on_freebsd
    TRANSPORTS["bsd, many"] = on_netbsd


@pytest.fixture(params=list(TRANSPORTS.values()), ids=list(TRANSPORTS))
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """All ways to move datagrams; for tests that hold for each."""
    use_transport(request.param, monkeypatch)
    found: Backend = request.param
    return found


both = pytest.mark.usefixtures("backend")
hesitating = pytest.mark.usefixtures("python_sends")

# From the socket to the protocol.


@both
@pytest.mark.parametrize(
    ("near", "far"),
    [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1"), ("0.0.0.0", "127.0.0.1")],
    ids=["IPv4", "IPv6", "dual stack", "any IPv4"],
)
async def test_a_question_and_its_answer(near: str, far: str) -> None:
    async with endpoint(near) as server, endpoint(far) as client:
        server.on_datagram = lambda datagram: server.transport.sendto(
            datagram.data[::-1], datagram.addr, local=datagram.local
        )
        questions = [f"question {n}".encode() for n in range(100)]
        client.transport.sendto_many(questions, server.addr)
        await until(lambda: len(client.data) == 100)
        assert client.data == [question[::-1] for question in questions]
        assert server.data == questions
        assert {datagram.addr[:2] for datagram in server.datagrams} == {client.addr}
        assert {datagram.addr[:2] for datagram in client.datagrams} == {server.addr}
        assert server.calls[0] == ("connection_made",)
        sent, received = client.transport.counters, server.transport.counters
        assert sent.datagrams_sent == received.datagrams_received == 100
        assert sent.bytes_sent == received.bytes_received == sum(map(len, questions))
        assert sent.dropped_sent == received.dropped_received == 0


@both
async def test_ipv4_is_plain_on_a_dual_stack_socket() -> None:
    async with endpoint("::") as server, endpoint("127.0.0.1") as four, endpoint("::1") as six:
        port = server.addr[1]
        four.transport.sendto(b"4", ("127.0.0.1", port))
        six.transport.sendto(b"6", ("::1", port))
        await until(lambda: len(server.data) == 2)
        assert {datagram.addr for datagram in server.datagrams} == {
            four.transport.get_extra_info("sockname"),
            six.transport.get_extra_info("sockname"),
        }
        for client in (four, six):
            assert client.transport.local_addr == client.transport.get_extra_info("sockname")
            assert client.transport.socket is client.transport.get_extra_info("socket")


@both
async def test_paused_reading_delivers_nothing_and_loses_nothing() -> None:
    async with endpoint() as server, endpoint() as client:
        server.transport.pause_reading()
        server.transport.pause_reading()
        assert not server.transport.is_reading()
        client.transport.sendto_many([b"1", b"2", b"3"], server.addr)
        await asyncio.sleep(0.02)
        assert server.data == []
        server.transport.resume_reading()
        server.transport.resume_reading()
        await until(lambda: len(server.data) == 3)
        assert server.data == [b"1", b"2", b"3"]
        server.transport.resume_reading()  # it is reading: nothing happens
        assert server.transport.is_reading()


@both
async def test_an_exception_in_the_callback_costs_its_datagrams_alone(backend: Backend) -> None:
    seen: list[bytes] = []
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    def fail(datagram: aiotun.Datagram) -> None:
        seen.append(datagram.data)
        if datagram.data == b"1":
            raise RuntimeError("of the test")

    async with endpoint() as server, endpoint() as client:
        server.on_datagram = fail
        server.transport.pause_reading()  # so that three come at once
        client.transport.sendto_many([b"1", b"22", b"333"], server.addr)
        client.transport.flush()
        if backend is PlainUdpTransport:
            await until(lambda: server.transport.counters.datagrams_received == 3)
        server.transport.resume_reading()
        await until(lambda: complaints)
        client.transport.sendto(b"4", server.addr)
        await until(lambda: b"4" in server.data)
        assert list(map(len, server.named("datagrams_received"))) == [3, 1]
        assert seen == [b"1", b"4"]
        (complaint,) = complaints
        assert complaint["message"].startswith("exception in datagrams_received of ")
        assert isinstance(complaint["exception"], RuntimeError)


async def test_one_wake_up_reads_a_bounded_amount() -> None:
    """Small datagrams of their own messages, so that no kernel joins them."""
    async with endpoint(receive_buffer=1 << 22) as server:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            for n in range(1000):
                client.sendto(n.to_bytes(2, "big"), server.addr)
        await until(lambda: len(server.data) == 1000)
        assert server.data == [n.to_bytes(2, "big") for n in range(1000)]
        assert max(map(len, server.named("datagrams_received"))) <= 256


async def test_plain_keeps_a_bounded_amount_while_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncio's endpoint cannot be told to stop reading."""
    use_transport(PlainUdpTransport, monkeypatch)
    async with endpoint() as server:
        transport = server.transport
        assert isinstance(transport, PlainUdpTransport)
        transport.pause_reading()
        sent = [aiotun.Datagram(bytes([n & 255]), server.addr, None, 0) for n in range(1030)]
        for each in sent:
            transport.received(each)
        assert transport.counters.dropped_received == 6
        assert transport.counters.datagrams_received == transport.counters.bytes_received == 1030
        transport._watch_readable()
        transport.received(sent[0])  # before the loop came to deliver the others
        await until(lambda: server.datagrams)
        assert server.datagrams == sent[:1024]
        assert transport.counters.dropped_received == 7


@both
async def test_what_was_not_delivered_is_counted(backend: Backend) -> None:
    """Of what the kernel gave: Linux' own means leave it in the socket while reading is paused."""
    async with endpoint() as server, endpoint() as client:
        server.transport.pause_reading()
        client.transport.sendto_many([b"1", b"2"], server.addr)
        expected = 2 if backend is PlainUdpTransport else 0
        counters = server.transport.counters
        await until(lambda: counters.datagrams_received == expected)
        server.transport.abort()
        await server.transport.wait_closed()
        assert counters.dropped_received == expected


# From the protocol to the socket.


@both
async def test_mutable_buffers_are_copied() -> None:
    async with endpoint() as server, endpoint() as client:
        buffer = bytearray(b"before")
        client.transport.sendto(buffer, server.addr)
        client.transport.sendto_many([memoryview(buffer)], server.addr)
        buffer[:] = b"behind"
        await until(lambda: len(server.data) == 2)
        assert server.data == [b"before", b"before"]


@both
@pytest.mark.parametrize("wrong", ["text", 7, None, [b""]])
async def test_what_is_no_bytes_raises(wrong: Any) -> None:
    async with endpoint() as server, endpoint() as client:
        with pytest.raises(TypeError, match="a datagram is bytes"):
            client.transport.sendto(wrong, server.addr)
        with pytest.raises(TypeError, match="a datagram is bytes"):
            client.transport.sendto_many([b"fine", wrong], server.addr)
        client.transport.sendto(b"fine", server.addr)
        await until(lambda: server.data)
        assert server.data == [b"fine"]


@both
@pytest.mark.parametrize(
    ("addr", "options", "says"),
    [
        (None, {}, "say where to send"),
        (("vpn.example", 7), {}, "no numeric address"),
        (("::1", 7), {}, "IPv4 alone"),
        (("127.0.0.1", 7), {"ecn": 4}, "ecn is 0 to 3"),
        (("127.0.0.1", 7), {"local": "::1"}, "no IPv4 address"),
        (("127.0.0.1", 7), {"local": "127.0.0.1\0"}, "no IPv4 address"),
        (("127.0.0.1", 7), {"local": "\ud800"}, "no IPv4 address"),
        (("127.0.0.1", 1 << 70), {}, "a port is 1 to 65535"),
    ],
)
async def test_what_cannot_be_sent_raises(addr: Any, options: dict[str, Any], says: str) -> None:
    async with endpoint() as client:
        with pytest.raises(ValueError, match=says):
            client.transport.sendto(b"", addr, **options)


WRONG_TYPES: dict[str, tuple[dict[str, Any], str]] = {
    "a port with a point": ({"addr": ("127.0.0.1", 9.0)}, "tuple of a host and a port number"),
    "a port in letters": ({"addr": ("127.0.0.1", "9")}, r"not \('127.0.0.1', '9'\)"),
    "no port": ({"addr": ("127.0.0.1",)}, "a host and a port number"),
    "a host alone": ({"addr": "127.0.0.1"}, "not '127.0.0.1'"),
    "two letters": ({"addr": "ab"}, "not 'ab'"),
    "a number": ({"addr": 7}, "not 7"),
    "a list": ({"addr": ["127.0.0.1", 9]}, r"not \['127.0.0.1', 9\]"),
    "nothing": ({"addr": ()}, r"not \(\)"),
    "a host of bytes": ({"addr": (b"127.0.0.1", 9)}, "not .b'127.0.0.1', 9"),
    "no host": ({"addr": (None, 9)}, "not .None, 9"),
    "a scope with a point": ({"addr": ("::1", 9, 0, 0.0)}, "0, 0.0"),
    "too many": ({"addr": ("::1", 9, 0, 0, 0)}, "0, 0, 0"),
    "local bytes": ({"local": b"127.0.0.1"}, "local is an address in a str"),
    "a local object": ({"local": ipaddress.ip_address("::1")}, "local is an address in a str"),
    "a local list": ({"local": ["127.0.0.1"]}, "unhashable type: 'list'"),
    "ECN with a point": ({"ecn": 1.0}, "ecn is an int, not 1.0"),
    "no ECN": ({"ecn": None}, "ecn is an int, not None"),
    "ECN in letters": ({"ecn": "1"}, "ecn is an int, not '1'"),
}


@both
@pytest.mark.parametrize(("wrong", "says"), WRONG_TYPES.values(), ids=WRONG_TYPES)
async def test_wrong_types_raise_and_cost_nothing_else(wrong: dict[str, Any], says: str) -> None:
    async with endpoint() as server, endpoint() as client:
        transport = client.transport
        for data in (b"1", b"2"):
            transport.sendto(data, server.addr)
            arguments = {"addr": server.addr, **wrong}
            with pytest.raises(TypeError, match=says):
                transport.sendto(b"", **arguments)
            with pytest.raises(TypeError, match=says):
                transport.sendto_many([], **arguments)
            await until(lambda data=data: data in server.data)  # type: ignore[misc]
        assert server.data == [b"1", b"2"]
        assert transport.counters.datagrams_sent == 2
        assert client.errors == []


@both
async def test_a_number_that_equals_one_that_was_checked(backend: Backend) -> None:
    """It may be taken for that one, and stops nothing."""
    async with endpoint() as server, endpoint() as client:
        host, port, *_ = server.addr
        client.transport.sendto(b"1", (host, port))
        try:
            client.transport.sendto(b"2", (host, float(port)))  # type: ignore[arg-type]
        except TypeError:
            client.transport.sendto(b"2", (host, port))
        await until(lambda: server.data == [b"1", b"2"])
        client.transport.flush()
        with pytest.raises(TypeError, match="a port number"):
            client.transport.sendto(b"3", (host, float(port)))  # type: ignore[arg-type]


@both
async def test_a_message_that_raises_costs_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that no check foresaw."""
    async with endpoint() as server, endpoint() as client:
        transport = client.transport
        transport.sendto(b"1", server.addr)
        with monkeypatch.context() as unchecked:
            unchecked.setattr(transport._outbox, "_check", lambda *way: way)
            for port in ("9", "10"):
                transport.sendto_many([b"x", b"y"], ("127.0.0.1", port))  # type: ignore[arg-type]
        transport.sendto(b"2", ("127.0.0.2", 9))
        transport.sendto(b"3", server.addr)
        transport.sendto_many([b"4", b"5"], server.addr, ecn=1)
        await until(lambda: len(server.data) == 4)
        assert server.data == [b"1", b"3", b"4", b"5"]
        assert all(isinstance(error, TypeError) for error in client.errors)
        assert transport.counters.dropped_sent == 4
        assert transport.get_write_buffer_size() == 0
        transport.sendto(b"6", server.addr)
        await until(lambda: len(server.data) == 5)


@both
@pytest.mark.parametrize("raised", [MemoryError("of the test"), KeyboardInterrupt()], ids=repr)
async def test_what_cannot_be_packed_is_counted_once(
    raised: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For want of memory, or because a signal's handler raised."""

    def fail(*args: object) -> None:
        raise raised

    async with endpoint() as server, endpoint() as client:
        transport = client.transport
        transport.sendto_many([b"1", b"2"], server.addr)
        with monkeypatch.context() as short:
            short.setattr(base, "pack", fail)
            if isinstance(raised, MemoryError):
                transport.flush()
                assert client.errors == [raised]
            else:
                with pytest.raises(KeyboardInterrupt):
                    transport.flush()
        assert transport.get_write_buffer_size() == 0
        transport.sendto(b"3", server.addr)
        await until(lambda: server.data == [b"3"])
        counters = transport.counters
        assert (counters.datagrams_sent, counters.dropped_sent, counters.bytes_sent) == (3, 2, 3)


@both
async def test_flush_sends_now() -> None:
    async with endpoint() as client:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
            far.bind(("127.0.0.1", 0))
            far.setblocking(False)
            client.transport.sendto(b"1", far.getsockname())
            with pytest.raises(BlockingIOError):
                far.recv(10)
            assert client.transport.get_write_buffer_size() == 1
            client.transport.flush()
            assert far.recv(10) == b"1"
            assert client.transport.get_write_buffer_size() == 0
            client.transport.sendto_many([b"2"] * 600, far.getsockname())
            assert far.recv(10) == b"2"  # enough has gathered


@both
async def test_a_datagram_too_large_for_udp_is_dropped_and_reported() -> None:
    async with endpoint() as server, endpoint() as client:
        client.transport.sendto_many([b"1", bytes(65_508), b"2"], server.addr)
        await until(lambda: len(server.data) == 2 and client.errors)
        assert server.data == [b"1", b"2"]
        (error,) = client.errors
        assert error.errno == errno.EMSGSIZE


@both
async def test_a_connected_endpoint_hears_what_icmp_says_and_lives_on() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
        far.bind(("127.0.0.1", 0))
        addr = far.getsockname()
    async with endpoint(remote_addr=addr) as client:
        assert client.transport.get_extra_info("peername") == addr
        for count in (1, 2):
            client.transport.sendto(b"is there anybody?")
            await until(lambda count=count: len(client.errors) == count)  # type: ignore[misc]
        assert {error.errno for error in client.errors} == {errno.ECONNREFUSED}
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
            far.bind(addr)
            far.sendto(b"now there is", client.addr)
            await until(lambda: client.data)
            client.transport.sendto(b"hello", addr)
            client.transport.flush()
            assert far.recv(100) == b"hello"
        with pytest.raises(ValueError, match="is connected to"):
            client.transport.sendto(b"", ("127.0.0.1", 9))


async def test_an_error_of_earlier_datagrams_costs_no_later_one() -> None:
    """A program that sends before it reads is told by the kernel, which then does not send."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
        far.bind(("127.0.0.1", 0))
        addr = far.getsockname()
    async with endpoint(remote_addr=addr) as client:
        client.transport.sendto(b"lost")
        client.transport.flush()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
            far.bind(addr)
            far.setblocking(False)
            client.transport.sendto_many([b"not lost", b"not lost"])
            client.transport.flush()
            assert [far.recv(100), far.recv(100)] == [b"not lost"] * 2
            far.sendto(b"hello", client.addr)
            await until(lambda: client.data)  # it reads on, uvloop too
        assert [error.errno for error in client.errors] == [errno.ECONNREFUSED]
        assert client.transport.counters.dropped_sent == 0


@hesitating
async def test_reading_goes_on_after_an_error_while_writing_waits() -> None:
    """uvloop gives up its watch of a descriptor that had an error."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
        far.bind(("127.0.0.1", 0))
        addr = far.getsockname()
    near = Hesitant(addr)
    async with endpoint(sock=near) as client:
        client.transport.sendto(b"refused")
        client.transport.flush()
        near.hesitate = True
        client.transport.sendto(b"waits")
        await until(lambda: client.errors)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
            far.bind(addr)
            far.settimeout(1)
            far.sendto(b"hello", client.addr)
            await until(lambda: client.data)
            near.hesitate = False
            await until(lambda: not client.transport.get_write_buffer_size())
            assert far.recv(100) == b"waits"


@hesitating
async def test_an_error_of_earlier_datagrams_while_the_socket_pushes_back() -> None:
    async with endpoint() as server:
        pass
    near = Hesitant(server.addr)  # where nobody is any more
    async with endpoint(sock=near) as client:
        client.transport.sendto(b"lost")
        client.transport.flush()
        near.number = near.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        near.hesitate = True
        client.transport.sendto(b"waits")
        client.transport.flush()
        assert [error.errno for error in client.errors] == [errno.ECONNREFUSED]
        assert client.transport.get_write_buffer_size() == 1


# Flow control.


class Hesitant(socket.socket):
    """Takes nothing while it hesitates, though poll(2) says that it would; tells `number` first."""

    hesitate = False
    number = 0

    def __init__(self, remote: SocketAddress | None = None) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_DGRAM)
        self.bind(("127.0.0.1", 0))
        if remote is not None:
            self.connect(remote)

    def sendmsg(self, *args: Any) -> int:
        if self.number:
            number, self.number = self.number, 0
            raise OSError(number, "of the test")
        if self.hesitate:
            raise BlockingIOError(errno.EAGAIN, "of the test")
        return super().sendmsg(*args)


@hesitating
async def test_a_socket_that_pushes_back_pauses_the_protocol() -> None:
    near = Hesitant()
    async with endpoint() as server, endpoint(sock=near) as client:
        transport = client.transport
        transport.set_write_buffer_limits(high=10, low=2)
        near.hesitate = True
        transport.sendto_many([bytes([n]) for n in range(10)], server.addr)
        transport.flush()
        assert transport.get_write_buffer_size() == 10
        assert client.named("pause_writing") == []
        transport.sendto_many([bytes([n]) for n in range(10, 13)], server.addr)
        transport.flush()
        assert len(client.named("pause_writing")) == 1
        transport.sendto(b"\x0d", server.addr)
        transport.flush()
        assert len(client.named("pause_writing")) == 1  # not again
        await asyncio.sleep(0.01)
        assert client.named("resume_writing") == []
        near.hesitate = False
        await until(lambda: client.named("resume_writing"))
        await until(lambda: len(server.data) == 14)
        assert server.data == [bytes([n]) for n in range(14)]
        assert transport.get_write_buffer_size() == 0
        assert transport.counters.dropped_sent == 0


@hesitating
async def test_what_waits_for_the_end_of_the_tick_does_not_keep_the_protocol_paused() -> None:
    near = Hesitant()
    async with endpoint() as server, endpoint(sock=near) as client:
        transport = client.transport
        transport.set_write_buffer_limits(high=0)
        near.hesitate = True
        transport.sendto(b"data", server.addr)
        transport.flush()
        assert client.named("pause_writing") == [None]
        near.hesitate = False
        transport.sendto(b"more", server.addr)
        transport._write_ready()  # before the end of the tick
        await until(lambda: client.named("resume_writing"))


@hesitating
async def test_new_limits_pause_and_resume_at_once() -> None:
    near = Hesitant()
    async with endpoint() as server, endpoint(sock=near) as client:
        near.hesitate = True
        client.transport.sendto_many([b"data"] * 10, server.addr)
        client.transport.flush()
        check_limits_at_once(
            client.transport, client, lambda: client.transport.sendto(b"data", server.addr)
        )
        near.hesitate = False


class ProactorModel:
    """A MODEL of Windows' proactor, under asyncio's own endpoint: a send ends when the test says.

    It takes the place of the loop for that endpoint.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loop = asyncio.get_running_loop()
        self.call_soon = self.loop.call_soon
        self._proactor = self
        self.sent: list[tuple[bytes, asyncio.Future[int]]] = []
        """What it was given, with what ends when that has left."""
        self.refused = b""

        async def opened(transport: PlainUdpTransport) -> None:
            _ProactorDatagramTransport(self, transport.socket, _Inner(transport))
            await asyncio.sleep(0)  # it attaches itself

        use_transport(PlainUdpTransport, monkeypatch)
        monkeypatch.setattr(PlainUdpTransport, "_open", opened)

    def get_debug(self) -> bool:
        return False

    def recvfrom(self, sock: socket.socket, size: int) -> asyncio.Future[Any]:
        return self.loop.create_future()

    def sendto(self, sock: socket.socket, data: bytes, addr: Any) -> asyncio.Future[int]:
        if data == self.refused:
            raise OSError(errno.EINVAL, "of the test")
        self.sent.append((data, self.loop.create_future()))
        return self.sent[-1][1]

    async def leaves(self, number: int) -> list[bytes]:
        """Let what it is given leave, until it was given so many."""
        for place in range(number):
            await until(lambda: len(self.sent) > place)  # noqa: B023
            if not self.sent[place][1].done():
                self.sent[place][1].set_result(0)
        return [data for data, _ in self.sent]


counts_right = pytest.mark.skipif(
    (3, 13) <= sys.version_info < (3, 13, 6),
    reason="asyncio's endpoint of 3.13.0 to 3.13.5 counts 8 bytes too many (gh-135444)",
)


@counts_right
async def test_plain_waits_while_the_loops_endpoint_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proactor = ProactorModel(monkeypatch)
    async with endpoint(remote_addr=("127.0.0.1", 9)) as client:
        transport = client.transport
        transport.set_write_buffer_limits(high=2, low=0)
        transport.sendto_many([b"1", b"2", b"3", b"4", b"5"])
        transport.flush()  # one is on its way, one waits in the loop's endpoint
        assert transport.get_write_buffer_size() == 3
        assert client.named("pause_writing") == [None]
        assert await proactor.leaves(5) == [b"1", b"2", b"3", b"4", b"5"]
        assert client.named("resume_writing") == [None]


@counts_right
@pytest.mark.parametrize("refused", ["at once", "later"])
async def test_plain_goes_on_after_an_error_while_the_loops_endpoint_is_full(
    monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    """The proactor's endpoint neither tells that it has room then, nor sends what waits in it."""
    proactor = ProactorModel(monkeypatch)
    async with endpoint(remote_addr=("127.0.0.1", 9)) as client:
        if refused == "at once":
            proactor.refused = b"2"
        client.transport.sendto_many([b"1", b"2", b"3", b"4"])
        client.transport.flush()
        if refused == "later":
            proactor.sent[0][1].set_exception(OSError(errno.EINVAL, "of the test"))
        left = await proactor.leaves(3 if refused == "at once" else 4)
        assert left == [each for each in (b"1", b"2", b"3", b"4") if each != proactor.refused]
        assert [exc.errno for exc in client.errors] == [errno.EINVAL]


@both
async def test_write_buffer_limits() -> None:
    async with endpoint() as client:
        check_write_buffer_limits(client.transport)


# The end.


@both
async def test_close_sends_what_waits() -> None:
    async with endpoint() as server, endpoint() as client:
        client.transport.sendto(b"last words", server.addr)
        client.transport.close()
        client.transport.close()
        assert client.transport.is_closing()
        assert client.named("connection_lost") == []  # not from within
        await client.transport.wait_closed()
        assert client.named("connection_lost") == [None]
        assert client.transport.get_extra_info("socket").fileno() == -1
        await until(lambda: server.data)
        client.transport.abort()
        client.transport.resume_reading()
        assert len(client.named("connection_lost")) == 1


@hesitating
async def test_close_waits_for_a_socket_that_pushes_back() -> None:
    near = Hesitant()
    async with endpoint() as server, endpoint(sock=near) as client:
        near.hesitate = True
        client.transport.sendto(b"last words", server.addr)
        client.transport.close()
        await asyncio.sleep(0.02)
        assert client.named("connection_lost") == []
        near.hesitate = False
        await client.transport.wait_closed()
        await until(lambda: server.data)


@hesitating
async def test_abort_drops_what_waits() -> None:
    near = Hesitant()
    async with endpoint() as server, endpoint(sock=near) as client:
        near.hesitate = True
        client.transport.sendto_many([b"1", b"2"], server.addr)
        client.transport.flush()
        client.transport.sendto(b"3", server.addr)
        client.transport.abort()
        await client.transport.wait_closed()
        assert client.named("connection_lost") == [None]
        counters = client.transport.counters
        assert counters.dropped_sent == counters.datagrams_sent == counters.bytes_sent == 3
        assert client.transport.get_write_buffer_size() == 0


@both
async def test_after_close_datagrams_are_dropped_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with endpoint() as server, endpoint() as client:
        client.transport.close()
        client.transport.sendto(b"1", server.addr)
        client.transport.sendto_many([b"2", b"3"], server.addr)
        counters = client.transport.counters
        assert counters.dropped_sent == counters.datagrams_sent == counters.bytes_sent == 3
        assert [record.message for record in caplog.records] == [
            f"{client.transport!r} got a datagram after it was closed: dropped, like all others"
        ]


async def test_a_descriptor_closed_by_others_ends_the_transport() -> None:
    async with endpoint() as server, endpoint() as client:
        client.transport.pause_reading()  # or the loop would watch a descriptor that is none
        client.transport.get_extra_info("socket").close()
        client.transport.sendto(b"1", server.addr)
        client.transport.flush()
        with pytest.raises(OSError) as caught:  # noqa: PT011
            await client.transport.wait_closed()
        assert caught.value.errno == errno.EBADF
        assert client.named("connection_lost") == [caught.value]


async def test_what_came_before_a_descriptor_was_closed_is_counted_as_dropped() -> None:
    async with endpoint() as server:
        transport: Any = server.transport

        def receive(limit: int) -> list[aiotun.Datagram]:
            transport.counters.datagrams_received += 2
            raise OSError(errno.EBADF, "of the test")

        transport._read(receive, transport._deliver)
        with pytest.raises(OSError, match="of the test"):
            await transport.wait_closed()
        assert transport.counters.dropped_received == 2


async def test_an_unclosed_transport_warns() -> None:
    transport, _ = await aiotun.create_udp_endpoint(aiotun.UdpProtocol, ("127.0.0.1", 0))
    transport.pause_reading()  # or the loop would hold it
    forgotten = weakref.ref(transport)
    with pytest.warns(ResourceWarning) as warned:  # noqa: PT031
        del transport
        gc.collect()
    assert [w for w in warned if "unclosed transport <SelectorUdpTransport" in str(w.message)]
    warned.clear()  # a warning holds what it is about
    gc.collect()
    assert forgotten() is None


# Opening.


async def test_on_windows_without_offload_it_is_the_plain_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        loop = asyncio.get_running_loop()
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(sys, "platform", "win32")
            neither: Any = SimpleNamespace(works_here=lambda: False, WinsockUdpSocket=None)
            elsewhere.setitem(sys.modules, "aiotun.udp.winsock", neither)
            event: Any = SimpleNamespace(EventUdpTransport=None)
            elsewhere.setitem(sys.modules, "aiotun.udp.event", event)
            transport = await udp_endpoint._make_transport(loop, sock, Recorder(), None)
            with pytest.raises(aiotun.UnsupportedError, match="Linux only"):
                set_dont_fragment(sock)
            set_buffer(sock, socket.SO_RCVBUF, 10_000)
        assert isinstance(transport, PlainUdpTransport)
        transport.abort()
        await transport.wait_closed()


def test_without_privileges_a_buffer_is_what_the_system_allows() -> None:
    class Unprivileged(socket.socket):
        def setsockopt(self, level: int, option: int, *value: Any) -> None:
            if option == FORCED[socket.SO_RCVBUF]:
                raise PermissionError(errno.EPERM, "of the test")
            super().setsockopt(level, option, *value)

    with Unprivileged(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        set_buffer(sock, socket.SO_RCVBUF, 1 << 30)
        assert 0 < sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < 1 << 30


@both
async def test_extra_infos(backend: Backend) -> None:
    async with endpoint(receive_buffer=200_000, send_buffer=100_000) as client:
        info = client.transport.get_extra_info
        assert info("sockname") == info("socket").getsockname()
        assert info("peername") is None
        assert info("receive_buffer") == 200_000
        assert info("send_buffer") == 100_000
        assert info("gso") is info("gro") is (backend is TRANSPORTS.get("linux"))
        assert info("colour") is None
        assert info("colour", "red") == "red"
        name = type(client.transport).__name__
        assert repr(client.transport) == f"<{name} {info('sockname')} open>"
        assert client.transport.get_protocol() is client
    assert repr(client.transport) == f"<{name} {info('sockname')} closed>"
    assert info("receive_buffer", "closed") == "closed"


async def test_names_are_looked_up() -> None:
    async with (
        endpoint("localhost") as server,
        endpoint(remote_addr=("localhost", server.addr[1])) as client,
    ):
        client.transport.sendto(b"1")
        await until(lambda: server.data)


async def test_a_local_address_for_a_remote_one_of_its_family() -> None:
    async with endpoint() as server:
        transport, _ = await aiotun.create_udp_endpoint(Recorder, ("127.0.0.1", 0), server.addr)
        transport.sendto(b"1")
        await until(lambda: server.data)
        assert server.datagrams[0].addr == transport.get_extra_info("sockname")
        transport.close()
        await transport.wait_closed()


async def test_several_sockets_on_one_port() -> None:
    async with endpoint(reuse_port=True) as first:
        transport, _ = await aiotun.create_udp_endpoint(Recorder, first.addr, reuse_port=True)
        transport.close()
        await transport.wait_closed()


@pytest.mark.parametrize(
    ("arguments", "kind", "says"),
    [
        ({"local_addr": "127.0.0.1"}, TypeError, "a host and a port number.* not '127.0.0.1'"),
        ({"local_addr": ("127.0.0.1", "0")}, TypeError, "not .'127.0.0.1', '0'"),
        ({"local_addr": ("127.0.0.1",)}, TypeError, "a host and a port number"),
        ({"local_addr": ()}, TypeError, "a host and a port number"),
        ({"local_addr": ("127.0.0.1", 70_000)}, ValueError, "a port is 0 to 65535, not 70000"),
        ({"local_addr": ("::1", 0, 0, 1 << 32)}, ValueError, "a scope is"),
        ({"remote_addr": "ab"}, TypeError, "a host and a port number"),
        ({"remote_addr": ("127.0.0.1", 9.0)}, TypeError, "a host and a port number"),
        ({"remote_addr": ("127.0.0.1", 0)}, ValueError, "a port is 1 to 65535, not 0"),
        ({"receive_buffer": "1"}, TypeError, "size of a buffer is an int, not '1'"),
        ({"receive_buffer": b"abcd"}, TypeError, "size of a buffer is an int"),
        ({"receive_buffer": 0}, ValueError, "1 to 2147483647 bytes, not 0"),
        ({"send_buffer": 1 << 31}, ValueError, "1 to 2147483647 bytes"),
        ({"send_buffer": 1.5}, TypeError, "size of a buffer is an int"),
        ({"sock": 7}, TypeError, "sock= is a socket.socket, not 7"),
    ],
)
async def test_arguments_that_cannot_be(
    arguments: dict[str, Any], kind: type[Exception], says: str
) -> None:
    if not arguments.keys() & {"remote_addr", "sock"}:
        arguments = {"local_addr": ("127.0.0.1", 0), **arguments}
    with pytest.raises(kind, match=says):
        await aiotun.create_udp_endpoint(Recorder, **arguments)


@pytest.mark.parametrize("kind", ["TCP", "UNIX"])
async def test_a_socket_of_another_kind(kind: str) -> None:
    if kind == "TCP":
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    else:
        sock, far = unix_pair(socket.SOCK_DGRAM)
        far.close()
    with pytest.raises(aiotun.ConfigError, match="sock= is no UDP socket"):
        await aiotun.create_udp_endpoint(Recorder, sock=sock)
    assert sock.fileno() == -1  # it belonged to the endpoint already


@pytest.mark.parametrize(
    ("arguments", "number", "says"),
    [
        ({"local_addr": ("192.0.2.1", 0)}, errno.EADDRNOTAVAIL, "no interface of this host has"),
        ({}, errno.EINVAL, "needs local_addr=, remote_addr= or sock="),
        (
            {"local_addr": ("127.0.0.1", 0), "remote_addr": ("::1", 7)},
            errno.EAFNOSUPPORT,
            "no address family in common",
        ),
    ],
    ids=["no address of ours", "no address", "two families"],
)
async def test_addresses_that_cannot_be_had(
    arguments: dict[str, Any], number: int, says: str
) -> None:
    with pytest.raises(OSError, match=says) as caught:
        await aiotun.create_udp_endpoint(aiotun.UdpProtocol, **arguments)
    assert caught.value.errno == number


async def test_a_name_that_nobody_knows() -> None:
    with pytest.raises(socket.gaierror):
        await aiotun.create_udp_endpoint(aiotun.UdpProtocol, ("no.such.name.invalid", 0))


async def test_a_port_in_use() -> None:
    async with endpoint() as first:
        with pytest.raises(OSError, match="another socket has this port") as caught:
            await aiotun.create_udp_endpoint(aiotun.UdpProtocol, first.addr)
        assert caught.value.errno == errno.EADDRINUSE


async def test_a_ready_socket_has_its_addresses() -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with pytest.raises(aiotun.ConfigError, match="leave out the addresses"):
        await aiotun.create_udp_endpoint(aiotun.UdpProtocol, ("127.0.0.1", 0), sock=sock)
    assert sock.fileno() == -1  # it belonged to the endpoint already


class Awaited(Recorder):
    async def datagrams_received(self, datagrams: list[aiotun.Datagram]) -> None:  # type: ignore[override]
        raise AssertionError


@both
@pytest.mark.parametrize(
    ("factory", "says"),
    [
        (asyncio.Protocol, "Protocol is no UdpProtocol"),
        (aiotun.PacketProtocol, "PacketProtocol is no UdpProtocol"),
        (lambda: None, "NoneType is no UdpProtocol"),
        (Awaited, "Awaited.datagrams_received is an async def"),
    ],
)
async def test_what_cannot_be_a_protocol_is_refused(factory: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        await aiotun.create_udp_endpoint(factory, ("127.0.0.1", 0))
    async with endpoint() as client:
        with pytest.raises(TypeError, match=says):
            client.transport.set_protocol(factory())


@both
async def test_a_failing_factory_leaves_nothing_behind() -> None:
    def fail() -> Recorder:
        raise RuntimeError("of the test")

    with pytest.raises(RuntimeError, match="of the test"):
        await aiotun.create_udp_endpoint(fail, ("127.0.0.1", 0))


@both
@pytest.mark.parametrize("turns", range(5))
async def test_a_cancelled_creation_leaves_nothing_behind(turns: int) -> None:
    task = asyncio.ensure_future(aiotun.create_udp_endpoint(Recorder, ("127.0.0.1", 0)))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    try:
        transport, _ = await task
    except asyncio.CancelledError:
        gc.collect()
    else:
        transport.close()
        await transport.wait_closed()
