"""A transport that is ended from within a call that reads or writes: by a callback, a finalizer,
a signal handler. The device stays open until that call is over; each packet is sent or counted."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import pytest
from far import Far, close_at_once
from packets import super_packet, tcp
from rigs import BatchRecorder, Recorder, SuperRecorder, endpoint, packet
from waiting import wait_until

import aiotun
from aiotun.errors import InterfaceGoneError
from aiotun.offload import NO_OFFLOAD
from aiotun.testing import memory_devices
from aiotun.transports.fastpath import Port

PACKETS = [packet(n) for n in range(4)]
FRAMES = [NO_OFFLOAD + packet for packet in PACKETS]
REFUSED = packet(5, 60_000)
"""More than the socket takes at once: the native port leaves it, and what follows, to its twin."""

ENDS = ["close", "abort"]


def narrow(far: Far) -> None:
    """Have its socket take no more than 32 KB."""
    if sys.platform == "win32":
        pytest.skip("a ring refuses no packet for its size alone")
    with socket.socket(fileno=os.dup(far.device.queue.fileno())) as near:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)


@asynccontextmanager
async def narrow_endpoint(far: Far) -> AsyncIterator[Recorder]:
    """Behind a transport that closes its device as soon as it may."""
    narrow(far)
    async with endpoint(far.device, Recorder) as protocol:
        close_at_once(protocol.transport)
        yield protocol


def at_writes(far: Far, *acts: Callable[[], object]) -> None:
    """Before each of the next frames that Python writes one of these acts, or raises its answer."""
    queue = far.device.queue
    write = queue.write
    remaining = iter(acts)

    def written(frame: bytes) -> None:
        next(remaining, nothing)()
        write(frame)

    queue.write = written  # type: ignore[method-assign]


def nothing() -> None: ...


def push_back() -> None:
    raise BlockingIOError


def gone() -> None:
    raise InterfaceGoneError(errno.ENODEV, "of the test")


def then_pushes_back(act: Callable[[], object]) -> None:
    act()
    push_back()


def check_counters(protocol: Recorder, sent: int, dropped: int) -> None:
    counters = protocol.transport.counters
    assert (counters.packets_sent, counters.dropped_sent) == (sent, dropped)
    assert protocol.transport.get_write_buffer_size() == 0


@pytest.mark.parametrize("end", ENDS)
async def test_within_a_flush(device: Far, end: str) -> None:
    async with narrow_endpoint(device) as protocol:
        transport = protocol.transport
        at_writes(device, getattr(transport, end))
        transport.writelines([REFUSED, *PACKETS])
        transport.flush()
        assert device.recv() == FRAMES
        check_counters(protocol, sent=5, dropped=1)
        await transport.wait_closed()
        assert protocol.named("connection_lost") == [None]
        assert device.device._closed


@pytest.mark.parametrize("end", ENDS)
async def test_within_a_flush_that_writes_more(device: Far, end: str) -> None:
    """What a finalizer writes before it ends the transport waits like all else."""

    def more() -> None:
        protocol.transport.write(PACKETS[3])
        getattr(protocol.transport, end)()

    async with narrow_endpoint(device) as protocol:
        at_writes(device, more)
        protocol.transport.writelines([REFUSED, *PACKETS[:3]])
        protocol.transport.flush()
        await protocol.transport.wait_closed()
        found = device.recv()
        assert sorted(found) == (FRAMES if end == "close" else FRAMES[:3])
        check_counters(protocol, sent=5, dropped=5 - len(found))


@pytest.mark.parametrize("end", ENDS)
async def test_within_a_flush_that_is_pushed_back(device: Far, end: str) -> None:
    """`close` waits for the device to take the rest, `abort` drops it."""
    async with narrow_endpoint(device) as protocol:
        transport = protocol.transport
        at_writes(device, partial(then_pushes_back, getattr(transport, end)))
        transport.writelines([REFUSED, *PACKETS])
        transport.flush()
        assert transport.is_closing()
        await transport.wait_closed()
        assert device.recv() == (FRAMES if end == "close" else [])
        check_counters(protocol, sent=5, dropped=1 if end == "close" else 5)


@pytest.mark.parametrize("end", ENDS)
async def test_within_what_was_pushed_back(device: Far, end: str) -> None:
    async with narrow_endpoint(device) as protocol:
        transport = protocol.transport
        at_writes(device, push_back)
        transport.writelines([REFUSED, *PACKETS])
        transport.flush()
        at_writes(device, getattr(transport, end))
        await transport.wait_closed()
        assert device.recv() == FRAMES
        check_counters(protocol, sent=5, dropped=1)


@pytest.mark.parametrize("end", ENDS)
async def test_within_a_super_packet(device: Far, end: str) -> None:
    """One that the socket refuses; its packets are sent one by one then."""
    async with narrow_endpoint(device) as protocol:
        transport = protocol.transport
        at_writes(device, getattr(transport, end))
        transport.write_super(aiotun.SuperPacket(super_packet(tcp(4, bytes(40_000)), 20_000)))
        assert len(device.recv()) == 2
        check_counters(protocol, sent=2, dropped=0)
        await transport.wait_closed()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("callback", ["error_received", "pause_writing", "resume_writing"])
async def test_within_a_callback(device: Far, callback: str, end: str) -> None:
    """After all was written, and while some of it waits."""
    async with narrow_endpoint(device) as protocol:
        transport = protocol.transport
        transport.set_write_buffer_limits(high=0)
        setattr(protocol, callback, lambda *told: getattr(transport, end)())
        if callback != "error_received":
            at_writes(device, push_back)
        transport.writelines([REFUSED, *PACKETS])
        transport.flush()
        await transport.wait_closed()
        dropped = 5 if (callback, end) == ("pause_writing", "abort") else 1
        assert device.recv() == FRAMES[: 5 - dropped]
        check_counters(protocol, sent=5, dropped=dropped)


@pytest.mark.parametrize("end", ENDS)
async def test_within_a_read(end: str) -> None:
    """It goes on to its end; nothing of it is delivered, all is counted."""
    near, far = memory_devices()
    with far:
        async with endpoint(near, Recorder) as protocol:
            read = near.queue.read

            def reading() -> bytes:
                near.queue.read = read  # type: ignore[method-assign]
                getattr(protocol.transport, end)()
                return read()

            near.queue.read = reading  # type: ignore[method-assign]
            far.send_many(PACKETS)
            with contextlib.suppress(aiotun.InterfaceGoneError):
                await protocol.transport.wait_closed()
            assert protocol.packets == []
            assert protocol.named("connection_lost") == [None]
            counters = protocol.transport.counters
            assert counters.packets_received == counters.dropped_received == 4


@contextmanager
def ended_by_another_thread(
    far: Far, transport: aiotun.PacketTransport, end: str
) -> Iterator[list[bool]]:
    """End it there, as a finalizer may, while what is done meanwhile waits for the far end;
    whether its device was closed at once. Only then a packet comes from there, and what was
    written is taken."""
    blocking = os.dup(far.device.fileno())
    os.set_blocking(blocking, True)
    here = threading.get_ident()
    before = signal.signal(signal.SIGUSR1, lambda number, frame: None)
    began = beginning(transport)
    results: list[bool] = []

    def do() -> None:
        wait_until(began)
        getattr(transport, end)()
        results.append(transport.device._closed)
        far.send(PACKETS[0])
        far.recv()
        os.set_blocking(blocking, False)
        os.close(blocking)
        signal.pthread_kill(here, signal.SIGUSR1)  # a second read may wait already

    thread = threading.Thread(target=do)
    thread.start()
    try:
        yield results
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)


def beginning(transport: aiotun.PacketTransport) -> Callable[[], bool]:
    """What tells whether a call has begun to read or write. In C that is when the device is in
    use; Python may let another thread run before it comes to the queue."""
    if type(transport._port) is not Port:
        return lambda: bool(transport._port.uses)
    begun = threading.Event()
    queue = transport.device.queue

    def beginning_with(act: Callable[..., Any]) -> Callable[..., Any]:
        def acting(*args: bytes) -> Any:
            begun.set()
            return act(*args)

        return acting

    queue.read = beginning_with(queue.read)  # type: ignore[method-assign]
    queue.write = beginning_with(queue.write)  # type: ignore[method-assign]
    return begun.is_set


waiting = pytest.mark.skipif(sys.platform == "win32", reason="no call waits for a ring")


@waiting
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("factory", [Recorder, BatchRecorder, SuperRecorder])
async def test_by_another_thread_within_a_read(
    device: Far, factory: type[Recorder], end: str
) -> None:
    async with endpoint(device.device, factory) as protocol:
        transport = protocol.transport
        close_at_once(transport)
        await asyncio.sleep(0)
        with ended_by_another_thread(device, transport, end) as closed:
            transport._port.read_ready()
        assert closed == [False]
        await transport.wait_closed()
        assert device.device._closed
        assert protocol.packets == []
        assert transport.counters.packets_received == transport.counters.dropped_received == 1


@waiting
@pytest.mark.parametrize("end", ENDS)
async def test_by_another_thread_within_a_write(device: Far, end: str) -> None:
    async with endpoint(device.device, Recorder) as protocol:
        transport = protocol.transport
        close_at_once(transport)
        await asyncio.sleep(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(device.device.fileno(), FRAMES[0])
        with ended_by_another_thread(device, transport, end) as closed:
            transport.write_super(aiotun.SuperPacket(FRAMES[1]))
        assert closed == [False]
        await transport.wait_closed()
        assert device.device._closed
        check_counters(protocol, sent=1, dropped=0)


@waiting
@pytest.mark.requires("native")
@pytest.mark.parametrize("end", ENDS)
async def test_where_packets_pass_to_by_another_thread(end: str) -> None:
    with contextlib.closing(Far()) as here, contextlib.closing(Far()) as there:
        async with (
            endpoint(here.device, SuperRecorder) as near,
            endpoint(there.device, Recorder) as other,
        ):
            await asyncio.sleep(0)
            near.transport._pass_to(other.transport)
            close_at_once(other.transport)
            with ended_by_another_thread(here, other.transport, end) as closed:
                near.transport._port.read_ready()
            assert closed == [False]
            await other.transport.wait_closed()
            assert there.recv() == FRAMES[:1]
            assert near.packets == []


async def test_an_interface_that_is_gone_within_a_flush(device: Far) -> None:
    """What was not written is counted, and so is the frame that found out."""

    async with narrow_endpoint(device) as protocol:
        transport = protocol.transport
        at_writes(device, nothing, gone)
        transport.writelines([REFUSED, *PACKETS])
        transport.flush()
        with pytest.raises(InterfaceGoneError, match="of the test"):
            await transport.wait_closed()
        assert device.recv() == []
        check_counters(protocol, sent=5, dropped=5)


async def test_an_interface_that_is_gone_within_a_super_packet(device: Far) -> None:
    async with narrow_endpoint(device) as protocol:
        transport = protocol.transport
        at_writes(device, nothing, nothing, gone)
        transport.write_super(aiotun.SuperPacket(super_packet(tcp(4, bytes(40_000)), 20_000)))
        with pytest.raises(InterfaceGoneError, match="of the test"):
            await transport.wait_closed()
        assert len(device.recv()) == 1
        check_counters(protocol, sent=2, dropped=1)


async def test_an_exception_that_ends_the_loop_within_a_flush(device: Far) -> None:
    """The loop may run again, and the rest leaves then."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    async with narrow_endpoint(device) as protocol:
        transport = protocol.transport
        at_writes(device, interrupt)
        transport.writelines([REFUSED, *PACKETS])
        with pytest.raises(KeyboardInterrupt):
            transport.flush()
        transport.close()
        await transport.wait_closed()
        assert device.recv() == FRAMES
        check_counters(protocol, sent=5, dropped=0)


def test_a_device_that_is_gone_within_a_call(device: Far) -> None:
    at_writes(device, nothing, gone)
    narrow(device)
    with pytest.raises(InterfaceGoneError, match="of the test"):
        device.device.send_many([REFUSED, *PACKETS])
    counters = device.device.counters
    assert (counters.packets_sent, counters.dropped_sent) == (5, 5)
