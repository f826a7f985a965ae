"""A device in memory whose other end belongs to another thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import pytest
from rigs import Recorder, endpoint, packet, until

import aiotun
from aiotun.testing import memory_devices


class Waited(Recorder):
    """Sets an event when one of its callbacks was called."""

    def __init__(self) -> None:
        super().__init__()
        self.called = asyncio.Event()

    def packet_received(self, packet: bytes) -> None:
        super().packet_received(packet)
        self.called.set()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.called.set()

    def device_changed(self, event: aiotun.interfaces.Event) -> None:
        super().device_changed(event)
        self.called.set()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.called.set()


ACTS: dict[str, tuple[str, Callable[[aiotun.Device, aiotun.Device], object]]] = {
    "a packet": ("packet_received", lambda near, far: far.send(packet())),
    "room": ("resume_writing", lambda near, far: far.recv_many()),
    "a change": ("device_changed", lambda near, far: near.interface.set_mtu(1400)),
    "the end": ("connection_lost", lambda near, far: near.interface.delete()),  # type: ignore[attr-defined]
}


@pytest.mark.parametrize(("callback", "act"), ACTS.values(), ids=ACTS)
async def test_a_thread_wakes_the_loop(
    callback: str, act: Callable[[aiotun.Device, aiotun.Device], object]
) -> None:
    loop = asyncio.get_running_loop()
    near, far = memory_devices(capacity=4, push_back=True)
    with far:
        async with endpoint(near, Waited) as protocol:
            protocol.transport.set_write_buffer_limits(high=0)
            if callback == "resume_writing":
                protocol.transport.writelines([packet(n) for n in range(6)])
                protocol.transport.flush()
            await asyncio.sleep(0.01)  # until the loop has nothing left to do
            protocol.calls.clear()
            protocol.called.clear()
            start = loop.time()
            thread = threading.Timer(0.05, act, (near, far))
            thread.start()
            await asyncio.wait_for(protocol.called.wait(), 30)
            assert loop.time() - start < 15  # it was woken, and found it not by chance
            assert protocol.calls[0][0] == callback
            thread.join()


async def test_what_waits_for_the_end_of_the_tick_does_not_keep_the_protocol_paused() -> None:
    near, far = memory_devices(capacity=4, push_back=True)
    with far:
        async with endpoint(near, Recorder) as protocol:
            protocol.transport.set_write_buffer_limits(high=0)
            protocol.transport.writelines([packet(n) for n in range(6)])
            protocol.transport.flush()
            assert protocol.named("pause_writing") == [None]
            await asyncio.sleep(0)
            far.recv_many()  # the transport writes its backlog in the loop's next turn
            protocol.transport.write(packet(6))  # this waits for the end of the same turn
            await until(lambda: protocol.named("resume_writing"))


class Counting(Recorder):
    """Answers the packet of a number by that of the next one, up to a number."""

    last: ClassVar = 2000

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []
        self.ended = asyncio.get_running_loop().create_future()

    def packet_received(self, data: bytes) -> None:
        number = int.from_bytes(data[20:24], "big")
        self.seen.append(number)
        if number < self.last:
            self.transport.write(packet(number + 1))
        if number >= self.last - 1:
            self.ended.set_result(None)


async def count(device: aiotun.Device) -> list[int]:
    async with endpoint(device, Counting) as protocol:
        await asyncio.wait_for(protocol.ended, 50)
        return protocol.seen


def test_loops_in_threads() -> None:
    """Each end on a loop of its own: every packet wakes the other one."""
    pairs = [memory_devices() for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        for near, _ in pairs:
            near.send(packet(0))
        counting = [[pool.submit(asyncio.run, count(each)) for each in pair] for pair in pairs]
        for asking, answering in counting:
            assert answering.result(50) == list(range(0, Counting.last + 1, 2))
            assert asking.result(50) == list(range(1, Counting.last, 2))


def receive(device: aiotun.Device, count: int) -> list[bytes]:
    return [device.recv(50) for _ in range(count)]


def test_threads_lose_nothing() -> None:
    """With one place in the queue, so that each side wakes the other for each frame."""
    near, far = memory_devices(capacity=1, push_back=True)
    count = 200
    with near, far, ThreadPoolExecutor(8) as pool:
        for there, back in ((near, far), (far, near)):
            for n in range(2):
                sent = [packet(n * count + each) for each in range(count)]
                pool.submit(there.send_many, sent, timeout=50)
            reading = [pool.submit(receive, back, count) for _ in range(2)]
            received = [each for future in reading for each in future.result(50)]
            assert sorted(received) == sorted(packet(n) for n in range(2 * count))
    for device in (near, far):
        statistics = device.statistics()
        assert statistics.packets_received == statistics.packets_sent == 2 * count
        assert statistics.dropped_received == 0
