"""Framed ends over devices, in memory and in the kernel, and over streams of packets."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

import pytest
from rigs import MemoryRig, Rig, packet, segments, until

import aiotun
from aiotun.codecs import LengthPrefixed, PacketCodec, Raw
from aiotun.framed import Released


class Number(PacketCodec[int]):
    """The packets of `rigs.packet`, as their numbers."""

    def encode(self, item: int) -> bytes:
        if item < 0:
            raise aiotun.CodecError("a negative number")
        return packet(item)

    def decode(self, packet: bytes) -> int:
        if len(packet) != 64:
            raise aiotun.CodecError("no numbered packet")
        return int.from_bytes(packet[20:24], "big")


async def test_items_both_ways(rig: Rig) -> None:
    async with aiotun.open_device(device=rig.device) as tun:
        framed = aiotun.Framed(tun, Number())
        for n in range(5):
            rig.send(packet(n))
        assert await framed.recv() == 0
        assert [await framed.recv() for _ in range(4)] == [1, 2, 3, 4]
        await framed.send(5)
        await framed.send_all(range(6, 300))
        await framed.flush()
        assert [rig.recv() for _ in range(5, 300)] == [packet(n) for n in range(5, 300)]
        assert framed.counters == aiotun.framed.FramedCounters(received=5, sent=295)
        assert framed.get_extra_info("name") == tun.device.name


async def test_closing_closes_the_device_and_ends_the_iteration(rig: Rig) -> None:
    framed = aiotun.Framed(await aiotun.open_device(device=rig.device), Number())

    async def read() -> list[int]:
        return [number async for number in framed]

    reading = asyncio.ensure_future(read())
    rig.send(packet(7))
    await asyncio.sleep(0.02)
    await framed.aclose()
    assert await reading == [7]
    for call in (framed.recv(), framed.recv_many(), framed.send(1)):
        with pytest.raises(aiotun.ClosedError):
            await call


async def test_deletion_is_told(rig: Rig) -> None:
    async with aiotun.open_device(device=rig.device) as tun:
        framed = aiotun.Framed(tun, Raw())
        waiting = asyncio.ensure_future(framed.recv())
        await asyncio.sleep(0.02)
        await asyncio.to_thread(rig.delete)
        with pytest.raises(aiotun.InterfaceGoneError):
            await asyncio.wait_for(waiting, 5)
        with pytest.raises(aiotun.InterfaceGoneError):
            await framed.send(packet())


async def test_a_cancelled_recv_loses_nothing(rig: Rig) -> None:
    async with aiotun.open_device(device=rig.device) as tun:
        framed = aiotun.Framed(tun, Number())
        received: list[int] = []
        for n in range(50):
            waiting = asyncio.ensure_future(framed.recv())
            await asyncio.sleep(0)
            rig.send(packet(n))
            for _ in range(n % 5):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            if not waiting.cancelled():
                received.append(waiting.result())
        while len(received) < 50:
            received.append(await asyncio.wait_for(framed.recv(), 5))
        assert received == list(range(50))


async def test_several_ends_share_a_device(rig: Rig) -> None:
    """Each packet goes to one of them, in turn, and none reads ahead."""
    async with aiotun.open_device(device=rig.device) as tun:
        numbers, raw = aiotun.Framed(tun, Number()), aiotun.Framed(tun, Raw())
        waiting = [asyncio.ensure_future(end.recv()) for end in (numbers, raw, numbers)]
        await asyncio.sleep(0)
        for n in range(6):
            rig.send(packet(n))
        await asyncio.wait(waiting, timeout=5)
        assert [task.result() for task in waiting] == [0, packet(1), 2]
        assert await raw.recv() == packet(3)
        assert await numbers.recv() == 4
        assert await tun.recv() == packet(5)
        await numbers.send(6)
        await raw.send(packet(7))
        await raw.flush()
        assert [rig.recv(), rig.recv()] == [packet(6), packet(7)]


async def test_several_ends_take_turns_for_what_came_together() -> None:
    rig = MemoryRig()
    async with aiotun.open_device(device=rig.device) as tun:
        received: dict[str, list[int]] = {"a": [], "b": [], "c": []}

        async def receive(name: str) -> None:
            async for number in aiotun.Framed(tun, Number()):
                received[name].append(number)

        receiving = [asyncio.ensure_future(receive(name)) for name in received]
        await asyncio.sleep(0)
        rig.send_many([packet(n) for n in range(60)])
        await until(lambda: sum(map(len, received.values())) == 60)
        for start, numbers in enumerate(received.values()):
            assert numbers == list(range(start, 60, 3))
        for task in receiving:
            task.cancel()
        await asyncio.wait(receiving)
    rig.close()


async def test_offload_is_used() -> None:
    rig = MemoryRig()
    async with aiotun.open_device(device=rig.device) as tun:
        framed = aiotun.Framed(tun, Raw())
        rig.send_many(segments(10))
        assert await framed.recv_many() == segments(10)
        assert tun.transport.counters.super_packets_received == 1
        await framed.send_all(segments(10))
        await framed.flush()
        assert tun.transport.counters.super_packets_sent == 1
    rig.close()


async def test_a_broken_packet_costs_itself_alone() -> None:
    rig = MemoryRig()
    async with aiotun.open_device(device=rig.device) as tun:
        framed = aiotun.Framed(tun, Number())
        for each in (packet(0), packet(1, 65), packet(2), packet(3, 66)):
            rig.send(each)
        await asyncio.sleep(0.01)
        assert await framed.recv_many() == [0, 2]
        for _ in range(2):
            with pytest.raises(aiotun.CodecError):
                await framed.recv_many()
        rig.send(packet(4, 65))
        with pytest.raises(aiotun.CodecError):
            await framed.recv()
        rig.send(packet(5))
        assert await framed.recv() == 5
        assert framed.counters == aiotun.framed.FramedCounters(received=3, broken=3)
    rig.close()


async def test_errors_come_before_the_packets_that_follow() -> None:
    rig = MemoryRig()
    async with aiotun.open_device(device=rig.device) as tun:
        framed = aiotun.Framed(tun, Number())
        rig.send(packet(0))
        rig.send(b"E" * 30)
        await until(lambda: len(tun._protocol.kept) == 2)
        assert await framed.recv_many() == [0]
        rig.send(packet(1))
        await until(lambda: len(tun._protocol.kept) == 1)
        with pytest.raises(aiotun.CodecError):
            await framed.recv()
        assert await framed.recv() == 1
    rig.close()


async def test_halves_that_are_closed_take_and_give_no_more() -> None:
    """Though packets wait, and the device takes some: the other half is open."""
    rig = MemoryRig()
    async with aiotun.open_device(device=rig.device) as tun:
        for closes_reader in (True, False):
            reader, writer = aiotun.Framed(tun, Number()).split()
            rig.send(packet(1))
            await until(lambda: tun._protocol.kept)
            await (reader if closes_reader else writer).aclose()
            if closes_reader:
                with pytest.raises(aiotun.ClosedError):
                    await reader.recv()
                assert [number async for number in reader] == []
                await writer.send(2)
            else:
                with pytest.raises(aiotun.ClosedError):
                    await writer.send(3)
                assert await reader.recv() == 1
    rig.close()


async def test_a_task_that_sends_lets_others_run() -> None:
    """Though it never has to wait."""
    rig = MemoryRig()
    async with aiotun.open_device(device=rig.device) as tun:
        framed = aiotun.Framed(tun, Number())

        async def send() -> None:
            for number in range(2000):
                await framed.send(number)

        sending = asyncio.ensure_future(send())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert 0 < framed.counters.sent < 2000
        await sending
    rig.close()


async def test_what_cannot_be_sent() -> None:
    rig = MemoryRig()
    async with aiotun.open_device(device=rig.device) as tun:
        numbers, raw = aiotun.Framed(tun, Number()), aiotun.Framed(tun, Raw())
        with pytest.raises(aiotun.CodecError):
            await numbers.send_all([1, -1, 2])
        with pytest.raises(aiotun.errors.PacketError):
            await raw.send(b"")
        with pytest.raises(aiotun.UnsupportedError):
            await raw.send_eof()
        assert (numbers.counters.sent, raw.counters.sent) == (1, 0)
    rig.close()


async def test_a_device_that_pushes_back() -> None:
    rig = MemoryRig(capacity=1, push_back=True)
    tun = await aiotun.open_device(device=rig.device)
    tun.transport.set_write_buffer_limits(high=0)
    framed = aiotun.Framed(tun, Number())
    await framed.send_all([0, 1])
    tun.transport.flush()
    assert framed.full
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(framed.send(2), 0.01)
    flushing = asyncio.ensure_future(framed.flush())
    await asyncio.sleep(0.01)
    assert not flushing.done()
    assert rig.recv() == packet(0)
    await flushing
    assert rig.recv() == packet(1)
    assert not framed.full
    await framed.aclose()
    rig.close()


async def test_release_leaves_the_device_open() -> None:
    rig = MemoryRig()
    async with aiotun.open_device(device=rig.device) as tun:
        framed = aiotun.Framed(tun, Raw())
        assert await framed.release() == Released(tun, [], b"")
        with pytest.raises(aiotun.ClosedError):
            await framed.recv()
        rig.send(packet(1))
        assert await tun.recv() == packet(1)
    rig.close()


class Loop:
    """A stream of packets without a device: what is sent comes back."""

    def __init__(self) -> None:
        self.packets: deque[bytes] = deque()
        self.sends: list[int] = []
        self.closed = False

    async def recv(self) -> bytes:
        if not self.packets:
            raise aiotun.ClosedError
        return self.packets.popleft()

    async def recv_many(self) -> list[bytes]:
        packets = [await self.recv()]
        packets += self.packets
        self.packets.clear()
        return packets

    async def send_many(self, packets: Iterable[bytes], /) -> None:
        before = len(self.packets)
        self.packets += packets
        self.sends.append(len(self.packets) - before)

    async def aclose(self) -> None:
        self.closed = True


async def test_any_stream_of_packets() -> None:
    stream = Loop()
    async with aiotun.Framed(stream, Number()) as framed:
        await framed.send_all(range(10))
        await framed.flush()
        assert stream.sends == [10]
        assert await framed.recv() == 0
        assert await framed.recv_many() == list(range(1, 10))
        assert [number async for number in framed] == []
        with pytest.raises(aiotun.UnsupportedError):
            await framed.send_eof()
        assert framed.get_extra_info("name") is None
    assert stream.closed


class Stopping(Number):
    """Raises StopIteration for one number of several."""

    def encode(self, item: int) -> bytes:
        return super().encode(item) if item != 1 else next(iter(()))

    def decode(self, packet: bytes) -> int:
        number = super().decode(packet)
        return number if number != 1 else next(iter(()))


@pytest.mark.parametrize("last", [1, 2])
async def test_a_codec_that_stops_is_told_and_ends_no_batch_in_silence(rig: Rig, last: int) -> None:
    async with aiotun.open_device(device=rig.device) as tun:
        framed = aiotun.Framed(tun, Stopping())
        with pytest.raises(RuntimeError, match="StopIteration"):
            await framed.send(1)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await framed.send_all(range(last + 1))
        await framed.send_all([3, 4])
        await framed.flush()
        assert [rig.recv() for _ in range(3)] == [packet(n) for n in (0, 3, 4)]
        for n in range(last + 1):
            rig.send(packet(n))
        await until(lambda: len(tun._protocol.kept) == last + 1)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await framed.recv_many()
        rig.send(packet(5))
        assert await framed.recv() == 5


async def test_a_packet_that_a_codec_makes_no_bytes_of() -> None:
    class Careless(Number):
        def encode(self, item: int) -> bytes:
            return super().encode(item) if item else "text"  # type: ignore[return-value]

    stream = Loop()
    async with aiotun.Framed(stream, Careless()) as framed:
        with pytest.raises(TypeError, match=r"Careless.* makes no bytes of it: .*not str"):
            await framed.send_all([1, 0, 2])
        await framed.send(3)
        await framed.flush()
        assert await framed.recv_many() == [1, 3]


async def test_a_stream_codec_does_not_fit_a_device() -> None:
    rig = MemoryRig()
    async with aiotun.open_device(device=rig.device) as tun:
        with pytest.raises(aiotun.ConfigError, match="a stream codec over bytes"):
            aiotun.Framed(tun, LengthPrefixed(2))  # type: ignore[call-overload]
    rig.close()


async def test_a_codec_that_does_not_fit() -> None:
    with pytest.raises(aiotun.ConfigError, match="a stream codec over bytes"):
        aiotun.Framed(Loop(), LengthPrefixed(2))  # type: ignore[call-overload]


async def test_a_writing_half_that_is_closed_has_no_room(rig: Rig) -> None:
    async with aiotun.open_device(device=rig.device) as tun:
        _, writer = aiotun.Framed(tun, Number()).split()
        await writer._sink.ready()
        await writer.aclose()
        with pytest.raises(aiotun.ClosedError, match="this end is closed"):
            await writer._sink.ready()
