"""Framed ends over connected UDP endpoints: one datagram, one item."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from rigs import MemoryRig, packet, until
from udp_rigs import Recorder

import aiotun
from aiotun.codecs import LengthPrefixed, PacketCodec, Raw
from aiotun.streams import HIGH_WATER

Ends = tuple[aiotun.Framed[Any], aiotun.Framed[Any]]


class Text(PacketCodec[str]):
    def encode(self, item: str) -> bytes:
        return item.encode()

    def decode(self, packet: bytes) -> str:
        if b"\xff" in packet:
            raise aiotun.CodecError("no text")
        return packet.decode()


@contextlib.asynccontextmanager
async def endpoints() -> AsyncIterator[tuple[aiotun.UdpTransport, aiotun.UdpTransport]]:
    """Two that talk to each other."""
    socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for sock in socks:
        sock.bind(("127.0.0.1", 0))
    names = [sock.getsockname() for sock in socks]
    for sock, name in zip(socks, reversed(names), strict=True):
        sock.connect(name)
    async with contextlib.AsyncExitStack() as stack:
        made = [await aiotun.create_udp_endpoint(Recorder, sock=sock) for sock in socks]
        for transport, _ in made:
            await stack.enter_async_context(transport)
        yield made[0][0], made[1][0]


@contextlib.asynccontextmanager
async def framed(codec: PacketCodec[Any] | None = None) -> AsyncIterator[Ends]:
    async with endpoints() as (a, b):
        yield aiotun.Framed(a, codec or Text()), aiotun.Framed(b, codec or Text())


async def test_one_datagram_one_item() -> None:
    async with framed() as (a, b):
        await a.send("one")
        assert await b.recv() == "one"
        empty = "" if sys.platform != "win32" else "2"  # whose loops hand over no empty datagram
        items = ["two", empty, "three"]
        await b.send_all(items)
        assert [await a.recv() for _ in range(3)] == items
        assert a.counters == aiotun.framed.FramedCounters(received=3, sent=1)
        assert b.counters == aiotun.framed.FramedCounters(received=1, sent=3)
        assert a.get_extra_info("peername") == b.get_extra_info("sockname")
        with pytest.raises(aiotun.UnsupportedError):
            await a.send_eof()


async def test_iteration_ends_when_this_end_is_closed() -> None:
    async with framed() as (a, b):
        await b.send("item")
        items = []
        async for item in a:
            items.append(item)
            await a.aclose()
        assert items == ["item"]
        for call in (a.recv(), a.recv_many(), a.send("late")):
            with pytest.raises(aiotun.ClosedError):
                await call


async def test_a_task_that_waits_is_ended() -> None:
    async with framed() as (a, _):
        waiting = asyncio.ensure_future(a.recv())
        await asyncio.sleep(0)
        await a.aclose()
        with pytest.raises(aiotun.ClosedError):
            await asyncio.wait_for(waiting, 5)


async def test_broken_datagrams_cost_themselves() -> None:
    async with framed() as (a, b):
        raw = (await b.release()).stream
        for data in (b"one", b"\xff", b"two"):
            raw.sendto(data)
        assert await a.recv() == "one"
        with pytest.raises(aiotun.CodecError):
            await a.recv()
        assert await a.recv() == "two"
        assert a.counters.broken == 1


async def test_what_cannot_be_a_datagram() -> None:
    async with framed(Raw()) as (a, b):
        with pytest.raises(aiotun.errors.PacketError) as caught:
            await a.send(bytes(65528))
        assert caught.value.errno == errno.EMSGSIZE
        with pytest.raises(TypeError):
            await a.send("text")
        await a.send(b"good")
        assert await b.recv() == b"good"
        assert a.counters.sent == 1


async def test_what_icmp_says_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "aiotun")
    async with framed() as (a, b):
        address = a.get_extra_info("sockname")
        await b.aclose()
        await a.send("nobody")
        await until(lambda: caplog.records)
        assert caplog.messages[0].startswith(f"UDP endpoint {address}: ")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(a.recv(), 0.01)


async def test_reading_pauses_while_nobody_receives() -> None:
    async with endpoints() as (transport, other):
        a, b = aiotun.Framed(transport, Raw()), aiotun.Framed(other, Raw())
        sent = 0
        while transport.is_reading():
            await b.send_all(n.to_bytes(4, "big") for n in range(sent, sent + 20))
            await b.flush()
            sent += 20
            counters = transport.counters
            await until(lambda: counters.datagrams_received == sent or not transport.is_reading())  # noqa: B023
            assert sent < 3 * HIGH_WATER
        for n in range(HIGH_WATER):
            assert await a.recv() == n.to_bytes(4, "big")
        assert transport.is_reading()


async def test_an_endpoint_has_one_framed_end_at_a_time_and_goes_back() -> None:
    async with endpoints() as (a, b):
        protocol = a.get_protocol()
        assert isinstance(protocol, Recorder)
        first = aiotun.Framed(a, Text())
        with pytest.raises(aiotun.BusyError, match="has this transport"):
            aiotun.Framed(a, Text())
        for data in (b"1", b"2", b"3"):
            b.sendto(data)
        assert await first.recv() == "1"
        await until(lambda: a.counters.datagrams_received == 3)
        back = await first.release()
        assert (back.stream, back.items, back.unused) == (a, ["2", "3"], b"")
        assert a.get_protocol() is protocol
        b.sendto(b"4")
        await until(lambda: protocol.data == [b"4"])
        second = aiotun.Framed(a, Text())
        b.sendto(b"5")
        assert await second.recv() == "5"
        await second.aclose()
        assert protocol.named("connection_lost") == [None]


async def test_a_framed_end_and_the_protocol_it_replaces_know_when_the_endpoint_pushes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each of them may be there when it begins, and the other when it ends."""
    async with endpoints() as (a, b):
        protocol, receiver = a.get_protocol(), b.get_protocol()
        assert isinstance(protocol, Recorder)
        assert isinstance(receiver, Recorder)
        a.set_write_buffer_limits(high=0)

        def push_back() -> None:
            monkeypatch.setattr(type(a), "_send", lambda self, messages: None)
            a.sendto(b"held")
            a.flush()

        def take_again() -> None:
            monkeypatch.undo()
            a._write_ready()  # what asyncio's endpoint on Windows calls only if that pushed back

        push_back()
        assert protocol.named("pause_writing") == [None]
        end = aiotun.Framed(a, Raw())
        assert end.full
        take_again()
        await until(lambda: protocol.named("resume_writing"))
        assert not end.full
        push_back()
        assert end.full
        assert protocol.named("pause_writing") == [None, None]
        take_again()
        await end.release()  # once nothing waits any more
        assert protocol.named("resume_writing") == [None, None]
        await until(lambda: receiver.data == [b"held", b"held"])


async def test_an_endpoint_without_a_peer() -> None:
    transport, protocol = await aiotun.create_udp_endpoint(Recorder, ("127.0.0.1", 0))
    async with transport:
        with pytest.raises(aiotun.ConfigError, match="remote_addr="):
            aiotun.Framed(transport, Raw())
        with pytest.raises(aiotun.ConfigError, match="a packet codec goes over packets"):
            aiotun.Framed(transport, LengthPrefixed(2))  # type: ignore[call-overload]
        assert transport.get_protocol() is protocol


async def test_a_tunnel_is_a_relay_between_a_device_and_an_endpoint() -> None:
    rigs = MemoryRig(), MemoryRig()
    async with (
        framed(Raw()) as ends,
        aiotun.open_device(device=rigs[0].device) as left,
        aiotun.open_device(device=rigs[1].device) as right,
    ):
        relays = [
            asyncio.ensure_future(aiotun.relay(tun, end))
            for tun, end in zip((left, right), ends, strict=True)
        ]
        for here, there in (rigs, rigs[::-1]):
            for n in range(100):
                here.send(packet(n))
            received = [await asyncio.to_thread(there.recv) for _ in range(100)]
            assert received == [packet(n) for n in range(100)]
        for relaying in relays:
            assert not relaying.done()
            relaying.cancel()
        await asyncio.wait(relays)
    for rig in rigs:
        rig.close()
