"""Port: what is gathered, and what goes to the transport; reading and writing in C as in Python."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import sys
import sysconfig
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import pytest
from far import Far
from finalizers import collecting_within
from packets import super_packet, tcp, udp
from rigs import BatchRecorder, Recorder, SuperRecorder, endpoint, packet, segments, until

import aiotun
from aiotun import errors
from aiotun.offload import NO_OFFLOAD, GROTable, gso_split
from aiotun.packetio import Counters
from aiotun.platforms.base import Framing
from aiotun.transports.fastpath import WRITE_BATCH, make_port

PACKETS = [packet(n) for n in range(4)]
FRAMES = [NO_OFFLOAD + packet for packet in PACKETS]
GIGABYTE = super_packet(tcp(6, bytes(32000), extensions=[(60, bytes(2046))] * 16), 1)
"""What it would become if it were split: long headers before each byte."""
SUPER_PACKET = GROTable().coalesce(segments(3))[0]


# A port alone.


class Owner:
    """A transport, and its loop: notes what it is asked."""

    def __init__(self, far: Far) -> None:
        self.asked: list[object] = []
        self.tick: list[Any] = []
        loop: Any = self
        self.port = make_port(self, loop, self.tick, far.device, self.asked.append)
        self.port.set_protocol(Recorder(), "packet_received")

    def call_soon(self, call: Callable[[], None]) -> None:
        self.asked.append("call_soon")

    def _complain(self, exc: BaseException, where: str) -> None:
        self.asked.append((str(exc), where))

    def _fail(self, exc: Exception) -> None:
        self.asked.append(exc)

    def _pushed_back(self) -> None:
        self.asked.append("pushed back")

    def _warn_late(self) -> None:
        self.asked.append("late")

    def _unused(self) -> None:
        self.asked.append("unused")


class Named(bytes):
    pass


@pytest.mark.parametrize("within", ["nothing", "a delivery", "the end"])
@pytest.mark.parametrize(
    ("data", "good"),
    [
        pytest.param(b"a", True, id="the smallest"),
        pytest.param(bytes(65535), True, id="the largest"),
        pytest.param(b"", False, id="empty"),
        pytest.param(bytes(65536), False, id="too large"),
        pytest.param(bytearray(b"a"), True, id="bytearray"),
        pytest.param(memoryview(b"a"), True, id="memoryview"),
        pytest.param(Named(b"a"), True, id="a subclass of bytes"),
    ],
)
def test_what_is_gathered(device: Far, data: bytes, good: bool, within: str) -> None:
    owner = Owner(device)
    port, tick = owner.port, owner.tick
    if within == "a delivery":
        tick.append(port)
    port.closed = within == "the end"
    for write in (port.write, lambda data: port.writelines([data])):
        write(data)
    counters = device.device.counters
    if within == "the end":
        assert (owner.asked, port.packets, counters.dropped_sent) == (["late"] * 2, [], 2)
    elif good:
        assert port.packets == [data, data]
        assert {type(packet) for packet in port.packets} == {bytes}
        assert port.due
        assert (owner.asked, tick) == (
            ([], [port, port]) if within == "a delivery" else (["call_soon"], [])
        )
    else:
        assert [type(told) for told in owner.asked] == [errors.PacketError] * 2
        assert (port.packets, port.due, counters.dropped_sent) == ([], False, 2)


def test_a_super_packet_after_the_end(device: Far) -> None:
    owner = Owner(device)
    owner.port.closed = True
    owner.port.write_super(aiotun.SuperPacket(SUPER_PACKET))
    assert (owner.asked, device.recv()) == (["late", "unused"], [])
    assert device.device.counters.dropped_sent == 3


@pytest.mark.parametrize("wrong", [1, "text", None, [b"a"]])
def test_what_is_no_bytes(device: Far, wrong: Any) -> None:
    port = Owner(device).port
    for closed in (False, True):
        port.closed = closed
        for write in (port.write, lambda data: port.writelines([b"good", data])):
            with pytest.raises(TypeError, match="a packet is bytes"):
                write(wrong)
    assert port.packets == [b"good"]


def test_enough_is_flushed_at_once(device: Far) -> None:
    port = Owner(device).port
    batch = [packet(n) for n in range(WRITE_BATCH)]
    port.writelines(batch[:-1])
    assert (device.recv(), len(port.packets)) == ([], WRITE_BATCH - 1)
    port.write(batch[-1])
    assert device.recv() == [NO_OFFLOAD + each for each in batch]
    assert port.packets == []


def test_writelines_takes_what_came_before_an_error(device: Far) -> None:
    def some() -> Iterator[bytes]:
        yield PACKETS[0]
        raise RuntimeError("of the test")

    port = Owner(device).port
    with pytest.raises(RuntimeError, match="of the test"):
        port.writelines(some())
    with pytest.raises(TypeError):
        port.writelines(1)  # type: ignore[arg-type]
    assert port.packets == PACKETS[:1]


def test_it_is_collected_with_its_owner(device: Far) -> None:
    owner = Owner(device)
    owner.port.target = owner.port
    owner.port.set_protocol(owner, "packet_received")
    owner.port.target = owner.port
    collected = weakref.ref(owner)
    del owner
    gc.collect()
    assert collected() is None


# Behind a transport.


async def test_what_a_delivery_wrote_leaves_with_it(device: Far) -> None:
    """To whatever device, and not in the loop's next turn."""
    with contextlib.closing(Far()) as elsewhere:
        async with (
            endpoint(device.device, Recorder) as here,
            endpoint(elsewhere.device, Recorder) as there,
        ):
            await asyncio.sleep(0)

            def answer(received: bytes) -> None:
                for protocol in (here, there):
                    protocol.transport.write(received)
                assert (device.recv(), elsewhere.recv()) == ([], [])

            here.on_packet = answer
            device.send(*PACKETS)
            device.put(SUPER_PACKET)
            here.transport._port.read_ready()
            assert here.packets == [*PACKETS, *segments(3)]
            assert device.recv() == elsewhere.recv() == [*FRAMES, SUPER_PACKET]
            assert here.transport.counters == Counters(
                frames_received=5,
                super_packets_received=1,
                packets_received=7,
                bytes_received=4 * 64 + 3 * 1040,
                packets_sent=7,
                bytes_sent=4 * 64 + 3 * 1040,
                frames_sent=5,
                super_packets_sent=1,
            )
            assert there.transport.counters.packets_sent == 7


def needs_super_packets(far: Far) -> None:
    if not far.device.tcp_offload:
        pytest.skip("a ring has no super-packets")


IN_FRONT: dict[Framing, bytes] = {
    "none": b"",
    "pi": bytes((0, 0, 8, 0)),
    "family": socket.AF_INET.to_bytes(4, "big"),
}


@pytest.mark.parametrize("framing", IN_FRONT)
@pytest.mark.parametrize("factory", [Recorder, BatchRecorder, SuperRecorder])
async def test_without_offload(device: Far, factory: type[Recorder], framing: Framing) -> None:
    with contextlib.closing(Far(framing)) as far:
        async with endpoint(far.device, factory) as protocol:
            await asyncio.sleep(0)
            protocol.on_packet = lambda received: protocol.transport.write(received)
            sent = [IN_FRONT[framing] + each for each in PACKETS]
            for each in sent:
                far.put(each)
            protocol.transport._port.read_ready()
            assert protocol.packets == PACKETS
            assert far.recv() == sent
            counters = protocol.transport.counters
            assert counters.packets_received == counters.frames_sent == 4
            assert counters.bytes_received == counters.bytes_sent == 4 * 64


@pytest.mark.parametrize("framing", ["pi", "family"])
async def test_both_families(device: Far, framing: Framing) -> None:
    """And what is neither is refused alone, like a frame that ends in its family."""
    six = udp(6, b"data")
    with contextlib.closing(Far(framing)) as far:
        async with endpoint(far.device, Recorder) as protocol:
            await asyncio.sleep(0)
            protocol.transport.writelines([PACKETS[0], b"xyz", six])
            protocol.transport.flush()
            number = {"pi": 0x86DD, "family": socket.AF_INET6}[framing]
            assert far.recv() == [IN_FRONT[framing] + PACKETS[0], number.to_bytes(4, "big") + six]
            assert [type(told) for told in protocol.named("error_received")] == [errors.PacketError]
            assert protocol.transport.counters.dropped_sent == 1
            for frame in (b"\0\0", b"\0\0\0\0", IN_FRONT[framing] + PACKETS[0]):
                far.put(frame)
            read_frames(protocol.transport, 3)
            assert protocol.packets == [PACKETS[0]]
            assert len(protocol.named("error_received")) == 3
            assert protocol.transport.counters.dropped_received == 2


async def test_super_packets_pass_in_order(device: Far) -> None:
    class Echo(SuperRecorder):
        def super_packets_received(self, packets: list[aiotun.SuperPacket]) -> None:
            for each in packets:
                self.transport.write(PACKETS[0])
                self.transport.write_super(each)

    async with endpoint(device.device, Echo) as protocol:
        await asyncio.sleep(0)
        device.send(PACKETS[1])
        device.put(SUPER_PACKET)
        protocol.transport._port.read_ready()
        assert device.recv() == [FRAMES[0], FRAMES[1], FRAMES[0], SUPER_PACKET]
        with pytest.raises(aiotun.OffloadError):
            protocol.transport.write_super(aiotun.SuperPacket(b"short"))
        counters = protocol.transport.counters
        assert (counters.super_packets_received, counters.super_packets_sent) == (1, 1)
        assert (counters.packets_received, counters.packets_sent) == (4, 6)
        assert counters.frames_sent == 4


@pytest.mark.parametrize("last", [6, 2])
async def test_one_wake_up_passes_many_large_super_packets(device: Far, last: int) -> None:
    """As far as the protocol takes them: however many batches they come in, none is lost."""
    needs_super_packets(device)
    packets = [packet(n, 34_000) for n in range(6)]

    class Some(SuperRecorder):
        def super_packets_received(self, batch: list[aiotun.SuperPacket]) -> None:
            super().super_packets_received(batch)
            if len(self.packets) >= last:
                self.transport.pause_reading()

    async with endpoint(device.device, Some) as protocol:
        await asyncio.sleep(0)
        device.send(*packets)
        protocol.transport._port.read_ready()
        received = len(protocol.packets)
        assert received == protocol.transport.counters.frames_received
        assert last <= received
        assert protocol.packets == packets[:received]
        protocol.transport.resume_reading()
        await until(lambda: len(protocol.packets) == 6)
        assert protocol.packets == packets


@pytest.mark.requires("native")
async def test_one_delivery_has_all_that_waits_for_a_protocol_of_super_packets() -> None:
    """Those for one place leave together then, however many others come between them."""
    packets = [packet(n) for n in range(150)]
    with contextlib.closing(Far()) as far:
        needs_super_packets(far)
        async with endpoint(far.device, SuperRecorder) as protocol:
            await asyncio.sleep(0)
            far.send(*packets)
            protocol.transport._port.read_ready()
            assert list(map(len, protocol.named("super_packets_received"))) == [150]
            assert protocol.packets == packets


@pytest.mark.requires("native")
async def test_one_wake_up_splits_several_batches_of_super_packets() -> None:
    """Some, and not all that waits."""
    frame = super_packet(tcp(payload=bytes(40_000)), 1000)
    with contextlib.closing(Far()) as far:
        async with endpoint(far.device, BatchRecorder) as protocol:
            await asyncio.sleep(0)
            for _ in range(16):
                far.put(frame)
            protocol.transport._port.read_ready()
            assert [len(batch) for batch in protocol.named("packets_received")] == [160] * 3
            await until(lambda: len(protocol.packets) == 16 * 40)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
async def test_an_exception_amid_a_delivery(device: Far, error: type[BaseException]) -> None:
    """It costs its packet alone; the others' answers leave."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, told: complaints.append(told))

    def answer(received: bytes) -> None:
        if received == PACKETS[1]:
            raise error
        protocol.transport.write(received)

    async with endpoint(device.device, Recorder) as protocol:
        await asyncio.sleep(0)
        protocol.on_packet = answer
        device.send(*PACKETS)
        if error is KeyboardInterrupt:  # it leaves the loop, which may run again
            with pytest.raises(KeyboardInterrupt):
                protocol.transport._port.read_ready()
            assert device.recv() == FRAMES[:1]
            protocol.transport._port.read_ready()
            assert (device.recv(), complaints) == (FRAMES[2:], [])
        else:
            protocol.transport._port.read_ready()
            assert device.recv() == [FRAMES[0], *FRAMES[2:]]
            assert [type(told["exception"]) for told in complaints] == [error]
        assert protocol.packets == PACKETS


async def test_pausing_amid_a_delivery(device: Far) -> None:
    async with endpoint(device.device, Recorder) as protocol:
        transport = protocol.transport
        await asyncio.sleep(0)
        protocol.on_packet = lambda received: transport.pause_reading()
        device.send(*PACKETS)
        transport._port.read_ready()
        assert protocol.packets == PACKETS[:1]
        transport._port.read_ready()
        assert protocol.packets == PACKETS[:1]
        protocol.on_packet = lambda received: None
        transport.resume_reading()
        await until(lambda: protocol.packets == PACKETS)


@pytest.mark.parametrize("factory", [Recorder, BatchRecorder, SuperRecorder])
async def test_another_protocol_amid_a_delivery(device: Far, factory: type[Recorder]) -> None:
    async with endpoint(device.device, Recorder) as first:
        await asyncio.sleep(0)
        second = factory()
        first.on_packet = lambda received: first.transport.set_protocol(second)
        device.send(*PACKETS)
        first.transport._port.read_ready()
        assert (first.packets, second.packets) == (PACKETS[:1], PACKETS[1:])


@pytest.mark.usefixtures("device")
async def test_another_protocol_amid_a_read() -> None:
    """It gets packets, though super-packets were read for the one before it."""
    with contextlib.closing(Far("pi")) as far:
        async with endpoint(far.device, SuperRecorder) as first:
            await asyncio.sleep(0)
            second = Recorder()
            first.error_received = lambda exc: first.transport.set_protocol(second)  # type: ignore[method-assign]
            for frame in (IN_FRONT["pi"] + PACKETS[0], b"\0\0"):
                far.put(frame)
            first.transport._port.read_ready()
            assert second.packets == PACKETS[:1]


async def test_closing_amid_a_delivery(device: Far) -> None:
    """Nothing is delivered or written any more; the rest is counted."""

    def close(received: bytes) -> None:
        protocol.transport.write(received)
        protocol.transport.close()
        protocol.transport.write(received)

    async with endpoint(device.device, Recorder) as protocol:
        await asyncio.sleep(0)
        protocol.on_packet = close
        device.send(*PACKETS)
        protocol.transport._port.read_ready()
        assert (protocol.packets, device.recv()) == (PACKETS[:1], FRAMES[:1])
        await protocol.transport.wait_closed()
        counters = protocol.transport.counters
        assert (counters.dropped_received, counters.dropped_sent) == (3, 1)


async def test_a_malformed_frame_at_whose_report_reading_pauses(device: Far) -> None:
    async with endpoint(device.device, BatchRecorder) as protocol:
        protocol.error_received = lambda exc: protocol.transport.pause_reading()  # type: ignore[method-assign]
        device.send(PACKETS[0])
        device.put(b"\0\1malformed")
        protocol.transport._port.read_ready()
        assert protocol.packets == []
        protocol.transport.resume_reading()
        await until(lambda: protocol.packets == PACKETS[:1])


async def test_a_malformed_frame_at_whose_report_the_protocol_is_replaced(device: Far) -> None:
    async with endpoint(device.device, BatchRecorder) as protocol:
        other = SuperRecorder()
        protocol.error_received = lambda exc: protocol.transport.set_protocol(other)  # type: ignore[method-assign]
        device.send(PACKETS[0])
        device.put(b"\0\1malformed")
        protocol.transport._port.read_ready()
        assert [each.packet for each in other.super_packets] == PACKETS[:1]


@pytest.mark.parametrize("malformed", [b"\0\1malformed", GIGABYTE], ids=["short", "a gigabyte"])
async def test_a_malformed_frame_amid_others(device: Far, malformed: bytes) -> None:
    async with endpoint(device.device, Recorder) as protocol:
        await asyncio.sleep(0)
        device.send(PACKETS[0])
        device.put(malformed)
        device.send(PACKETS[1])
        protocol.transport._port.read_ready()
        protocol.transport._port.read_ready()
        assert protocol.packets == PACKETS[:2]
        (told,) = protocol.named("error_received")
        assert isinstance(told, aiotun.OffloadError)
        counters = protocol.transport.counters
        assert (counters.frames_received, counters.dropped_received) == (3, 1)


@pytest.mark.parametrize("factory", [Recorder, BatchRecorder, SuperRecorder])
async def test_a_frame_that_ends_within_its_header(device: Far, factory: type[Recorder]) -> None:
    """It counts no bytes, and not less than none."""
    async with endpoint(device.device, factory) as protocol:
        await asyncio.sleep(0)
        transport = protocol.transport
        for frame, size in ((b"short", 0), (FRAMES[0], 64)):
            device.put(frame)
            transport._port.read_ready()
            assert transport.counters.bytes_received == size
        assert not transport.is_closing()


async def test_what_the_device_does_not_take_waits_in_order(device: Far) -> None:
    needs_super_packets(device)
    large = [packet(n, 60_000) for n in range(40)]

    def answer(received: bytes) -> None:
        for each in large:
            protocol.transport.write(each)

    async with endpoint(device.device, Recorder) as protocol:
        await asyncio.sleep(0)
        protocol.on_packet = answer
        device.send(PACKETS[0])
        protocol.transport._port.read_ready()
        waiting = protocol.transport.get_write_buffer_size()
        assert 0 < waiting < 40
        protocol.transport.write(PACKETS[1])
        protocol.transport.write_super(aiotun.SuperPacket(SUPER_PACKET))
        protocol.transport.write(PACKETS[2])
        protocol.transport.flush()
        assert protocol.transport.get_write_buffer_size() == waiting + 3
        received: list[bytes] = []

        def all_came() -> bool:
            received.extend(device.recv())
            return len(received) == 43

        await until(all_came)
        assert received == [
            *(NO_OFFLOAD + each for each in large),
            *(FRAMES[1], SUPER_PACKET, FRAMES[2]),
        ]
        counters = protocol.transport.counters
        assert (counters.packets_sent, counters.frames_sent) == (45, 43)
        assert counters.super_packets_sent == 1


async def at_any_time(attempt: Callable[[int, int], Awaitable[bool]]) -> None:
    """Let a finalizer act in the first collection within a call, in the second, and so on.

    The attempt says whether it acted before the call had ended.
    """
    if sys.gettrace() is not None:
        pytest.skip("a tracer lets Python collect between any two lines, where else it does not")
    if (3, 14) <= sys.version_info < (3, 14, 5):
        pytest.skip("the collector of 3.14.0 to 3.14.4, which is incremental, may put it off")
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("Python collects here only when a quarter of all objects is new")
    for every in (1, 2):
        after = 0
        while await attempt(after, every):
            after += 1
        assert after


@pytest.mark.parametrize(
    "act", ["write", "flush", "write elsewhere", "pause_reading", "close", "set_protocol"]
)
@pytest.mark.usefixtures("device")
async def test_a_finalizer_within_a_delivery(act: str) -> None:
    """Whenever it acts: all is delivered in order, all that was written leaves."""
    await at_any_time(partial(deliver_with_a_finalizer, act))


async def deliver_with_a_finalizer(act: str, after: int, every: int) -> bool:
    with contextlib.closing(Far()) as device, contextlib.closing(Far()) as elsewhere:
        async with (
            endpoint(device.device, Recorder) as protocol,
            endpoint(elsewhere.device, Recorder) as other,
        ):
            await asyncio.sleep(0)
            transport = protocol.transport
            second = Recorder()
            protocol.on_packet = second.on_packet = transport.write
            write = partial(transport.write, PACKETS[0])
            acts: dict[str, list[Callable[[], object]]] = {
                "write": [write],
                "flush": [write, transport.flush],
                "write elsewhere": [partial(other.transport.write, PACKETS[0])],
                "pause_reading": [transport.pause_reading],
                "close": [transport.close],
                "set_protocol": [partial(transport.set_protocol, second)],
            }
            before: list[int] = []
            within: list[int] = []

            def deliver() -> None:
                transport._port.read_ready()
                within.extend(before)

            device.send(*PACKETS)
            noting = [lambda: before.append(len(protocol.packets)), *acts[act]]
            collecting_within(deliver, noting, after, every)
            if within and act in ("pause_reading", "close", "set_protocol"):
                assert len(protocol.packets) <= within[0] + 1  # that one was on its way
            transport.resume_reading()
            if act == "close":
                await transport.wait_closed()
            else:
                await until(lambda: len(protocol.packets + second.packets) == 4)
                await asyncio.sleep(0)
                transport.write(PACKETS[0])  # nothing keeps it from leaving
                await asyncio.sleep(0)
            received = protocol.packets + second.packets
            assert received == PACKETS[: len(received)]
            written = len(received) + (act in ("write", "flush")) + (act != "close")
            assert len(device.recv()) == written - transport.counters.dropped_sent
            assert len(elsewhere.recv()) == (act == "write elsewhere")
            return bool(within)


@pytest.mark.parametrize("act", ["write", "flush", "close"])
async def test_a_finalizer_within_a_flush(device: Far, act: str) -> None:
    async with endpoint(device.device, Recorder) as protocol:
        transport = protocol.transport
        acts = {"write": [], "flush": [transport.flush], "close": [transport.close]}
        for each in PACKETS[:2]:
            transport.write(each)
        collecting_within(
            transport._port._end_of_tick, [partial(transport.write, PACKETS[2]), *acts[act]]
        )
        await asyncio.sleep(0)
        assert sorted(device.recv()) == FRAMES[:3]


async def test_what_a_protocol_appends_to_its_batch_is_its_own(device: Far) -> None:
    class Appending(BatchRecorder):
        def packets_received(self, packets: list[bytes]) -> None:
            super().packets_received(packets.copy())
            packets.append(b"of the protocol")

    async with endpoint(device.device, Appending) as protocol:
        await asyncio.sleep(0)
        for sent in PACKETS[:2]:
            device.send(sent)
            protocol.transport._port.read_ready()
        assert protocol.named("packets_received") == [[PACKETS[0]], [PACKETS[1]]]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
async def test_all_are_flushed_whatever_two_of_them_raise(
    device: Far, error: type[BaseException]
) -> None:
    class Leaving(Recorder):
        def error_received(self, exc: Exception) -> None:
            super().error_received(exc)
            raise error

    with contextlib.closing(Far()) as second, contextlib.closing(Far()) as third:
        async with (
            endpoint(device.device, Leaving) as one,
            endpoint(second.device, Leaving) as two,
            endpoint(third.device, Recorder) as last,
        ):
            await asyncio.sleep(0)
            for far in (device, second):
                far.refuse()

            def answer(received: bytes) -> None:
                for protocol in (one, two, last):
                    protocol.transport.write(received)

            last.on_packet = answer
            third.send(PACKETS[0])
            with pytest.raises(error):
                last.transport._port.read_ready()
            assert len(one.named("error_received")) == len(two.named("error_received")) == 1
            assert third.recv() == FRAMES[:1]


async def test_an_exit_that_comes_twice_is_no_context_of_its_own(device: Far) -> None:
    leaving = KeyboardInterrupt()

    class Leaving(Recorder):
        def packet_received(self, packet: bytes) -> None:
            self.transport.write(packet)
            raise leaving

        def error_received(self, exc: Exception) -> None:
            raise leaving

    async with endpoint(device.device, Leaving) as protocol:
        await asyncio.sleep(0)
        device.send(PACKETS[0])
        device.refuse()
        with pytest.raises(KeyboardInterrupt) as caught:
            protocol.transport._port.read_ready()
        assert caught.value is leaving
        assert caught.value.__context__ is not leaving


async def test_an_exit_amid_a_delivery_and_another_at_its_end(device: Far) -> None:
    class Leaving(Recorder):
        def packet_received(self, packet: bytes) -> None:
            self.transport.write(packet)
            raise KeyboardInterrupt

        def error_received(self, exc: Exception) -> None:
            try:
                raise exc
            except Exception:
                raise SystemExit from None

    async with endpoint(device.device, Leaving) as protocol:
        await asyncio.sleep(0)
        device.send(PACKETS[0])
        device.refuse()
        with pytest.raises(SystemExit) as caught:
            protocol.transport._port.read_ready()
        refused = caught.value.__context__
        assert isinstance(refused, OSError)
        first: BaseException = refused
        while first.__context__ is not None:
            first = first.__context__
        assert isinstance(first, KeyboardInterrupt)


# Relayed: the native port passes frames on without the protocol.


@contextlib.asynccontextmanager
async def relayed(here: Far, there: Far) -> AsyncIterator[list[aiotun.PacketTransport]]:
    """Both transports. Each is to be read by its port, as the loop has no turn meanwhile."""
    async with (
        endpoint(here.device, Recorder) as near,
        endpoint(there.device, Recorder) as far,
    ):
        transports = [near.transport, far.transport]
        relaying = asyncio.ensure_future(aiotun.relay(*transports))
        await asyncio.sleep(0.01)
        yield transports
        relaying.cancel()
        await asyncio.wait([relaying])


async def test_what_is_relayed_is_counted_on_both_sides(device: Far) -> None:
    with contextlib.closing(Far()) as elsewhere:
        async with relayed(device, elsewhere) as (near, far):
            device.send(*PACKETS)
            device.put(SUPER_PACKET)
            near._port.read_ready()
            assert elsewhere.recv() == [*FRAMES, SUPER_PACKET]
            size = sum(map(len, [*PACKETS, *segments(3)]))
            assert near.counters == Counters(
                frames_received=5, super_packets_received=1, packets_received=7, bytes_received=size
            )
            assert far.counters == Counters(
                packets_sent=7, bytes_sent=size, frames_sent=5, super_packets_sent=1
            )
            elsewhere.send(PACKETS[3])
            far._port.read_ready()
            assert device.recv() == [FRAMES[3]]


async def test_what_is_relayed_without_offload(device: Far) -> None:
    """What the other kernel refuses is reported there, as if the protocol had written it."""
    with contextlib.closing(Far("none")) as here, contextlib.closing(Far("none")) as there:
        async with relayed(here, there) as (near, far):
            for each in PACKETS:
                here.put(each)
            near._port.read_ready()
            assert there.recv() == PACKETS
            assert near.counters == Counters(
                frames_received=4, packets_received=4, bytes_received=4 * 64
            )
            assert far.counters == Counters(packets_sent=4, frames_sent=4, bytes_sent=4 * 64)
            there.put(PACKETS[3])
            far._port.read_ready()
            assert here.recv() == [PACKETS[3]]
            there.refuse()
            here.put(PACKETS[0])
            near._port.read_ready()
            protocol = far.get_protocol()._replaced  # type: ignore[attr-defined]
            assert [type(exc) for exc in protocol.named("error_received")] == [OSError]
            assert far.counters.dropped_sent == 1


def read_frames(transport: Any, count: int) -> None:
    """Read them all, with a wake-up for each: one that is not plain may end a wake-up."""
    for _ in range(count):
        transport._port.read_ready()
    assert transport.counters.frames_received == count


@pytest.mark.usefixtures("device")
async def test_a_finalizer_that_ends_a_relay() -> None:
    await at_any_time(relay_with_a_finalizer)


async def relay_with_a_finalizer(after: int, every: int) -> bool:
    """What was read before may be relayed still, in order, and nothing that comes later."""
    with contextlib.closing(Far()) as device, contextlib.closing(Far()) as elsewhere:
        async with relayed(device, elsewhere) as (near, far):
            recorder = SuperRecorder()
            acted: list[bool] = []
            within: list[bool] = []

            def read() -> None:
                near._port.read_ready()
                within.extend(acted)

            device.send(*PACKETS[:3])
            acts = [partial(near.set_protocol, recorder), partial(acted.append, True)]
            collecting_within(read, acts, after, every)
            device.send(PACKETS[3])
            await until(lambda: len(recorder.packets) + far.counters.packets_sent == 4)
            relayed_on = elsewhere.recv()
            assert relayed_on == FRAMES[: len(relayed_on)]
            assert recorder.packets == PACKETS[len(relayed_on) :] != []
            return bool(within)


async def test_a_frame_that_cannot_be_relayed(device: Far) -> None:
    with contextlib.closing(Far()) as elsewhere:
        async with relayed(device, elsewhere) as (near, far):
            for frame in (FRAMES[0], b"\0\1malformed", b"short", FRAMES[1]):
                device.put(frame)
            read_frames(near, 4)
            assert elsewhere.recv() == FRAMES[:2]
            protocol = near.get_protocol()._replaced  # type: ignore[attr-defined]
            told = [type(exc) for exc in protocol.named("error_received")]
            assert told == [aiotun.errors.FrameHeaderError, aiotun.errors.FrameTooShortError]
            assert (near.counters.packets_received, near.counters.bytes_received) == (4, 129)
            assert (far.counters.packets_sent, far.counters.frames_sent) == (2, 2)


async def test_tcp_behind_extension_headers_is_relayed_in_packets(device: Far) -> None:
    """Linux 6.12 and later lose such super-packets where they forward them."""
    options = [(60, b"\x01\x04\0\0\0\0")]
    frame = super_packet(tcp(6, bytes(3000), extensions=options), 1000)
    with contextlib.closing(Far()) as elsewhere:
        async with relayed(device, elsewhere) as (near, far):
            for each in (FRAMES[0], frame, SUPER_PACKET):
                device.put(each)
            read_frames(near, 3)
            split = [NO_OFFLOAD + packet for packet in gso_split(frame)]
            assert elsewhere.recv() == [FRAMES[0], *split, SUPER_PACKET]
            assert near.counters.packets_received == far.counters.packets_sent == 7


async def test_relayed_to_where_another_offload_is_lacking(device: Far) -> None:
    with contextlib.closing(Far("none")) as elsewhere:
        async with relayed(device, elsewhere) as (near, far):
            device.put(SUPER_PACKET)
            near._port.read_ready()
            assert elsewhere.recv() == segments(3)
            elsewhere.put(PACKETS[0])
            far._port.read_ready()
            assert device.recv() == [FRAMES[0]]


async def test_relayed_once_the_kernel_refused_an_offload(device: Far) -> None:
    with contextlib.closing(Far()) as elsewhere:
        async with relayed(device, elsewhere) as (near, far):
            far._port.writer.table.tcp = False
            udp = GROTable().coalesce(segments(3, "udp"))
            device.put(SUPER_PACKET)
            device.put(udp[0])
            read_frames(near, 2)
            assert elsewhere.recv() == [*(NO_OFFLOAD + each for each in segments(3)), *udp]


async def test_nothing_relayed_overtakes_what_was_written(device: Far) -> None:
    with contextlib.closing(Far()) as elsewhere:
        async with relayed(device, elsewhere) as (near, far):
            far.write(PACKETS[0])
            device.send(*PACKETS[1:])
            near._port.read_ready()
            assert elsewhere.recv() == FRAMES


async def test_nothing_relayed_overtakes_what_waits(device: Far) -> None:
    large = [packet(n, 60_000) for n in range(40)]
    with contextlib.closing(Far()) as elsewhere:
        async with relayed(device, elsewhere) as (near, far):
            for each in large:
                device.send(each)
                near._port.read_ready()
            assert far.get_write_buffer_size()
            received = elsewhere.recv()  # there is room, of which the loop does not know yet
            device.send(PACKETS[0])
            near._port.read_ready()

            def all_came() -> bool:
                received.extend(elsewhere.recv())
                return len(received) == 41

            await until(all_came)
            assert received == [NO_OFFLOAD + each for each in [*large, PACKETS[0]]]


async def test_nothing_is_relayed_to_a_device_that_was_closed_within_a_call(device: Far) -> None:
    with contextlib.closing(Far()) as elsewhere:
        async with relayed(device, elsewhere) as (near, far):
            far._port.uses += 1
            far.close()
            device.send(PACKETS[0])
            near._port.read_ready()
            received = elsewhere.recv()
            far._port._leave()
            assert received == []
            assert far.counters.dropped_sent == 1


async def test_what_is_relayed_waits_in_order(device: Far) -> None:
    large = [packet(n, 60_000) for n in range(40)]
    with contextlib.closing(Far()) as elsewhere:
        async with relayed(device, elsewhere) as (near, far):
            received: list[bytes] = []

            def all_came() -> bool:
                received.extend(elsewhere.recv())
                return len(received) == 40

            for each in large:
                device.send(each)
                near._port.read_ready()
            assert 0 < far.get_write_buffer_size() < 40
            await until(all_came)
            assert received == [NO_OFFLOAD + each for each in large]
            assert far.counters.frames_sent == 40


async def test_a_relay_that_ended_passes_nothing_on(device: Far) -> None:
    with contextlib.closing(Far()) as elsewhere:
        async with (
            endpoint(device.device, Recorder) as near,
            endpoint(elsewhere.device, Recorder) as far,
        ):
            relaying = asyncio.ensure_future(aiotun.relay(near.transport, far.transport))
            await asyncio.sleep(0.01)
            relaying.cancel()
            await asyncio.wait([relaying])
            device.send(*PACKETS)
            await until(lambda: near.packets == PACKETS)
            assert elsewhere.recv() == []
