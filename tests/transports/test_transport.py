"""What a transport does for its protocol, the same in memory and on a real TUN."""

from __future__ import annotations

import asyncio
import errno
import gc
import itertools
import logging
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
from rigs import (
    BatchRecorder,
    MakeRig,
    MemoryRig,
    Recorder,
    Rig,
    RingRig,
    SuperRecorder,
    ToldAs,
    TunRig,
    check_limits_at_once,
    check_write_buffer_limits,
    endpoint,
    packet,
    until,
)

import aiotun
from aiotun.offload import NO_OFFLOAD
from aiotun.packetio import READ_BATCH
from aiotun.platforms.base import Queue, nothing
from aiotun.platforms.memory import MemoryQueue
from aiotun.testing import memory_devices


@pytest.fixture
def complaints() -> list[dict[str, Any]]:
    """What the loop's exception handler got; filled by tests that install it."""
    return []


def collect(complaints: list[dict[str, Any]]) -> None:
    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: complaints.append(context)
    )


# From the device to the protocol.


@pytest.mark.parametrize("factory", [Recorder, BatchRecorder, SuperRecorder])
async def test_packets_arrive_in_order(rig: Rig, factory: type[Recorder]) -> None:
    async with endpoint(rig.device, factory) as protocol:
        sent = [packet(n) for n in range(300)]
        for each in sent:
            rig.send(each)
        await until(lambda: len(protocol.packets) == 300)
        assert protocol.packets == sent
        assert protocol.calls[0] == ("connection_made",)
        assert protocol.transport.counters.packets_received == 300
        assert protocol.transport.counters.bytes_received == 300 * 64


async def test_one_wake_up_reads_a_bounded_amount(rig: Rig) -> None:
    for n in range(3 * READ_BATCH):
        rig.send(packet(n))
    turns: list[int] = []
    async with endpoint(rig.device, BatchRecorder) as protocol:
        loop = asyncio.get_running_loop()

        def turn() -> None:
            turns.append(len(protocol.packets))
            if len(protocol.packets) < 3 * READ_BATCH:
                loop.call_soon(turn)

        turn()
        await until(lambda: len(protocol.packets) == 3 * READ_BATCH)
        assert max(b - a for a, b in itertools.pairwise(turns)) <= READ_BATCH
        batches = {len(batch) for batch in protocol.named("packets_received")}
        # Native code reads frames without a header (of Wintun) half as many at a time.
        assert batches <= {READ_BATCH, READ_BATCH // 2}


async def test_pause_inside_a_batch_keeps_the_rest(rig: Rig) -> None:
    async with endpoint(rig.device, Recorder) as protocol:

        def pause_at_third(received: bytes) -> None:
            if len(protocol.packets) == 3:
                protocol.transport.pause_reading()

        protocol.on_packet = pause_at_third
        for n in range(10):
            rig.send(packet(n))
        await until(lambda: len(protocol.packets) == 3)
        rig.send(packet(10))
        await asyncio.sleep(0.05)
        assert len(protocol.packets) == 3
        assert not protocol.transport.is_reading()
        protocol.transport.pause_reading()  # twice is once
        protocol.transport.resume_reading()
        protocol.transport.resume_reading()
        await until(lambda: len(protocol.packets) == 11)
        assert protocol.packets == [packet(n) for n in range(11)]


async def test_pausing_again_before_the_rest_was_delivered(rig: Rig) -> None:
    async with endpoint(rig.device, Recorder) as protocol:
        protocol.on_packet = lambda received: protocol.transport.pause_reading()
        for n in range(3):
            rig.send(packet(n))
        for n in range(3):
            await until(lambda n=n: len(protocol.packets) == n + 1)  # type: ignore[misc]
            await asyncio.sleep(0.01)
            assert len(protocol.packets) == n + 1
            protocol.transport.resume_reading()
            protocol.transport.pause_reading()
            await asyncio.sleep(0.01)
            assert len(protocol.packets) == n + 1
            protocol.transport.resume_reading()


async def test_pause_in_connection_made(rig: Rig) -> None:
    class Paused(Recorder):
        def connection_made(self, transport: aiotun.PacketTransport) -> None:
            super().connection_made(transport)
            self.transport.pause_reading()

    rig.send(packet())
    async with endpoint(rig.device, Paused) as protocol:
        await asyncio.sleep(0.05)
        assert protocol.packets == []
        protocol.transport.resume_reading()
        await until(lambda: protocol.packets == [packet()])


async def test_an_exception_costs_one_packet(rig: Rig, complaints: list[dict[str, Any]]) -> None:
    async with endpoint(rig.device, Recorder) as protocol:
        collect(complaints)

        def fail_at_second(received: bytes) -> None:
            if received == packet(1):
                raise RuntimeError("of the test")

        protocol.on_packet = fail_at_second
        for n in range(5):
            rig.send(packet(n))
        await until(lambda: len(protocol.packets) == 5)
        assert protocol.packets == [packet(n) for n in range(5)]
        (context,) = complaints
        assert str(context["exception"]) == "of the test"
        assert "packet_received" in context["message"]
        assert context["transport"] is protocol.transport


async def test_a_callback_that_always_raises_is_told_of_at_a_rate(
    rig: Rig, complaints: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("aiotun.throttle.monotonic", lambda: now)
    async with endpoint(rig.device, Recorder) as protocol:
        collect(complaints)

        def fail(received: bytes) -> None:
            raise KeyError if received == packet(50) else RuntimeError("of the test")

        protocol.on_packet = fail
        for n in range(100):
            rig.send(packet(n))
        await until(lambda: len(protocol.packets) == 100)
        assert [type(each["exception"]) for each in complaints] == [RuntimeError, KeyError]
        now = 1.5
        rig.send(packet(100))
        await until(lambda: len(complaints) == 3)
        assert complaints[-1]["message"].endswith("(and 98 more before it)")
        rig.send(packet(101))
        await until(lambda: len(protocol.packets) == 102)
        assert len(complaints) == 3


@pytest.mark.parametrize("factory", [BatchRecorder, SuperRecorder])
async def test_an_exception_costs_one_batch(
    rig: Rig, complaints: list[dict[str, Any]], factory: type[Recorder]
) -> None:
    async with endpoint(rig.device, factory) as protocol:
        collect(complaints)

        seen: list[bytes] = []

        def fail(received: bytes) -> None:
            seen.append(received)
            if received == packet(0):
                raise RuntimeError("of the test")

        protocol.on_packet = fail
        protocol.transport.pause_reading()  # so that three come at once
        for n in range(3):
            rig.send(packet(n))
        protocol.transport.resume_reading()
        await until(lambda: complaints)
        rig.send(packet(3))
        await until(lambda: packet(3) in seen)
        assert seen == [packet(0), packet(3)]
        assert protocol.packets == [packet(n) for n in range(4)]
        assert len(complaints) == 1


async def test_interrupting_a_callback_loses_nothing(rig: Rig) -> None:
    """KeyboardInterrupt leaves the loop; what was not delivered comes when it runs again."""
    async with endpoint(rig.device, Recorder) as protocol:

        def interrupt(received: bytes) -> None:
            protocol.on_packet = lambda received: None
            raise KeyboardInterrupt

        protocol.on_packet = interrupt
        port = protocol.transport._port
        port.pending += [packet(n) for n in range(3)]
        with pytest.raises(KeyboardInterrupt):
            port.deliver()
        port.pending.append(packet(3))
        port.deliver()
        assert protocol.packets == [packet(n) for n in range(4)]


@pytest.mark.parametrize("factory", [Recorder, BatchRecorder, SuperRecorder])
async def test_set_protocol_inside_a_batch(rig: Rig, factory: type[Recorder]) -> None:
    second = factory()
    async with endpoint(rig.device, Recorder) as first:

        def switch(received: bytes) -> None:
            if received == packet(1):
                first.transport.set_protocol(second)

        first.on_packet = switch
        for n in range(5):
            rig.send(packet(n))
        await until(lambda: len(second.packets) == 3)
        assert first.packets == [packet(0), packet(1)]
        assert second.packets == [packet(n) for n in range(2, 5)]
        assert first.transport.get_protocol() is second


async def test_what_the_device_had_read_already_comes_first(rig: Rig) -> None:
    for n in range(3):
        rig.send(packet(n))
    assert rig.device.recv(timeout=2) == packet(0)
    async with endpoint(rig.device, Recorder) as protocol:
        rig.send(packet(3))
        await until(lambda: len(protocol.packets) == 3)
        assert protocol.packets == [packet(n) for n in range(1, 4)]


async def test_super_packets_are_whole_without_offload(make_rig: MakeRig) -> None:
    with make_rig(offload=False) as rig:
        async with endpoint(rig.device, SuperRecorder) as protocol:
            rig.send(packet())
            await until(lambda: protocol.packets)
            assert protocol.super_packets == [aiotun.SuperPacket(NO_OFFLOAD + packet())]


# From the protocol to the device.


async def test_written_packets_leave_in_order_at_the_end_of_the_tick(rig: Rig) -> None:
    async with endpoint(rig.device, Recorder) as protocol:
        transport = protocol.transport
        transport.write(packet(0))
        transport.writelines([packet(1), packet(2)])
        with pytest.raises(TimeoutError):
            rig.recv(timeout=0.02)
        assert transport.get_write_buffer_size() == 3
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [rig.recv() for _ in range(3)] == [packet(n) for n in range(3)]
        assert transport.get_write_buffer_size() == 0
        assert transport.counters.packets_sent == transport.counters.frames_sent == 3
        assert transport.counters.bytes_sent == 3 * 64


async def test_flush_writes_at_once(rig: Rig) -> None:
    async with endpoint(rig.device, Recorder) as protocol:
        protocol.transport.write(packet())
        protocol.transport.flush()
        assert rig.recv() == packet()


async def test_what_is_written_in_a_callback_leaves_with_the_batch(rig: Rig) -> None:
    async with endpoint(rig.device, Recorder) as protocol:
        protocol.on_packet = protocol.transport.write
        for n in range(200):
            rig.send(packet(n))
        await until(lambda: protocol.transport.counters.packets_sent == 200)
        assert [rig.recv() for _ in range(200)] == [packet(n) for n in range(200)]


async def test_write_is_a_method_that_can_be_replaced(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with endpoint(rig.device, Recorder) as protocol:
        transport = protocol.transport
        with monkeypatch.context() as patch:
            written = Mock()
            patch.setattr(transport, "write", written)
            transport.write(packet(0))
            written.assert_called_once_with(packet(0))
        transport.write(packet(1))
        transport.flush()
        assert rig.recv() == packet(1)


@pytest.mark.parametrize("name", ["write", "write_super"])
async def test_a_class_whose_write_was_replaced_makes_transports_that_use_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    written = Mock()
    monkeypatch.setattr(aiotun.PacketTransport, name, written)
    async with endpoint(rig.device, Recorder) as protocol:
        getattr(protocol.transport, name)(packet(0))
    written.assert_called_once_with(packet(0))


async def test_mutable_buffers_are_copied(rig: Rig) -> None:
    async with endpoint(rig.device, Recorder) as protocol:
        buffer = bytearray(packet(1))
        protocol.transport.write(buffer)
        protocol.transport.write(memoryview(buffer))
        buffer[:] = bytes(64)
        protocol.transport.flush()
        assert [rig.recv(), rig.recv()] == [packet(1), packet(1)]


async def test_packets_larger_than_the_mtu_are_written_as_they_are(rig: Rig) -> None:
    async with endpoint(rig.device, Recorder) as protocol:
        assert rig.device.mtu == 1500
        protocol.transport.writelines([packet(0, 1501), packet(1, 65535)])
        protocol.transport.flush()
        assert [rig.recv(), rig.recv()] == [packet(0, 1501), packet(1, 65535)]


@pytest.mark.parametrize("wrong", ["text", 7, None, [packet()]])
async def test_what_is_no_bytes_raises(rig: Rig, wrong: Any) -> None:
    async with endpoint(rig.device, Recorder) as protocol:
        with pytest.raises(TypeError, match="a packet is bytes"):
            protocol.transport.write(wrong)


@pytest.mark.parametrize(
    ("wrong", "number", "says"),
    [
        (b"", errno.EINVAL, "empty"),
        (packet(size=65535) + b"x", errno.EMSGSIZE, "65535 at most"),
        (b"\x00" * 40, errno.EINVAL, "no IP packet"),
    ],
    ids=["empty", "too large", "no IP"],
)
async def test_impossible_packets_are_dropped_and_reported(
    rig: Rig, wrong: bytes, number: int, says: str
) -> None:
    async with endpoint(rig.device, Recorder) as protocol:
        protocol.transport.writelines([packet(0), wrong, wrong, packet(1)])
        protocol.transport.flush()
        assert [rig.recv(), rig.recv()] == [packet(0), packet(1)]
        error = protocol.named("error_received")[0]
        assert isinstance(error, aiotun.errors.PacketError)
        assert error.errno == number
        assert says in str(error)
        assert protocol.transport.counters.dropped_sent == 2


async def test_writing_to_an_interface_that_is_down(rig: Rig) -> None:
    async with endpoint(rig.device, Recorder) as protocol:
        rig.device.down()
        protocol.transport.writelines([packet(0), packet(1)])
        protocol.transport.flush()
        (error,) = protocol.named("error_received")
        assert isinstance(error, aiotun.InterfaceDownError)
        assert error.errno == errno.EIO
        assert protocol.transport.counters.dropped_sent == 2
        rig.device.up()
        protocol.transport.write(packet(2))
        protocol.transport.flush()
        assert rig.recv() == packet(2)


async def test_an_exception_in_error_received_goes_to_the_loop(
    rig: Rig, complaints: list[dict[str, Any]]
) -> None:
    class Failing(Recorder):
        def error_received(self, exc: Exception) -> None:
            raise RuntimeError("of the test")

    async with endpoint(rig.device, Failing) as protocol:
        collect(complaints)
        protocol.transport.write(b"")
        assert [context["message"][:26] for context in complaints] == ["exception in error_receive"]


async def test_a_transport_is_no_stream(rig: Rig) -> None:
    async with endpoint(rig.device, Recorder) as protocol:
        assert not protocol.transport.can_write_eof()
        with pytest.raises(NotImplementedError):
            protocol.transport.write_eof()


def push_back(queue: Queue, after: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let the queue take so many frames and no more, until the result is called.

    Needed since a TUN takes whatever is written.
    """
    write, left = queue.write, after

    def refuse(frame: bytes) -> None:
        nonlocal left
        if not left:
            raise BlockingIOError(errno.EAGAIN, "of the test")
        write(frame)
        left -= 1

    def open_up() -> None:
        nonlocal left
        left = -1
        if isinstance(queue, MemoryQueue):
            queue.on_writable()

    monkeypatch.setattr(queue, "direct", None)
    monkeypatch.setattr(queue, "write", refuse)
    monkeypatch.setattr(MemoryQueue, "writable", property(lambda queue: left != 0))
    return open_up


async def test_a_device_that_pushes_back_pauses_the_protocol(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_up = push_back(rig.device.queue, 3, monkeypatch)
    async with endpoint(rig.device, Recorder) as protocol:
        transport = protocol.transport
        transport.set_write_buffer_limits(high=10, low=2)
        for n in range(10):
            transport.write(packet(n))
        transport.flush()
        assert transport.get_write_buffer_size() == 7
        assert protocol.named("pause_writing") == []
        transport.writelines([packet(n) for n in range(10, 14)])
        transport.flush()
        assert len(protocol.named("pause_writing")) == 1
        transport.write(packet(14))
        transport.flush()
        assert len(protocol.named("pause_writing")) == 1  # not again
        await asyncio.sleep(0.01)
        assert protocol.named("resume_writing") == []
        open_up()
        await until(lambda: protocol.named("resume_writing"))
        assert transport.get_write_buffer_size() == 0
        assert [rig.recv() for _ in range(15)] == [packet(n) for n in range(15)]


async def test_new_limits_pause_and_resume_at_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_back(rig.device.queue, 3, monkeypatch)
    async with endpoint(rig.device, Recorder) as protocol:
        transport = protocol.transport
        transport.writelines([packet(n) for n in range(13)])
        transport.flush()
        check_limits_at_once(transport, protocol, lambda: transport.write(packet(13)))


async def test_new_limits_pause_nobody_for_what_leaves(rig: Rig) -> None:
    """What only waits for the end of the tick does not wait for the device."""
    async with endpoint(rig.device, Recorder) as protocol:
        protocol.transport.write(packet())
        protocol.transport.set_write_buffer_limits(high=0)
        assert (rig.recv(), protocol.named("pause_writing")) == (packet(), [])


async def test_close_writes_what_waits(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    open_up = push_back(rig.device.queue, 3, monkeypatch)
    async with endpoint(rig.device, Recorder) as protocol:
        protocol.transport.writelines([packet(n) for n in range(9)])
        protocol.transport.close()
        await asyncio.sleep(0.02)
        assert protocol.named("connection_lost") == []
        open_up()
        await protocol.transport.wait_closed()
        assert [rig.recv() for _ in range(9)] == [packet(n) for n in range(9)]


async def test_abort_drops_what_waits(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    push_back(rig.device.queue, 3, monkeypatch)
    async with endpoint(rig.device, Recorder) as protocol:
        transport = protocol.transport
        transport.writelines([packet(n) for n in range(9)])
        transport.flush()
        transport.writelines([packet(9), packet(10)])
        assert transport.get_write_buffer_size() == 8
        transport.abort()
        assert transport.get_write_buffer_size() == 0
        await transport.wait_closed()
        assert protocol.named("connection_lost") == [None]
        counters = transport.counters
        assert (counters.packets_sent, counters.dropped_sent) == (11, 8)
        assert counters.bytes_sent == 11 * 64


async def test_what_is_refused_is_counted_as_sent_and_dropped(rig: Rig) -> None:
    """Whoever refuses it: this transport for its size or its end, or the kernel."""
    async with endpoint(rig.device, Recorder) as protocol:
        transport, counters = protocol.transport, protocol.transport.counters
        transport.write(b"")
        transport.write(bytes(70_000))
        assert (counters.packets_sent, counters.dropped_sent, counters.bytes_sent) == (2, 2, 70_000)
        transport.write(bytes(40))  # no IP packet
        transport.flush()
        assert (counters.packets_sent, counters.dropped_sent, counters.bytes_sent) == (3, 3, 70_040)
        transport.write(packet())
        transport.close()
        transport.write(packet())
        transport.write_super(aiotun.SuperPacket(NO_OFFLOAD + packet()))
        await transport.wait_closed()
        assert (counters.packets_sent, counters.dropped_sent) == (6, 5)
        assert counters.bytes_sent == 70_040 + 3 * 64


async def test_write_buffer_limits(rig: Rig) -> None:
    async with endpoint(rig.device, Recorder) as protocol:
        check_write_buffer_limits(protocol.transport)


# The interface, changed by others.


@pytest.mark.parametrize("paused", [False, True])
async def test_deletion_ends_the_transport(rig: Rig, paused: bool) -> None:
    async with endpoint(rig.device, Recorder) as protocol:
        if paused:
            protocol.transport.pause_reading()
        rig.delete()
        await until(lambda: protocol.named("connection_lost"))
        (error,) = protocol.named("connection_lost")
        assert isinstance(error, aiotun.InterfaceGoneError)
        assert error.errno in (getattr(errno, "EBADFD", None), errno.ENODEV)
        for _ in range(2):
            with pytest.raises(aiotun.InterfaceGoneError):
                await protocol.transport.wait_closed()
        await protocol.transport.aclose()  # which is told nothing: closed is closed


async def test_deletion_noticed_by_writing(rig: Rig) -> None:
    async with endpoint(rig.device, Recorder) as protocol:
        protocol.transport.pause_reading()
        rig.delete()
        protocol.transport.write(packet())
        protocol.transport.flush()
        assert protocol.transport.is_closing()
        assert protocol.named("connection_lost") == []  # never from inside a call
        with pytest.raises(aiotun.InterfaceGoneError):
            await protocol.transport.wait_closed()
        (error,) = protocol.named("connection_lost")
        assert isinstance(error, aiotun.InterfaceGoneError)


async def test_changes_are_told_and_infos_follow(rig: Rig) -> None:
    async with endpoint(rig.device, Recorder) as protocol:
        rig.device.mtu = 1300
        address = aiotun.Address.parse("10.9.0.1/24")
        rig.device.add_address(address)
        await until(lambda: len(protocol.named("device_changed")) >= 2)
        events = protocol.named("device_changed")
        assert aiotun.interfaces.LinkChanged(rig.device.name, 1300, True) in events
        assert aiotun.interfaces.AddressAdded(address) in events
        assert protocol.transport.get_extra_info("mtu") == 1300
        assert protocol.transport.mtu == 1300


async def test_each_line_of_the_log_names_the_device_as_it_is_called_now(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "aiotun")
    old = rig.device.name
    rig.device.logger.info("%d packets", 3)
    rig.device.down()  # Linux before 6.2 renames no interface that is up
    async with endpoint(rig.device, Recorder) as protocol:
        assert protocol.transport.name == old
        rig.device.interface.set_name("renamed0")  # as another program would
        await until(lambda: protocol.transport.name == "renamed0")
        assert protocol.transport.get_extra_info("name") == "renamed0"
        rig.device.logger.info("no packets")
    assert [record.getMessage() for record in caplog.records] == [
        f"{old}: 3 packets",
        "renamed0: no packets",
    ]
    assert {record.name for record in caplog.records} == {"aiotun"}


def test_a_device_without_a_loop_says_its_name(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aiotun")
    near, far = memory_devices()
    with near, far:
        near.name = "renamed0"
        near.logger.info("no packets")
    assert caplog.messages == ["renamed0: no packets"]


async def test_extra_infos(make_rig: MakeRig) -> None:
    with make_rig(name="extra0", mtu=1400, offload=True) as rig:
        async with endpoint(rig.device, Recorder) as protocol:
            info = protocol.transport.get_extra_info
            assert info("device") is rig.device is protocol.transport.device
            assert info("name") == "extra0"
            assert info("mtu") == 1400
            assert info("offload") is rig.device.offload is (not isinstance(rig, RingRig))
            assert info("fileno") == (rig.device.fileno() if isinstance(rig, TunRig) else None)
            assert info("unknown", 7) == 7
            assert "extra0 open" in repr(protocol.transport)


# The end.


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_the_end(rig: Rig, how: str, caplog: pytest.LogCaptureFixture) -> None:
    async with endpoint(rig.device, Recorder) as protocol:
        transport = protocol.transport
        getattr(transport, how)()
        getattr(transport, how)()
        assert transport.is_closing()
        assert not transport.is_reading()
        transport.pause_reading()
        transport.resume_reading()
        assert protocol.named("connection_lost") == []
        await transport.wait_closed()
        await transport.wait_closed()
        assert protocol.named("connection_lost") == [None]
        assert "closed" in repr(transport)
        for _ in range(3):
            transport.write(packet())
        transport.write_super(aiotun.SuperPacket(NO_OFFLOAD + packet()))
        assert transport.counters.dropped_sent == 4
        assert [record.name for record in caplog.records] == ["aiotun"]  # one warning for all
        with pytest.raises(aiotun.ClosedError):
            rig.device.recv()


async def test_closing_inside_a_batch_drops_the_rest_and_counts(rig: Rig) -> None:
    async with endpoint(rig.device, Recorder) as protocol:

        def close(received: bytes) -> None:
            protocol.transport.write(packet(77))
            protocol.transport.close()

        protocol.on_packet = close
        for n in range(5):
            rig.send(packet(n))
        await until(lambda: protocol.named("connection_lost"))
        assert protocol.packets == [packet(0)]
        counters = protocol.transport.counters
        assert counters.dropped_received == counters.packets_received - 1
        assert rig.recv() == packet(77)


async def test_cancelled_wait_closed_can_be_repeated(rig: Rig) -> None:
    async with endpoint(rig.device, Recorder) as protocol:
        waiting = asyncio.ensure_future(protocol.transport.wait_closed())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        protocol.transport.close()
        await protocol.transport.wait_closed()
        assert protocol.named("connection_lost") == [None]


async def test_an_exception_in_connection_lost_does_not_keep_others_waiting(
    rig: Rig, complaints: list[dict[str, Any]]
) -> None:
    class Failing(Recorder):
        def connection_lost(self, exc: Exception | None) -> None:
            raise RuntimeError("of the test")

    async with endpoint(rig.device, Failing) as protocol:
        collect(complaints)
        protocol.transport.close()
        await protocol.transport.wait_closed()
        assert len(complaints) == 1


async def test_what_was_pushed_back_leaves_as_the_device_takes_it() -> None:
    """The queue is watched until nothing waits any more, and no longer."""
    rig = MemoryRig(capacity=1, push_back=True)
    queue = rig.device.queue
    assert isinstance(queue, MemoryQueue)
    async with endpoint(rig.device, Recorder) as protocol:
        protocol.transport.writelines([packet(n) for n in range(4)])
        protocol.transport.flush()
        for n in range(4):
            assert (await asyncio.to_thread(rig.recv), n) == (packet(n), n)
            await until(lambda n=n: protocol.transport.get_write_buffer_size() == max(2 - n, 0))  # type: ignore[misc]
        await until(lambda: queue.on_writable is nothing)
    rig.close()


async def test_a_forgotten_transport_is_closed_with_a_warning(
    make_rig: MakeRig, told_as: ToldAs
) -> None:
    with make_rig() as rig:
        transport, protocol = await aiotun.create_device_endpoint(Recorder, device=rig.device)
        transport.pause_reading()
        transport._unwatch()
        del protocol.transport
        del transport, protocol
        with told_as("unclosed transport") as told:
            await until(lambda: gc.collect() >= 0 and told)  # the loop may hold it yet
        with pytest.raises(aiotun.ClosedError):
            rig.device.recv()


async def test_a_device_has_one_transport(rig: Rig) -> None:
    async with endpoint(rig.device, Recorder) as protocol:
        with pytest.raises(aiotun.BusyError):
            await aiotun.create_device_endpoint(Recorder, device=rig.device)
        for call in (rig.device.recv, rig.device.recv_many):
            with pytest.raises(aiotun.BusyError, match="transport"):
                call(timeout=0)
        with pytest.raises(aiotun.BusyError, match="transport"):
            rig.device.send(packet())
        with pytest.raises(aiotun.BusyError, match="transport"):
            rig.device.close()
        with rig.device:
            pass
        assert not protocol.transport.is_closing()
