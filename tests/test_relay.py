"""relay: what passes between two devices, what does not, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from rigs import SEGMENT, MemoryRig, Recorder, packet, segments, until

import aiotun
from aiotun.testing import memory_devices

MALFORMED = b"\0\1" + bytes(8) + packet()
"""A super-packet of TCP without a size of segments."""


class Ends:
    """Two rigs whose devices are to be relayed, as streams."""

    def __init__(self, a: MemoryRig, b: MemoryRig) -> None:
        self.a, self.b = a, b
        self.streams: list[aiotun.PacketStream] = []

    def relay(self, **options: Any) -> asyncio.Task[None]:
        return asyncio.ensure_future(aiotun.relay(*self.streams, **options))


@contextlib.asynccontextmanager
async def opened(
    a: dict[str, Any] | None = None, b: dict[str, Any] | None = None
) -> AsyncIterator[Ends]:
    rigs = MemoryRig(**(a or {})), MemoryRig(**(b or {}))
    ends = Ends(*rigs)
    ends.streams = [await aiotun.open_device(device=rig.device) for rig in rigs]
    try:
        yield ends
    finally:
        for stream in ends.streams:
            stream.transport.abort()
            await stream.aclose()
        for rig in rigs:
            rig.close()


@contextlib.asynccontextmanager
async def pushing_back() -> AsyncIterator[tuple[Ends, asyncio.Task[None]]]:
    """A relay that has paused its first end, as the second took but one of three packets."""
    async with opened(b={"capacity": 1, "push_back": True}) as ends:
        ends.streams[1].transport.set_write_buffer_limits(high=0)
        relaying = ends.relay()
        await asyncio.sleep(0)
        for n in range(3):
            ends.a.send(packet(n))
        await until(lambda: not ends.streams[0].transport.is_reading())
        yield ends, relaying


async def ended(relaying: asyncio.Task[None]) -> BaseException | None:
    await asyncio.wait([relaying], timeout=5)
    assert relaying.done()
    return None if relaying.cancelled() else relaying.exception()


async def test_both_directions() -> None:
    async with opened() as ends:
        relaying = ends.relay()
        await asyncio.sleep(0)
        ends.a.send(packet(1))
        ends.b.send(packet(2))
        await until(lambda: ends.streams[1].transport.counters.packets_sent)
        assert ends.b.recv() == packet(1)
        assert ends.a.recv() == packet(2)
        await ends.streams[0].aclose()
        assert await ended(relaying) is None


async def test_it_ends_with_a_transport_whose_protocol_another_replaced() -> None:
    async with opened() as ends:
        relaying = ends.relay()
        await asyncio.sleep(0)
        for stream in ends.streams:
            stream.transport.set_protocol(Recorder())
        ends.streams[0].transport.abort()
        assert await ended(relaying) is None


async def test_super_packets_pass_whole() -> None:
    async with opened() as ends:
        relaying = ends.relay()
        await asyncio.sleep(0)
        ends.a.send_many(segments(10))
        await until(lambda: ends.streams[1].transport.counters.super_packets_sent == 1)
        assert len(ends.b.recv()) == len(segments(1)[0]) + 9 * SEGMENT
        assert ends.streams[0].transport.counters.packets_received == 10
        relaying.cancel()
        await ended(relaying)


async def test_they_are_split_where_the_other_side_has_no_offload() -> None:
    async with opened(b={"offload": False}) as ends:
        relaying = ends.relay()
        await asyncio.sleep(0)
        ends.a.send_many(segments(10))
        await until(lambda: ends.streams[1].transport.counters.packets_sent == 10)
        assert [ends.b.recv() for _ in range(10)] == segments(10)
        relaying.cancel()
        await ended(relaying)


async def test_what_a_stream_had_received_goes_first() -> None:
    async with opened() as ends:
        for n in range(3):
            ends.a.send(packet(n))
        await until(lambda: ends.streams[0].transport.counters.packets_received == 3)
        relaying = ends.relay()
        ends.a.send(packet(3))
        await until(lambda: ends.streams[1].transport.counters.packets_sent == 4)
        assert [ends.b.recv() for _ in range(4)] == [packet(n) for n in range(4)]
        relaying.cancel()
        await ended(relaying)


async def test_a_filter_drops() -> None:
    async with opened() as ends:
        relaying = ends.relay(filter=lambda each: each.packet != packet(1))
        await asyncio.sleep(0)
        for n in range(3):
            ends.a.send(packet(n))
        await until(lambda: ends.streams[1].transport.counters.packets_sent == 2)
        assert [ends.b.recv(), ends.b.recv()] == [packet(0), packet(2)]
        relaying.cancel()
        await ended(relaying)


async def test_a_cancelled_relay_gives_the_streams_back() -> None:
    async with opened() as ends:
        relaying = ends.relay()
        await asyncio.sleep(0.01)
        relaying.cancel()
        await ended(relaying)
        ends.a.send(packet(5))
        assert await ends.streams[0].recv() == packet(5)
        await ends.streams[1].send(packet(6))
        await asyncio.sleep(0.01)
        assert ends.b.recv() == packet(6)


async def test_the_side_that_stays_open_goes_back_too() -> None:
    async with opened() as ends:
        relaying = ends.relay()
        await asyncio.sleep(0.01)
        await ends.streams[0].aclose()
        assert await ended(relaying) is None
        ends.b.send(packet(7))
        assert await ends.streams[1].recv() == packet(7)


async def test_an_end_is_in_one_relay_at_a_time() -> None:
    async with opened() as ends, opened() as others:
        relaying = ends.relay()
        await asyncio.sleep(0)
        for a, b in ((ends, others), (others, ends)):
            streams = a.streams[0], b.streams[1]
            with pytest.raises(aiotun.BusyError, match="another relay"):
                await aiotun.relay(*streams)
            with pytest.raises(aiotun.BusyError, match="another relay"):
                await aiotun.relay(*(stream.transport for stream in streams))
        ends.a.send(packet(1))
        others.a.send(packet(2))
        assert await others.streams[0].recv() == packet(2)  # nothing was done to it
        await until(lambda: ends.streams[1].transport.counters.packets_sent)
        assert ends.b.recv() == packet(1)
        relaying.cancel()
        await ended(relaying)
        again = asyncio.ensure_future(aiotun.relay(ends.streams[0], others.streams[0]))
        await asyncio.sleep(0)
        assert not again.done()
        again.cancel()
        await ended(again)


@pytest.mark.parametrize("end", ["cancelled", "other closed"])
async def test_what_its_protocol_had_paused_is_paused_afterwards(end: str) -> None:
    rigs = [MemoryRig() for _ in range(2)]
    ends = [await aiotun.create_device_endpoint(Recorder, device=rig.device) for rig in rigs]
    (transport, protocol), (other, _) = ends
    transport.pause_reading()
    relaying = asyncio.ensure_future(aiotun.relay(transport, other))
    await asyncio.sleep(0)
    rigs[0].send(packet(1))
    await until(lambda: other.counters.packets_sent)
    if end == "cancelled":
        relaying.cancel()
    else:
        await other.aclose()
    await ended(relaying)
    assert not transport.is_reading()
    rigs[0].send(packet(2))
    await asyncio.sleep(0.01)
    assert protocol.packets == []
    transport.resume_reading()
    await until(lambda: protocol.packets)
    assert protocol.packets == [packet(2)]
    for each, _ in ends:
        await each.aclose()
    for rig in rigs:
        rig.close()


async def test_an_end_that_the_relay_had_paused_reads_afterwards() -> None:
    async with pushing_back() as (ends, relaying):
        relaying.cancel()
        await ended(relaying)
        assert ends.streams[0].transport.is_reading()
        ends.a.send(packet(3))
        assert await ends.streams[0].recv() == packet(3)


async def test_a_stream_that_was_full_reads_on() -> None:
    async with opened(b={"capacity": 4096}) as ends:
        total = 0
        while ends.streams[0].transport.is_reading():
            ends.a.send(packet(total))
            total += 1
            if total % 100 == 0:
                await asyncio.sleep(0.001)
        relaying = ends.relay()
        for n in range(total):
            assert await asyncio.to_thread(ends.b.recv) == packet(n)
        relaying.cancel()
        await ended(relaying)
        ends.a.send(packet(total))
        assert await ends.streams[0].recv() == packet(total)


async def test_a_side_that_pushed_back_before_pauses_the_other() -> None:
    async with opened(b={"capacity": 1, "push_back": True}) as ends:
        ends.streams[1].transport.set_write_buffer_limits(high=0)
        await ends.streams[1].send_many([packet(0), packet(1)])
        ends.streams[1].transport.flush()
        relaying = ends.relay()
        ends.a.send(packet(2))
        await asyncio.sleep(0.01)
        assert ends.streams[0].transport.counters.packets_received == 0
        received: list[bytes] = []
        while len(received) < 3:
            received.append(await asyncio.to_thread(ends.b.recv))
        assert received == [packet(n) for n in range(3)]
        relaying.cancel()
        await ended(relaying)


async def test_the_protocol_that_is_replaced_hears_that_its_device_pushes_back() -> None:
    near, far = memory_devices(capacity=1, push_back=True)
    rig = MemoryRig()
    transport, protocol = await aiotun.create_device_endpoint(Recorder, device=near)
    transport.set_write_buffer_limits(high=0)
    other, _ = await aiotun.create_device_endpoint(Recorder, device=rig.device)
    relaying = asyncio.ensure_future(aiotun.relay(transport, other))
    await asyncio.sleep(0)
    for n in range(2):
        rig.send(packet(n))
    await until(lambda: protocol.named("pause_writing"))
    assert protocol.named("resume_writing") == []
    assert await asyncio.to_thread(far.recv, 2) == packet(0)
    await until(lambda: protocol.named("resume_writing"))
    assert len(protocol.named("pause_writing")) == 1
    relaying.cancel()
    await ended(relaying)
    for each in (transport, other):
        each.abort()
        await each.aclose()
    far.close()
    rig.close()


async def test_deletion_is_raised() -> None:
    async with opened() as ends:
        relaying = ends.relay()
        await asyncio.sleep(0.01)
        ends.b.delete()
        assert isinstance(await ended(relaying), aiotun.InterfaceGoneError)
        with pytest.raises(aiotun.InterfaceGoneError):
            await ends.streams[1].recv()


async def test_a_side_that_pushes_back_pauses_the_other() -> None:
    async with pushing_back() as (ends, relaying):
        ends.a.send(packet(3))
        await asyncio.sleep(0.01)
        assert ends.streams[0].transport.counters.packets_received == 3
        received: list[bytes] = []
        while len(received) < 4:
            received.append(ends.b.recv())
            await asyncio.sleep(0.01)
        assert received == [packet(n) for n in range(4)]
        assert ends.streams[0].transport.is_reading()
        relaying.cancel()
        await ended(relaying)


@pytest.mark.parametrize("filter", [None, lambda each: True])
async def test_a_malformed_super_packet_costs_itself(filter: Any) -> None:
    near, far = memory_devices()
    other, other_far = memory_devices()
    transport, protocol = await aiotun.create_device_endpoint(Recorder, device=near)
    other_transport, _ = await aiotun.create_device_endpoint(Recorder, device=other)
    relaying = asyncio.ensure_future(aiotun.relay(transport, other_transport, filter=filter))
    await asyncio.sleep(0)
    far.send(packet(0))
    near.queue._frames.append(MALFORMED)  # type: ignore[attr-defined]
    far.send(packet(1))
    received = [await asyncio.to_thread(other_far.recv, 30) for _ in range(2)]
    assert received == [packet(0), packet(1)]
    (error,) = protocol.named("error_received")
    assert isinstance(error, aiotun.OffloadError)
    assert not relaying.done()
    for each in (transport, other_transport):
        await each.aclose()
    assert await ended(relaying) is None
    far.close()
    other_far.close()


async def test_the_protocol_that_is_replaced_hears_of_all_else() -> None:
    near, far = memory_devices()
    other, other_far = memory_devices()
    transport, protocol = await aiotun.create_device_endpoint(Recorder, device=near)
    other_transport, _ = await aiotun.create_device_endpoint(Recorder, device=other)
    relaying = asyncio.ensure_future(aiotun.relay(transport, other_transport))
    await asyncio.sleep(0.01)
    near.mtu = 1300
    near.down()
    other_far.send(packet())
    await until(lambda: protocol.named("error_received"))
    assert isinstance(protocol.named("error_received")[0], aiotun.InterfaceDownError)
    assert protocol.named("device_changed")[0] == aiotun.interfaces.LinkChanged(
        near.name, 1300, True
    )
    assert protocol.packets == []
    transport.close()
    assert await ended(relaying) is None
    assert protocol.named("connection_lost") == [None]
    other_transport.close()
    await other_transport.wait_closed()
    far.close()
    other_far.close()


async def test_what_cannot_be_relayed() -> None:
    async with opened(a={"layer": "tap"}) as ends:
        with pytest.raises(aiotun.ConfigError, match="a tap and a tun"):
            await aiotun.relay(*ends.streams)
        with pytest.raises(aiotun.BusyError, match="not to itself"):
            await aiotun.relay(ends.streams[0], ends.streams[0])
    async with opened() as ends:
        await ends.streams[1].aclose()
        with pytest.raises(aiotun.ClosedError):
            await aiotun.relay(*ends.streams)
