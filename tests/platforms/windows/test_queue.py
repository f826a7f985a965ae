"""The rings of a device: full, empty, broken, closed under way, from several threads."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import asyncio
import contextlib
import functools
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from rigs import BatchRecorder, Recorder, endpoint, packet, until
from standin import Far, StandIn, configured, in_thread
from striking import until_struck
from waiting import wait_until

import aiotun
from aiotun.errors import ClosedError, InterfaceDownError, InterfaceGoneError, InterruptError
from aiotun.packetio import READ_BATCH
from aiotun.transports.fastpath import Port

RING = 0x20000
"""The smallest, so that few packets fill it."""


@pytest.fixture
def device(standin: StandIn) -> Iterator[aiotun.Device]:
    with aiotun.Device(**configured(windows={"ring_capacity": RING})) as device:
        yield device


@pytest.fixture
def far(standin: StandIn, device: aiotun.Device) -> Far:
    return Far(standin, device.name)


@pytest.fixture(params=["native", "python"])
def either_port(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ring is read and written by the native module, or by ctypes."""
    if request.param == "python":
        monkeypatch.setattr("aiotun.packetio.native", None)
        monkeypatch.setattr("aiotun.transports.fastpath.native", None)


@pytest.mark.usefixtures("either_port")
def test_packets_of_all_sizes_come_whole_and_in_order(device: aiotun.Device, far: Far) -> None:
    sizes = [24, 25, 1500, 65535, 27, 9000, 64] * 20  # several times round the ring
    for number, size in enumerate(sizes):
        assert far.push(packet(number, size))
        assert device.recv(timeout=1) == packet(number, size)
        device.send(packet(number, size))
        assert far.pull(1) == packet(number, size)


@pytest.mark.usefixtures("either_port")
def test_a_ring_that_is_full_makes_the_sender_wait(device: aiotun.Device, far: Far) -> None:
    packets = [packet(number, 1400) for number in range(300)]  # more than three rings
    with pytest.raises(TimeoutError):
        device.send_many(packets[:150], timeout=0.05)
    lost = device.counters.dropped_sent
    got = [far.pull() for _ in range(150 - lost)]
    assert got == packets[: len(got)]
    thread, results = in_thread(lambda: device.send_many(packets, timeout=10))
    assert [far.pull(2) for _ in packets] == packets
    thread.join()
    assert results == [None]


@pytest.mark.usefixtures("either_port")
async def test_a_ring_that_is_full_pauses_the_protocol(device: aiotun.Device, far: Far) -> None:
    async with endpoint(device, Recorder) as protocol:
        transport = protocol.transport
        transport.set_write_buffer_limits(high=10)
        packets = [packet(number, 1400) for number in range(300)]
        transport.writelines(packets)
        transport.flush()
        assert len(protocol.named("pause_writing")) == 1
        got = []
        for _ in packets:
            while True:
                try:
                    got.append(far.pull())
                    break
                except TimeoutError:
                    await asyncio.sleep(0.001)
        assert got == packets
        await until(lambda: protocol.named("resume_writing"))
        assert transport.counters.dropped_sent == 0


async def test_ring_memory_is_given_back_though_the_protocol_raises(
    device: aiotun.Device, far: Far
) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    async with endpoint(device, BatchRecorder) as protocol:

        def fail(received: bytes) -> None:
            raise RuntimeError("of the test")

        protocol.on_packet = fail
        sent = 0
        for number in range(500):  # five rings
            await until(functools.partial(far.push, packet(number, 1400)))
            sent += 1
        await until(lambda: protocol.transport.counters.frames_received == sent)


@pytest.mark.usefixtures("either_port")
@pytest.mark.parametrize("end", ["abort", "close"])
async def test_ring_memory_is_given_back_at_an_end_within_a_batch(
    device: aiotun.Device, far: Far, end: str
) -> None:
    for number in range(READ_BATCH):
        assert far.push(packet(number))
    async with endpoint(device, Recorder) as protocol:
        protocol.on_packet = lambda received: getattr(protocol.transport, end)()
        await until(lambda: protocol.named("connection_lost"))
    assert protocol.packets == [packet(0)]
    assert far.call("Kept") == 0


async def test_reading_goes_on_behind_a_pause(device: aiotun.Device, far: Far) -> None:
    async with endpoint(device, Recorder) as protocol:
        protocol.transport.pause_reading()
        pushed = 0
        while far.push(packet(pushed)):
            pushed += 1
        assert pushed > 10 * READ_BATCH  # so that it takes many turns
        await asyncio.sleep(0.05)
        assert protocol.packets == []
        protocol.transport.resume_reading()
        await until(lambda: len(protocol.packets) == pushed)
        assert far.push(packet(7))
        await until(lambda: protocol.packets[-1] == packet(7))


async def test_no_packet_waits_for_the_next(device: aiotun.Device, far: Far) -> None:
    """The event is reset by whoever is woken: who forgets to look again loses one."""
    async with endpoint(device, Recorder) as protocol:
        for number in range(300):
            far.push(packet(number))
            if number % 3:
                await asyncio.sleep(0)
            if number % 7 == 0:
                await until(lambda: protocol.packets[-1:] == [packet(number)])  # noqa: B023
        await until(lambda: len(protocol.packets) == 300)
        assert protocol.packets == [packet(number) for number in range(300)]


async def test_the_port_reads_the_ring_in_c(device: aiotun.Device, far: Far) -> None:
    far.push(packet(0))
    assert device.wait_readable(timeout=1)
    async with endpoint(device, Recorder) as protocol:  # a packet was taken out already
        assert type(protocol.transport._port) is Port
        far.push(packet(1))
        await until(lambda: protocol.packets == [packet(0), packet(1)])


def test_waiting(device: aiotun.Device, far: Far) -> None:
    begin = time.monotonic()
    assert not device.wait_readable(timeout=0.1)
    with pytest.raises(TimeoutError):
        device.recv(timeout=0.1)
    with pytest.raises(TimeoutError):
        device.recv(timeout=0)
    assert time.monotonic() - begin > 0.15
    thread, results = in_thread(device.recv)
    time.sleep(0.05)
    far.push(packet(1))
    thread.join()
    assert results == [packet(1)]
    far.push(packet(2))
    assert device.wait_readable(timeout=0)
    assert device.wait_readable(timeout=0)
    assert device.recv(timeout=0) == packet(2)
    assert device.wait_writable(timeout=0)


def test_several_threads_receive(device: aiotun.Device, far: Far) -> None:
    results: list[bytes] = []

    def receive() -> None:
        while True:
            try:
                results.append(device.recv())
            except ClosedError:
                return

    threads = [in_thread(receive)[0] for _ in range(4)]
    for number in range(400):
        while not far.push(packet(number)):
            time.sleep(0.001)
    wait_until(lambda: len(results) >= 400)
    assert sorted(results) == [packet(number) for number in range(400)]
    device.shutdown()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


def test_an_interrupt_ends_the_wait(device: aiotun.Device) -> None:
    with aiotun.Interrupt() as interrupt:
        thread, results = in_thread(lambda: device.recv(interrupt=interrupt))
        time.sleep(0.05)
        interrupt.set("enough")
        thread.join(5)
        assert isinstance(results[0], InterruptError)
        assert results[0].value == "enough"
        with pytest.raises(InterruptError):
            device.recv(interrupt=interrupt)
        interrupt.clear()
        with pytest.raises(TimeoutError):
            device.recv(timeout=0.05, interrupt=interrupt)


def test_shutdown_and_close_end_the_wait(device: aiotun.Device) -> None:
    thread, results = in_thread(device.recv)
    time.sleep(0.05)
    device.close()
    thread.join(5)
    assert isinstance(results[0], ClosedError)


def test_down_and_up_while_others_wait(device: aiotun.Device, far: Far) -> None:
    thread, results = in_thread(device.recv)
    for _ in range(5):
        time.sleep(0.02)
        device.down()
        assert not device.is_up
        with pytest.raises(InterfaceDownError):
            device.send(packet())
        device.up()
    far.push(packet(5))
    thread.join(5)
    assert results == [packet(5)]
    device.send(packet(6))
    assert far.pull(1) == packet(6)


async def test_down_and_up_under_a_transport(device: aiotun.Device, far: Far) -> None:
    async with endpoint(device, Recorder) as protocol:
        device.down()
        assert not far.push(packet(0))
        protocol.transport.write(packet(1))
        protocol.transport.flush()
        await until(lambda: protocol.named("error_received"))
        device.up()
        far.push(packet(2))
        await until(lambda: protocol.packets == [packet(2)])


@pytest.mark.parametrize("how", ["Remove", "Corrupt"])
async def test_a_session_that_is_over_ends_the_transport(
    device: aiotun.Device, far: Far, how: str
) -> None:
    async with endpoint(device, Recorder) as protocol:
        far.call(how)
        await until(lambda: protocol.named("connection_lost"))
        (reason,) = protocol.named("connection_lost")
        assert isinstance(reason, InterfaceGoneError)


def test_a_session_that_is_over_ends_the_wait(device: aiotun.Device, far: Far) -> None:
    waiting = [in_thread(device.recv) for _ in range(3)]
    time.sleep(0.05)
    far.remove()
    for thread, results in waiting:
        thread.join(5)
        assert isinstance(results[0], InterfaceGoneError)


@pytest.mark.usefixtures("either_port")
def test_what_the_driver_does_not_take_is_kept_from_it(device: aiotun.Device, far: Far) -> None:
    """It ends a session in whose ring something else than an IP packet stands."""
    for wrong in (bytes(64), b"\x50" + bytes(63), b"\x45" + bytes(18), b"\x60" + bytes(38)):
        with pytest.raises(OSError, match="no IP packet"):
            device.send(wrong)
    device.send(packet(1))
    assert far.pull(1) == packet(1)


def test_ctrl_c_ends_the_wait(device: aiotun.Device) -> None:
    """In the main thread; the handler runs there, and raises."""
    timer = threading.Timer(0.1, lambda: signal.raise_signal(signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        device.recv(timeout=20)
    timer.join()
    with pytest.raises(TimeoutError):
        device.recv(timeout=0.05)


USES: dict[str, Callable[[aiotun.Device], object]] = {
    "recv": lambda device: device.recv(timeout=0),
    "send": lambda device: device.send(packet(1), timeout=0.001),
    "wait": lambda device: device.recv(timeout=0.0005),
}


@pytest.mark.usefixtures("either_port")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # as it was being opened
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_handler_raises_at_any_moment(
    device: aiotun.Device, far: Far, use: Callable[[aiotun.Device], object]
) -> None:
    """Other threads can wait, send and set it down, and so can this one; the rings are whole."""

    def call() -> None:
        far.push(packet(1))
        with contextlib.suppress(TimeoutError):
            use(device)
            use(device)

    def others() -> None:
        device.send(packet(2))
        assert far.pull(5) == packet(2)
        device.down()
        assert far.call("Kept") == 0
        device.up()
        far.push(packet(3))

    with ThreadPoolExecutor(2) as pool, contextlib.closing(device):
        for _ in range(100):
            until_struck(call)
            with contextlib.suppress(TimeoutError):
                while True:
                    device.recv(timeout=0)
            with contextlib.suppress(TimeoutError):
                while True:
                    far.pull()
            received = pool.submit(device.recv, 5)
            pool.submit(others).result(5)
            assert received.result(5) == packet(3)
