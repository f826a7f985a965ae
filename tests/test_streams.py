"""PacketStream: receiving, sending, backpressure, cancellation and the end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.stapled import StapledObjectStream
from rigs import MemoryRig, Rig, packet, until

import aiotun
from aiotun.cancelling import AsyncClosing
from aiotun.codecs import Raw
from aiotun.streams import HIGH_WATER
from aiotun.testing import memory_devices


async def test_recv_and_send(rig: Rig) -> None:
    async with aiotun.open_device(device=rig.device) as tun:
        assert tun.device is rig.device
        assert isinstance(tun.transport, aiotun.PacketTransport)
        rig.send(packet(1))
        assert await tun.recv() == packet(1)
        await tun.send(packet(2))
        await tun.send(bytearray(packet(3)))
        await tun.send_many([packet(4), memoryview(packet(5))])
        await asyncio.sleep(0.01)
        assert [rig.recv() for _ in range(4)] == [packet(n) for n in range(2, 6)]


async def test_anyio_takes_it_for_a_stream_of_objects(rig: Rig) -> None:
    tun: Any = await aiotun.open_device(device=rig.device)
    async with StapledObjectStream[bytes](tun, tun) as stapled:
        await stapled.send(packet(1))
        assert await asyncio.to_thread(rig.recv) == packet(1)
        for n in range(3):
            rig.send(packet(n))
        assert await stapled.receive() == packet(0)
        buffered = BufferedByteReceiveStream(tun)
        assert await buffered.receive_exactly(100) == (packet(1) + packet(2))[:100]
    assert tun.transport.is_closing()
    with pytest.raises(aiotun.ClosedError):
        await tun.receive()


async def test_open_by_await_and_close_by_hand(rig: Rig) -> None:
    tun = await aiotun.open_device(device=rig.device)
    async with tun as same:
        assert same is tun
    await tun.aclose()
    assert tun.transport.is_closing()


async def test_iteration_gives_everything_and_ends_with_the_stream(rig: Rig) -> None:
    received: list[bytes] = []
    async with aiotun.open_device(device=rig.device) as tun:
        for n in range(20):
            rig.send(packet(n))

        async def close_soon() -> None:
            await until(lambda: len(received) == 20)
            await tun.aclose()

        closing = asyncio.ensure_future(close_soon())
        async for each in tun:
            received.append(each)
        await closing
    assert received == [packet(n) for n in range(20)]


async def test_recv_many_takes_all_that_waits(rig: Rig) -> None:
    async with aiotun.open_device(device=rig.device) as tun:
        for n in range(20):
            rig.send(packet(n))
        await until(lambda: tun.transport.counters.packets_received == 20)
        assert await tun.recv_many() == [packet(n) for n in range(20)]
        waiting = asyncio.ensure_future(tun.recv_many())
        await asyncio.sleep(0.01)
        rig.send(packet(20))
        assert await waiting == [packet(20)]


async def test_a_cancelled_recv_loses_nothing(rig: Rig) -> None:
    async with aiotun.open_device(device=rig.device) as tun:
        for n in range(50):
            waiting = asyncio.ensure_future(tun.recv())
            await asyncio.sleep(0)
            rig.send(packet(n))
            if n % 2:
                await until(lambda n=n: tun.transport.counters.packets_received > n)  # type: ignore[misc]
            if waiting.cancel():
                await asyncio.wait([waiting])
                if not waiting.cancelled():
                    assert waiting.result() == packet(n)
                    continue
                assert await tun.recv() == packet(n)
            else:
                assert waiting.result() == packet(n)


async def test_a_timeout_is_asyncios_own(rig: Rig) -> None:
    async with aiotun.open_device(device=rig.device) as tun:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(tun.recv(), 0.01)
        rig.send(packet())
        assert await tun.recv() == packet()


async def test_a_second_reader_is_refused(rig: Rig) -> None:
    async with aiotun.open_device(device=rig.device) as tun:
        first = asyncio.ensure_future(tun.recv())
        await asyncio.sleep(0)
        with pytest.raises(aiotun.BusyError, match="another task") as caught:
            await tun.recv()
        assert caught.value.errno == errno.EBUSY
        with pytest.raises(aiotun.BusyError):
            await tun.recv_many()
        rig.send(packet())
        assert await first == packet()


async def test_reading_pauses_while_nobody_receives(rig: Rig) -> None:
    async with aiotun.open_device(device=rig.device) as tun:
        total = 0
        while tun.transport.is_reading():
            for _ in range(100):
                rig.send(packet(total))
                total += 1
            await asyncio.sleep(0.002)
            assert total < 3 * HIGH_WATER
        assert tun.transport.counters.packets_received < HIGH_WATER + 200
        for n in range(total):
            assert await tun.recv() == packet(n)
        assert tun.transport.is_reading()


async def test_sending_waits_while_the_device_pushes_back() -> None:
    near, far = memory_devices(capacity=10, push_back=True)
    async with aiotun.open_device(device=near) as tun:
        tun.transport.set_write_buffer_limits(high=5, low=0)
        sent = 0

        async def send() -> None:
            nonlocal sent
            for n in range(500):
                await tun.send(packet(n))
                sent += 1

        async def send_too() -> None:
            await tun.send(packet(1000))

        sending = [asyncio.ensure_future(send()), asyncio.ensure_future(send_too())]
        await asyncio.sleep(0.05)
        assert sent < 300
        received: list[bytes] = []
        while len(received) < 501:
            await asyncio.sleep(0)
            received += await asyncio.to_thread(far.recv_many, 2)
        await asyncio.gather(*sending)
        received.remove(packet(1000))
        assert received == [packet(n) for n in range(500)]
    far.close()


async def test_senders_go_on_in_the_order_in_which_they_came() -> None:
    near, far = memory_devices(capacity=1, push_back=True)
    async with aiotun.open_device(device=near) as tun:
        tun.transport.set_write_buffer_limits(high=0)
        await tun.send_many([packet(0), packet(1)])
        tun.transport.flush()
        waiting = [asyncio.ensure_future(tun.send(packet(n))) for n in (2, 3)]
        await asyncio.sleep(0)
        tun._protocol.resume_writing()  # they are called, and have not run yet
        newcomer = tun.send(packet(4))
        with contextlib.suppress(StopIteration):
            newcomer.send(None)
        sending = asyncio.gather(*waiting)
        received = [await asyncio.to_thread(far.recv, 2) for _ in range(4)]
        await sending
        assert received == [packet(n) for n in range(4)]
        newcomer.close()
    far.close()


async def test_a_cancelled_send_has_not_sent() -> None:
    near, far = memory_devices(capacity=1, push_back=True)
    async with aiotun.open_device(device=near) as tun:
        tun.transport.set_write_buffer_limits(high=0)
        await tun.send_many([packet(0), packet(1)])
        tun.transport.flush()
        sending = asyncio.ensure_future(tun.send(packet(2)))
        await asyncio.sleep(0.01)
        sending.cancel()
        await asyncio.wait([sending])
        assert sending.cancelled()
        for expected in (packet(0), packet(1)):
            assert await asyncio.to_thread(far.recv, 2) == expected
            await asyncio.sleep(0.01)
        with pytest.raises(TimeoutError):
            far.recv(timeout=0.02)
    far.close()


async def test_sending_gives_others_a_turn(rig: Rig) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with aiotun.open_device(device=rig.device) as tun:
        counting = asyncio.ensure_future(count())
        await tun.send_many(packet(n) for n in range(1000))
        assert turns >= 3
        counting.cancel()


@pytest.mark.parametrize(("wrong", "number"), [(b"", errno.EINVAL), (bytes(70000), errno.EMSGSIZE)])
async def test_impossible_packets_raise(rig: Rig, wrong: bytes, number: int) -> None:
    async with aiotun.open_device(device=rig.device) as tun:
        with pytest.raises(aiotun.errors.PacketError) as caught:
            await tun.send(wrong)
        assert caught.value.errno == number


async def test_later_errors_are_logged_but_not_too_often(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "aiotun")
    async with aiotun.open_device(device=rig.device) as tun:
        rig.device.down()
        for _ in range(3):
            await tun.send(packet())
            tun.transport.flush()
        await tun.send(packet())
        tun.transport.flush()
        (record,) = caplog.records
        assert "is down" in record.getMessage()
        assert tun.transport.get_extra_info("name") in record.getMessage()
        assert tun.transport.counters.dropped_sent == 4


async def test_after_the_end(rig: Rig) -> None:
    async with aiotun.open_device(device=rig.device) as tun:
        rig.send(packet())
        await until(lambda: tun.transport.counters.packets_received)
    assert await tun.recv() == packet()  # it had been received
    for call in (tun.recv, tun.recv_many):
        with pytest.raises(aiotun.ClosedError):
            await call()
    with pytest.raises(aiotun.ClosedError):
        await tun.send(packet())
    assert [each async for each in tun] == []


async def test_deletion_is_raised_from_what_waits_and_from_what_follows(rig: Rig) -> None:
    async with aiotun.open_device(device=rig.device) as tun:
        waiting = asyncio.ensure_future(tun.recv())
        await asyncio.sleep(0)
        rig.delete()
        with pytest.raises(aiotun.InterfaceGoneError):
            await waiting
        with pytest.raises(aiotun.InterfaceGoneError):
            await tun.send(packet())
        with pytest.raises(aiotun.InterfaceGoneError):
            await anext(aiter(tun))


async def test_a_sender_that_waits_learns_of_the_end() -> None:
    near, far = memory_devices(capacity=1, push_back=True)
    tun = await aiotun.open_device(device=near)
    tun.transport.set_write_buffer_limits(high=0)
    await tun.send_many([packet(0), packet(1)])
    tun.transport.flush()
    sending = asyncio.ensure_future(tun.send(packet(2)))
    await asyncio.sleep(0.01)
    tun.transport.abort()
    with pytest.raises(aiotun.ClosedError):
        await sending
    await tun.aclose()
    far.close()


@contextlib.asynccontextmanager
async def as_stream(device: aiotun.Device) -> AsyncIterator[aiotun.PacketTransport]:
    async with aiotun.open_device(device=device) as tun:
        yield tun.transport


@contextlib.asynccontextmanager
async def as_transport(device: aiotun.Device) -> AsyncIterator[aiotun.PacketTransport]:
    transport, _ = await aiotun.create_device_endpoint(aiotun.PacketProtocol, device=device)
    async with transport as same:
        yield same


@contextlib.asynccontextmanager
async def as_framed(device: aiotun.Device) -> AsyncIterator[aiotun.PacketTransport]:
    tun = await aiotun.open_device(device=device)
    async with aiotun.Framed(tun, Raw()):
        yield tun.transport


every_way = pytest.mark.parametrize("opened", [as_stream, as_transport, as_framed])


@every_way
@pytest.mark.parametrize("where", ["in the block", "at its end"])
async def test_one_cancellation_ends_a_block_over_a_device_that_pushes_back(
    opened: Callable[..., Any], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for the device is dropped, rather than waited for without end."""
    monkeypatch.setattr(AsyncClosing, "linger", 0.02)
    near, far = memory_devices(capacity=1, push_back=True)

    written = asyncio.Event()

    async def use() -> None:
        async with opened(near) as transport:
            transport.writelines([packet(0), packet(1)])
            transport.flush()
            written.set()
            if where == "in the block":
                await asyncio.Event().wait()

    using = asyncio.ensure_future(use())
    await written.wait()
    await asyncio.sleep(0.01)
    assert not using.done()
    using.cancel()
    await asyncio.wait([using], timeout=5)
    assert using.cancelled()
    assert near.counters.dropped_sent == 1
    with pytest.raises(aiotun.ClosedError):
        near.recv()
    far.close()


async def test_reading_pauses_at_so_many_packets_and_no_earlier() -> None:
    rig = MemoryRig()
    async with aiotun.open_device(device=rig.device) as tun:
        counters = tun.transport.counters
        for n in range(HIGH_WATER):
            assert tun.transport.is_reading(), n
            rig.send(packet(n))
            while counters.packets_received == n:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert not tun.transport.is_reading()
    rig.close()


async def test_reading_resumes_at_a_quarter(rig: Rig) -> None:
    async with aiotun.open_device(device=rig.device) as tun:
        total = 0
        while tun.transport.is_reading():
            rig.send(packet(total))
            total += 1
            if total % 50 == 0:
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        kept = tun.transport.counters.packets_received
        for n in range(kept - HIGH_WATER // 4 - 1):
            assert await tun.recv() == packet(n)
        assert not tun.transport.is_reading()
        await tun.recv()
        assert tun.transport.is_reading()


@every_way
async def test_a_timeout_ends_a_block_over_a_device_that_pushes_back(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AsyncClosing, "linger", 0.02)
    near, far = memory_devices(capacity=1, push_back=True)
    written = asyncio.Event()

    async def use() -> None:
        async with opened(near) as transport:
            transport.writelines([packet(0), packet(1)])
            transport.flush()
            written.set()
            await asyncio.Event().wait()

    using = asyncio.ensure_future(use())
    await written.wait()
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(using, 0.02)
    assert near.counters.dropped_sent == 1
    far.close()


@every_way
async def test_an_exception_lets_what_was_written_leave(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AsyncClosing, "linger", 20.0)  # whenever it is taken
    near, far = memory_devices(capacity=1, push_back=True)

    async def use() -> None:
        async with opened(near) as transport:
            transport.writelines([packet(0), packet(1)])
            transport.flush()
            raise LookupError

    using = asyncio.ensure_future(use())
    received = [await asyncio.to_thread(far.recv, 20) for _ in range(2)]
    with pytest.raises(LookupError):
        await using
    assert received == [packet(0), packet(1)]
    assert near.counters.dropped_sent == 0
    far.close()


async def test_what_ends_the_device_is_raised_at_once() -> None:
    """Also while the device is still being closed, before `connection_lost`."""
    near, far = memory_devices()
    with far:
        async with aiotun.open_device(device=near) as tun:
            tun.transport._fail(aiotun.InterfaceGoneError(errno.ENODEV, "of the test"))
            with pytest.raises(aiotun.InterfaceGoneError):
                await tun.send(packet())
