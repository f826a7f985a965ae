"""What Linux' own means add: segmentation, source addresses, ECN, path MTUs."""

from __future__ import annotations

import errno
import logging
import socket
import struct
from collections.abc import Callable
from typing import Any

import packets
import pytest
from implementations import IMPLEMENTATIONS
from rigs import until
from udp_rigs import NARROW, endpoint, udp_socket

import aiotun
from aiotun.native import native
from aiotun.testing.namespace import Namespace
from aiotun.udp import linux
from aiotun.udp.cmsg import IP_MTU_DISCOVER, IP_RECVERR, UDP_SEGMENT, encode

SO_NO_CHECK = 11  # asm-generic/socket.h

HOSTS = ["127.0.0.1", "::1"]
HEADERS = {"127.0.0.1": 28, "::1": 48}

pytestmark = pytest.mark.requires("netns", "ip")


@pytest.fixture(autouse=True, params=IMPLEMENTATIONS)
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to receive and to send."""
    monkeypatch.setattr(linux, "native", native if request.param == "native" else None)


# Many datagrams in one system call.


@pytest.mark.parametrize("host", [*HOSTS, "::"])
async def test_many_datagrams_are_few_messages(host: str) -> None:
    async with (
        endpoint(host, receive_buffer=1 << 22) as server,
        endpoint("127.0.0.1" if host == "::" else host) as client,
    ):
        sent = [n.to_bytes(2, "big") * 500 for n in range(200)]
        client.transport.sendto_many([*sent, b"the end"], server.addr)
        await until(lambda: len(server.data) == 201)
        assert server.data == [*sent, b"the end"]
        assert client.transport.counters.messages_sent == 4  # of 64, 64, 64, 9
        assert server.transport.counters.messages_received == 4


async def test_order_holds_whatever_the_lengths() -> None:
    lengths = [100, 100, 0, 50, 50, 1, 100, 7, 7, 7, 0, 0, 9000, 9000, 2]
    async with endpoint() as server, endpoint() as client:
        sent = [bytes([n]) * length for n, length in enumerate(lengths)]
        for each in sent:
            client.transport.sendto(each, server.addr)
        await until(lambda: len(server.data) == len(sent))
        assert server.data == sent


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_both_ways_to_receive_see_the_same(family: int) -> None:
    """Bytes, addresses, ECN and counts, of few and of many, joined or not."""
    if native is None:
        return
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    seen = []
    ways: list[Callable[[socket.socket, int], Any]] = [
        lambda sock, limit: native.receive_datagrams(sock.fileno(), limit, aiotun.Datagram),
        linux.receive_datagrams,
    ]
    for take in ways:
        with udp_socket(host) as far, udp_socket(host) as near:
            far.setblocking(False)
            near.connect(far.getsockname())
            linux.UdpSocket(far, aiotun.udp.UdpCounters(), lambda exc: None)  # sets the options
            near.sendmsg([bytes(100)] * 5 + [b"x"], [(socket.IPPROTO_UDP, UDP_SEGMENT, b"\x64\0")])
            near.sendmsg([b""], encode(family == socket.AF_INET, None, 3, 0))
            near.send(b"last")
            source = near.getsockname()
            seen.append(
                [
                    ([(*each[:1], each[1] == source, *each[2:]) for each in datagrams], *counts)
                    for datagrams, *counts in (take(far, limit) for limit in (1, 1, 5))
                ]
            )
    assert seen[0] == seen[1]
    ((first, *_), (second, *_), (third, *counts)) = seen[0]
    assert [each[0] for each in first] == [bytes(100)] * 5 + [b"x"]
    assert second == [(b"", True, host, 3)]
    assert (third, counts) == ([(b"last", True, host, 0)], [1, 4, errno.EAGAIN])


def test_the_native_one_makes_tuples() -> None:
    if native is not None:
        with pytest.raises(TypeError, match="a datagram is a tuple"):
            native.receive_datagrams(0, 1, int)  # type: ignore[arg-type]


# Where from, and how.


@pytest.mark.parametrize(
    ("bound", "asked"),
    [("0.0.0.0", "127.0.0.9"), ("::", "127.0.0.9"), ("::", "fd09::9")],
    ids=["IPv4", "IPv4 on a dual stack", "IPv6"],
)
async def test_the_answer_leaves_from_where_one_asked(
    namespace: Namespace, bound: str, asked: str
) -> None:
    namespace.command("ip", "address", "add", "fd09::9/64", "dev", "lo", "nodad")
    near = namespace.run(udp_socket, bound)
    far = namespace.run(udp_socket, "::1" if ":" in asked else "127.0.0.1")
    async with endpoint(sock=near) as server, endpoint(sock=far) as client:
        port = server.transport.get_extra_info("sockname")[1]
        server.on_datagram = lambda datagram: server.transport.sendto(
            b"answer", datagram.addr, local=datagram.local
        )

        def answered() -> list[bytes]:
            client.transport.sendto(b"question", (asked, port))
            return client.data

        await until(answered)  # not at once: an address of IPv6 is there before its route
        assert server.datagrams[0].local == asked
        assert client.datagrams[0].addr[:2] == (asked, port)


@pytest.mark.parametrize(
    ("host", "other", "number"),
    [("127.0.0.1", "192.0.2.1", errno.ENETUNREACH), ("::1", "2001:db8::1", errno.EINVAL)],
)
async def test_a_source_address_that_is_not_ours(host: str, other: str, number: int) -> None:
    """It costs its datagrams alone, and says nothing about segmentation."""
    async with endpoint(host) as server, endpoint(host) as client:
        client.transport.sendto_many([b"1", b"2"], server.addr, local=other)
        client.transport.sendto_many([b"3", b"4"], server.addr)
        await until(lambda: len(server.data) == 2)
        assert server.data == [b"3", b"4"]
        assert [error.errno for error in client.errors] == [number]
        assert client.transport.counters.dropped_sent == 2
        assert client.transport.get_extra_info("gso")


@pytest.mark.parametrize("host", [*HOSTS, "::"])
async def test_ecn_both_ways(host: str) -> None:
    async with endpoint(host) as server, endpoint("127.0.0.1" if host == "::" else host) as client:
        server.on_datagram = lambda datagram: server.transport.sendto(
            datagram.data, datagram.addr, local=datagram.local, ecn=datagram.ecn
        )
        for ecn in range(4):
            client.transport.sendto_many([bytes([ecn])] * 3, server.addr, ecn=ecn)
        await until(lambda: len(client.data) == 12)
        for recorder in (server, client):
            assert [(d.data, d.ecn) for d in recorder.datagrams] == [
                (bytes([ecn]), ecn) for ecn in range(4) for _ in range(3)
            ]


# Paths that do not carry what is sent.


@pytest.mark.parametrize("host", HOSTS)
async def test_segments_that_the_path_does_not_carry_go_in_fragments(
    narrow: Namespace, host: str
) -> None:
    far, near = (narrow.run(udp_socket, host) for _ in range(2))
    async with endpoint(sock=far) as server, endpoint(sock=near) as client:
        large = [bytes([n]) * 1400 for n in range(10)]
        client.transport.sendto_many([*large, b"small"], server.addr)
        await until(lambda: len(server.data) == 11)
        assert server.data == [*large, b"small"]
        (error,) = client.errors
        assert isinstance(error, aiotun.errors.PathMTUError)
        assert (error.mtu, error.addr[:2]) == (NARROW, server.addr)
        assert "carries IP packets of 1400 bytes" in str(error)
        assert client.transport.counters.dropped_sent == 0

        fitting = [bytes(error.mtu - HEADERS[host])] * 10
        before = client.transport.counters.messages_sent
        client.transport.sendto_many(fitting, server.addr)
        await until(lambda: len(server.data) == 21)
        assert client.transport.counters.messages_sent - before == 1  # segmentation goes on


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("count", [1, 10])
async def test_what_must_not_be_fragmented_is_dropped_and_reported(
    narrow: Namespace, host: str, count: int
) -> None:
    far, near = (narrow.run(udp_socket, host) for _ in range(2))
    async with endpoint(sock=far) as server, endpoint(sock=near, dont_fragment=True) as client:
        client.transport.sendto_many([*[bytes(1400)] * count, b"small"], server.addr)
        await until(lambda: server.data)
        assert server.data == [b"small"]
        assert [error.mtu for error in client.errors] == [NARROW]
        assert client.transport.counters.dropped_sent == count
        assert client.transport.get_extra_info("gso")


async def test_the_socket_is_as_before_the_path_mtu_was_found_out(narrow: Namespace) -> None:
    far, near = (narrow.run(udp_socket, "127.0.0.1") for _ in range(2))
    options = [(socket.IPPROTO_IP, option) for option in (IP_MTU_DISCOVER, IP_RECVERR)]
    before = [near.getsockopt(*option) for option in options]
    async with endpoint(sock=far) as server, endpoint(sock=near) as client:
        client.transport.sendto_many([bytes(1400)] * 2, server.addr)
        await until(lambda: client.errors)
        assert [near.getsockopt(*option) for option in options] == before


async def test_a_connected_endpoint_on_a_narrow_path(narrow: Namespace) -> None:
    far, near = (narrow.run(udp_socket, "127.0.0.1") for _ in range(2))
    near.connect(far.getsockname())
    async with endpoint(sock=far) as server, endpoint(sock=near) as client:
        client.transport.sendto_many([bytes(1400)] * 3)
        await until(lambda: len(server.data) == 3)
        assert [(error.mtu, error.addr) for error in client.errors] == [(NARROW, server.addr)]


async def test_a_router_tells_that_the_path_is_narrow(namespace: Namespace) -> None:
    """ICMP, fragmentation needed (RFC 1191), told to a connected endpoint."""
    namespace.sysctl("net.ipv6.conf.default.disable_ipv6", 1)  # it speaks unasked
    device = namespace.run(aiotun.Device, addresses=["10.9.0.1/24"])
    near = namespace.run(udp_socket, "10.9.0.1")
    near.connect(("10.9.0.2", 7))
    with device:
        async with endpoint(sock=near, dont_fragment=True) as client:
            client.transport.sendto(bytes(1400))
            client.transport.flush()
            refused = device.recv(timeout=5)
            icmp = bytearray(struct.pack("!BBHHH", 3, 4, 0, 0, 1280) + refused[:28])
            icmp[2:4] = (~packets.ones_sum(bytes(icmp)) & 0xFFFF).to_bytes(2, "big")
            device.send(packets.ip(4, 1, bytes(icmp), source="10.9.0.2", destination="10.9.0.1"))
            await until(lambda: client.errors)
            (error,) = client.errors
            assert isinstance(error, aiotun.errors.PathMTUError)
            assert (error.mtu, error.addr) == (1280, ("10.9.0.2", 7))


# A socket that does without checksums: it can do no segmentation.


async def test_refused_segments_are_sent_one_by_one_from_then_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    near = udp_socket("127.0.0.1")
    near.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    async with endpoint() as server, endpoint(sock=near) as client:
        transport, other = client.transport, ("127.0.0.9", server.addr[1])
        sent = [bytes([n]) * 100 for n in range(100)]
        with caplog.at_level(logging.WARNING, "aiotun"):
            transport.sendto_many(sent, server.addr)  # two messages, made before it is known
            transport.sendto(b"elsewhere", other)
            transport.flush()
            transport.sendto_many(sent, server.addr)
        await until(lambda: len(server.data) == 200)
        assert server.data == sent * 2
        assert not transport.get_extra_info("gso")
        assert transport.counters.messages_sent == 201
        assert transport.counters.dropped_sent == 0
        assert client.errors == []
        assert len(caplog.records) == 1


# A socket buffer that is full.


async def test_a_full_socket_buffer_pauses_the_protocol(namespace: Namespace) -> None:
    """What waits for its neighbour's MAC address (RFC 826) fills the buffer."""
    namespace.sysctl("net.ipv6.conf.default.disable_ipv6", 1)  # it speaks unasked
    tap = namespace.run(aiotun.Device, layer="tap", addresses=["10.9.0.1/24"])
    near = namespace.run(udp_socket, "10.9.0.1")
    with tap:
        async with endpoint(sock=near, send_buffer=1) as client:
            transport = client.transport
            transport.set_write_buffer_limits(high=20)
            sent = [n.to_bytes(2, "big") * 500 for n in range(100)]
            for each in sent:
                transport.sendto(each, ("10.9.0.2", 7))
                transport.flush()
            assert client.named("pause_writing") == [None]
            request = tap.recv(timeout=5)
            assert request[12:14] == b"\x08\x06"
            ours, theirs = request[22:32], bytes.fromhex("020000000002") + request[38:42]
            tap.send(ours[:6] + theirs[:6] + b"\x08\x06" + request[14:20] + b"\0\2" + theirs + ours)
            await until(lambda: client.named("resume_writing"))
            received: list[bytes] = []
            while len(received) < len(sent):
                frame = tap.recv(timeout=5)
                if frame[12:14] == b"\x08\0" and frame[23] == 17:
                    received.append(frame[42:])
            assert received == sent
            assert transport.counters.dropped_sent == 0
