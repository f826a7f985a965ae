"""relay between framed ends: devices, streams of bytes, and one of each."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from framing import LINKS, Ends, link
from rigs import MemoryRig, packet, until

import aiotun
from aiotun.codecs import SLIP, LengthPrefixed, Raw


@contextlib.asynccontextmanager
async def relayed(kind: str = "tcp", **options: Any) -> AsyncIterator[tuple[Ends, Any]]:
    """The outer ends of two links whose inner ends are relayed, and the relay."""
    async with link(kind) as (a, b), link("tcp") as (c, d):
        relaying = asyncio.ensure_future(aiotun.relay(b, c, **options))
        await asyncio.sleep(0)
        try:
            yield (a, d), relaying
        finally:
            relaying.cancel()
            await asyncio.wait([relaying])


@pytest.mark.parametrize("kind", LINKS)
async def test_both_directions(kind: str) -> None:
    items = [bytes([n]) * n for n in range(200)]
    async with relayed(kind) as ((a, d), relaying):
        for end, other in ((a, d), (d, a)):
            await end.send_all(items)
            assert [await other.recv() for _ in items] == items
        assert not relaying.done()


@pytest.mark.parametrize("option", ["filter", "map"])
@pytest.mark.parametrize("last", [b"stop", b"b"])
async def test_a_filter_or_map_that_stops_is_told_and_ends_no_batch_in_silence(
    option: str, last: bytes
) -> None:
    def stop(item: bytes) -> bytes:
        return item if item != b"stop" else next(iter(()))

    options: dict[str, Any] = {option: stop}
    async with relayed(**options) as ((a, d), relaying):
        await a.send_all([b"a", b"stop", last])
        with pytest.raises(RuntimeError, match="StopIteration"):
            await asyncio.wait_for(relaying, 5)
        assert await d.recv() == b"a"


async def test_what_a_map_refuses_is_dropped_alone() -> None:
    def refuse(item: bytes) -> bytes:
        if item == b"refused":
            raise aiotun.CodecError("of the test")
        return item

    async with relayed(map=refuse) as ((a, d), _):
        await a.send_all([b"a", b"refused", b"b", b"refused", b"c"])
        assert [await d.recv() for _ in range(3)] == [b"a", b"b", b"c"]


async def test_it_ends_when_one_side_does() -> None:
    async with relayed() as ((a, d), relaying):
        await a.send_all([b"1", b"2"])
        await a.send_eof()
        await asyncio.wait_for(relaying, 5)
        assert [await d.recv(), await d.recv()] == [b"1", b"2"]


async def test_an_end_is_in_one_relay_at_a_time() -> None:
    rig = MemoryRig()
    async with (
        link("tcp") as (a, b),
        link("tcp") as (c, d),
        aiotun.open_device(device=rig.device) as tun,
    ):
        for ends in ((b, c), (tun, b)):
            relaying = asyncio.ensure_future(aiotun.relay(*ends))
            await asyncio.sleep(0)
            with pytest.raises(aiotun.BusyError, match="another relay"):
                await aiotun.relay(d, ends[0])
            with pytest.raises(aiotun.BusyError, match="another relay"):
                await aiotun.relay(ends[1], tun if ends[0] is b else d)
            assert not relaying.done()
            relaying.cancel()
            await asyncio.wait([relaying])
        await a.send(b"1")
        assert await b.recv() == b"1"
    rig.close()


async def test_filter_and_map() -> None:
    def kept(item: bytes) -> bool:
        if item == b"bad":
            raise aiotun.CodecError("dropped")
        return len(item) > 1

    async with relayed(filter=kept, map=bytes.upper) as ((a, d), _):
        await a.send_all([b"one", b"2", b"bad", b"three"])
        assert [await d.recv(), await d.recv()] == [b"ONE", b"THREE"]
        await d.send_all([b"4", b"five"])
        assert await a.recv() == b"FIVE"


async def test_a_cancelled_relay_loses_nothing_and_closes_nothing() -> None:
    items = [n.to_bytes(4, "big") * 50 for n in range(2000)]
    received: list[bytes] = []
    async with link("tcp", read_size=1000, write_size=1000) as (a, b), link("tcp") as (c, d):
        sending = asyncio.ensure_future(a.send_all(items))

        async def receive() -> None:
            while len(received) < len(items):
                received.append(await d.recv())

        receiving = asyncio.ensure_future(receive())
        while len(received) < len(items):
            relaying = asyncio.ensure_future(aiotun.relay(b, c))
            for _ in range(1 + len(received) % 40):
                await asyncio.sleep(0)
            relaying.cancel()
            await asyncio.wait([relaying])
        await asyncio.gather(sending, receiving)
        assert received == items
        assert b.counters.received == c.counters.sent == len(items)


async def test_a_side_that_pushes_back_stops_the_other() -> None:
    async with relayed() as ((a, d), _):
        items = (n.to_bytes(4, "big") + bytes(1 << 16) for n in range(1000))
        sending = asyncio.ensure_future(a.send_all(items))
        await asyncio.wait([sending], timeout=0.5)
        assert not sending.done()
        for n in range(1000):
            assert (await d.recv())[:4] == n.to_bytes(4, "big")


async def test_a_broken_frame_costs_itself_an_unrecoverable_one_the_relay() -> None:
    async with link("tcp", SLIP()) as (a, b), link("tcp", LengthPrefixed(2, max_frame=5)) as (c, d):
        relaying = asyncio.ensure_future(aiotun.relay(b, c))
        left, right = await a.release(), await d.release()
        left.stream[1].write(b"one\xc0\xdbX\xc0too long\xc0two\xc0")
        assert await right.stream[0].readexactly(10) == b"\0\3one\0\3two"
        assert b.counters.broken == 1
        right.stream[1].write(b"\xff\xff")
        with pytest.raises(aiotun.CodecError):
            await asyncio.wait_for(relaying, 5)
        left.stream[1].close()
        right.stream[1].close()


async def test_a_device_and_a_stream_of_bytes() -> None:
    """Half of a tunnel: as a stream of packets, and as a framed end."""
    for framed in (False, True):
        rig = MemoryRig()
        async with aiotun.open_device(device=rig.device) as tun, link("tls") as (a, b):
            end: Any = aiotun.Framed(tun, Raw()) if framed else tun
            relaying = asyncio.ensure_future(aiotun.relay(end, b))
            await asyncio.sleep(0)
            for n in range(10):
                rig.send(packet(n))
            assert [await a.recv() for _ in range(10)] == [packet(n) for n in range(10)]
            await a.send_all([packet(20), b"", packet(21)])  # no packet is empty
            await until(lambda tun=tun: tun.transport.counters.packets_sent == 2)  # type: ignore[misc]
            assert [rig.recv(), rig.recv()] == [packet(20), packet(21)]
            rig.delete()
            with pytest.raises(aiotun.InterfaceGoneError):
                await asyncio.wait_for(relaying, 5)
        rig.close()


async def test_what_cannot_be_relayed() -> None:
    async with link("tcp") as (a, b):
        with pytest.raises(aiotun.BusyError, match="not to itself"):
            await aiotun.relay(a, a)
        await b.send_eof()
        with pytest.raises(aiotun.ClosedError):
            await aiotun.relay(a, b)
    rigs = MemoryRig(), MemoryRig()
    streams = [await aiotun.open_device(device=rig.device) for rig in rigs]
    with pytest.raises(aiotun.ConfigError, match="not mapped"):
        await aiotun.relay(*streams, map=bytes)  # type: ignore[call-overload]
    for stream in streams:
        await stream.aclose()
    for rig in rigs:
        rig.close()


class Brief(Raw):
    """Packets of 64 bytes; others are broken."""

    def decode(self, packet: bytes) -> bytes:
        if len(packet) != 64:
            raise aiotun.CodecError("not 64 bytes")
        return packet


@contextlib.asynccontextmanager
async def devices() -> AsyncIterator[tuple[MemoryRig, MemoryRig, Any, Any]]:
    """What is behind two devices, and framed ends over these."""
    rigs = MemoryRig(), MemoryRig()
    with contextlib.ExitStack() as stack:
        for rig in rigs:
            stack.callback(rig.close)
        async with (
            aiotun.open_device(device=rigs[0].device) as a,
            aiotun.open_device(device=rigs[1].device) as b,
        ):
            yield (*rigs, aiotun.Framed(a, Brief()), aiotun.Framed(b, Raw()))


async def test_between_devices_batches_stay_together() -> None:
    async with devices() as (rig, other, a, b):
        rig.send(packet(0))
        await asyncio.sleep(0.01)  # received before the relay began
        relaying = asyncio.ensure_future(aiotun.relay(a, b))
        await asyncio.sleep(0.01)
        for each in (packet(1, 65), packet(2), packet(3, 65), packet(4)):
            rig.send(each)
        received = [await asyncio.to_thread(other.recv) for _ in range(3)]
        assert received == [packet(0), packet(2), packet(4)]
        assert a.counters == aiotun.framed.FramedCounters(received=3, broken=2)
        assert b.counters == aiotun.framed.FramedCounters(sent=3)
        relaying.cancel()
        await asyncio.wait([relaying])
        rig.send(packet(5))
        assert await a.recv() == packet(5)


async def test_between_devices_a_filter_that_raises_ends_it() -> None:
    def fail(item: bytes) -> bool:
        raise LookupError("no such item")

    async with devices() as (rig, _, a, b):
        relaying = asyncio.ensure_future(aiotun.relay(a, b, filter=fail))
        await asyncio.sleep(0.01)
        rig.send(packet(1))
        with pytest.raises(LookupError):
            await asyncio.wait_for(relaying, 5)


async def test_a_relay_shares_its_device_with_others_who_wait() -> None:
    async with devices() as (rig, other, a, b):
        relaying = asyncio.ensure_future(aiotun.relay(a, b))
        await asyncio.sleep(0.01)
        waiting = [asyncio.ensure_future(a.recv()) for _ in range(2)]
        await asyncio.sleep(0.01)
        received: list[bytes] = []
        for n in range(50):
            rig.send(packet(n))
            await asyncio.sleep(0.001)
        for task in waiting:
            if task.done():
                received.append(task.result())
            else:
                task.cancel()
        await asyncio.wait(waiting)
        await until(lambda: b.counters.sent == 50 - len(received))
        while len(received) < 50:
            received.append(await asyncio.to_thread(other.recv))
        assert sorted(received) == sorted(packet(n) for n in range(50))
        relaying.cancel()
        await asyncio.wait([relaying])


async def test_a_full_sink_leaves_packets_to_the_device() -> None:
    rig = MemoryRig()
    async with (
        aiotun.open_device(device=rig.device) as tun,
        link("tcp", write_size=1000) as (a, b),
    ):
        relaying = asyncio.ensure_future(aiotun.relay(aiotun.Framed(tun, Raw()), b))
        await asyncio.sleep(0.01)
        sent = 0
        while tun.transport.is_reading():  # nobody reads at `a`
            rig.send_many([packet(sent + n, 1400) for n in range(100)])
            sent += 100
            await asyncio.sleep(0.001)
        assert b.counters.sent < sent
        for n in range(sent):
            assert await asyncio.wait_for(a.recv(), 5) == packet(n, 1400)
        assert not relaying.done()
        relaying.cancel()
        await asyncio.wait([relaying])
    rig.close()
