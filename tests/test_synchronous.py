"""A device without a loop: many threads, buffers, timeouts, interrupts, shutdown, descriptors."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import errno
import itertools
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lines import AtLine
from rigs import (
    BatchRecorder,
    Recorder,
    Rig,
    SuperRecorder,
    TunRig,
    endpoint,
    packet,
    segments,
    unix_pair,
    until,
)
from striking import until_struck
from waiting import wait_until

import aiotun.device
from aiotun import interrupt as interrupts
from aiotun.offload import GROTable
from aiotun.platforms.memory import MemoryQueue
from aiotun.platforms.tapped import Tap
from aiotun.testing import memory_devices
from aiotun.testing.namespace import Namespace
from aiotun.turns import Call

STRESS_SECONDS = float(os.environ.get("AIOTUN_TEST_STRESS_SECONDS", "2"))


@pytest.fixture
def interrupt() -> Iterator[aiotun.Interrupt]:
    with aiotun.Interrupt() as interrupt:
        yield interrupt


def soon(action: Callable[..., object], *args: object) -> threading.Timer:
    timer = threading.Timer(0.05, action, args)
    timer.start()
    return timer


# Buffers.


def test_into_a_buffer(rig: Rig) -> None:
    buffer = bytearray(100)
    rig.send(packet(1))
    assert rig.device.recv_into(buffer, timeout=2) == 64
    assert buffer == packet(1) + bytes(36)


def test_behind_room_for_a_header(rig: Rig) -> None:
    buffer = bytearray(16 + 64)
    rig.send(packet(1))
    assert rig.device.recv_into(memoryview(buffer)[16:], timeout=2) == 64
    assert buffer == bytes(16) + packet(1)


def test_into_several_buffers_and_from_several(rig: Rig) -> None:
    parts = [bytearray(20), bytearray(0), bytearray(30), bytearray(40)]
    rig.send(packet(1))
    assert rig.device.recv_into(*parts, timeout=2) == 64
    assert b"".join(parts)[:64] == packet(1)
    rig.device.send(*parts[:3], memoryview(parts[3])[:14])
    assert rig.recv() == packet(1)


def test_into_a_buffer_that_is_too_small(rig: Rig) -> None:
    rig.send(packet(1))
    for call in (
        lambda: rig.device.recv_into(bytearray(63), timeout=2),
        lambda: rig.device.recv_into(bytearray(20), bytearray(43), timeout=2),
        lambda: rig.device.recv_many_into([bytearray(70)], timeout=2, headroom=10),
    ):
        with pytest.raises(
            aiotun.errors.PacketError, match="64 bytes waits, the buffer has 6"
        ) as caught:
            call()
        assert caught.value.errno == errno.EMSGSIZE
    assert rig.device.recv(timeout=2) == packet(1)


def test_many_into_buffers(rig: Rig) -> None:
    for n in range(5):
        rig.send(packet(n))
    buffers = [bytearray(80) for _ in range(3)]
    received: list[bytes] = []
    while len(received) < 5:
        sizes = rig.device.recv_many_into(buffers, timeout=2, headroom=8)
        assert 1 <= len(sizes) <= 3
        assert set(sizes) == {64}
        received += [bytes(buffer[8:72]) for buffer in buffers[: len(sizes)]]
    assert received == [packet(n) for n in range(5)]
    with pytest.raises(ValueError, match="no buffer"):
        rig.device.recv_many_into([])


def test_many_into_buffers_of_which_one_is_too_small(rig: Rig) -> None:
    rig.send(packet(0))
    rig.send(packet(1))
    buffers = [bytearray(64), bytearray(63)]
    assert rig.device.recv_many_into(buffers, timeout=2) == [64]
    assert buffers[0] == packet(0)
    assert rig.device.recv(timeout=2) == packet(1)


def test_a_super_packet_fills_many_buffers() -> None:
    near, far = memory_devices()
    with near, far:
        far.send_many(segments(10))
        buffers = [bytearray(2000) for _ in range(20)]
        sizes = near.recv_many_into(buffers, timeout=2)
        assert [bytes(b[:n]) for b, n in zip(buffers, sizes, strict=False)] == segments(10)
        assert near.counters.frames_received == 1


# Waiting.

WAITS: dict[str, Callable[..., Any]] = {
    "recv": lambda device, **options: device.recv(**options),
    "recv_many": lambda device, **options: device.recv_many(**options),
    "recv_into": lambda device, **options: device.recv_into(bytearray(2000), **options),
    "recv_many_into": lambda device, **options: device.recv_many_into([bytearray(99)], **options),
    "wait_readable": lambda device, **options: device.wait_readable(**options),
}
waits = pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)


def test_readiness(rig: Rig) -> None:
    device = rig.device
    assert not device.wait_readable(0)
    assert not device.wait_readable(0.05)
    assert device.wait_writable(0)
    rig.send(packet())
    assert device.wait_readable(2)
    device.recv(timeout=0)
    assert not device.wait_readable(0)


def test_readiness_knows_of_packets_that_were_split() -> None:
    near, far = memory_devices()
    with near, far:
        far.send_many(segments(2))
        near.recv()
        assert not near.queue.wait_readable(0)
        assert near.wait_readable(0)
        near.recv(timeout=0)
        assert not near.wait_readable(0)


def test_a_thread_that_waits_gets_what_another_split() -> None:
    near, far = memory_devices()
    with near, far, ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(near.recv, 5) for _ in range(4)]
        time.sleep(0.05)
        far.send_many(segments(4))
        assert sorted(future.result() for future in waiting) == sorted(segments(4))


def test_a_sender_times_out() -> None:
    near, far = memory_devices(capacity=2, push_back=True)
    with near, far:
        assert near.wait_writable(0)
        with pytest.raises(TimeoutError, match="not all packets were sent within"):
            near.send_many([packet(n) for n in range(5)], timeout=0.05)
        assert near.counters.dropped_sent == 3
        assert not near.wait_writable(0)
        assert far.recv_many() == [packet(0), packet(1)]
        near.send(packet(9), timeout=0)
        assert far.recv() == packet(9)


def test_a_sender_waits_behind_another_and_times_out(interrupt: aiotun.Interrupt) -> None:
    near, far = memory_devices(capacity=1, push_back=True)
    with near, far, ThreadPoolExecutor(1) as pool:
        first = pool.submit(near.send_many, [packet(0), packet(1)], interrupt=interrupt)
        wait_until(lambda: near._writers.others)
        for timeout in (0.05, 0, -1):  # less than zero: a deadline that has passed
            with pytest.raises(TimeoutError, match="no packet was sent"):
                near.send(packet(2), timeout=timeout)
        interrupt.set()
        assert isinstance(first.exception(), aiotun.errors.InterruptError)


# Interrupts.


def test_interrupt(interrupt: aiotun.Interrupt) -> None:
    assert (interrupt.is_set(), interrupt.value) == (False, None)
    for value in (7, "again"):
        interrupt.set(value)
        assert (interrupt.is_set(), interrupt.value) == (True, value)
    interrupt.clear()
    assert (interrupt.is_set(), interrupt.value) == (False, None)
    for _ in range(100_000):  # more than its descriptor holds
        interrupt.set()
    interrupt.clear()
    assert not interrupt.is_set()
    interrupt.close()
    interrupt.close()
    assert interrupt.fileno() == -1


@waits
def test_interrupted(rig: Rig, interrupt: aiotun.Interrupt, wait: Callable[..., Any]) -> None:
    for value in (1, 2):
        timer = soon(interrupt.set, value)
        with pytest.raises(aiotun.errors.InterruptError) as caught:
            wait(rig.device, interrupt=interrupt)
        assert (caught.value.value, caught.value.errno) == (value, errno.EINTR)
        assert isinstance(caught.value, InterruptedError)
        with pytest.raises(aiotun.errors.InterruptError):  # until it is cleared
            wait(rig.device, timeout=0, interrupt=interrupt)
        timer.join()
        interrupt.clear()
    rig.send(packet())
    wait(rig.device, interrupt=interrupt)


def test_senders_are_interrupted(interrupt: aiotun.Interrupt) -> None:
    near, far = memory_devices(capacity=1, push_back=True)
    with near, far:
        timer = soon(interrupt.set, "stop")
        with pytest.raises(aiotun.errors.InterruptError):
            near.send_many([packet(0), packet(1)], interrupt=interrupt)
        with pytest.raises(aiotun.errors.InterruptError):
            near.wait_writable(interrupt=interrupt)
        with pytest.raises(aiotun.errors.InterruptError):
            near.send(packet(2), interrupt=interrupt)
        timer.join()


@pytest.mark.parametrize("how", ["interrupt", "shutdown", "close"])
def test_a_sender_behind_another_is_woken(interrupt: aiotun.Interrupt, how: str) -> None:
    near, far = memory_devices(capacity=1, push_back=True)
    with near, far, ThreadPoolExecutor(3) as pool:
        first = pool.submit(near.send_many, [packet(0), packet(1)])
        wait_until(lambda: near._writers.others)
        behind = [pool.submit(near.send, packet(2), interrupt=interrupt) for _ in range(2)]
        wait_until(lambda: len(near._sending.line) == 2)
        if how == "interrupt":
            interrupt.set("stop")
            expected: type[Exception] = aiotun.errors.InterruptError
        else:
            getattr(near, how)()
            expected = aiotun.ClosedError
        for each in behind:
            assert isinstance(each.exception(5), expected)
        if how == "interrupt":
            assert not first.done()
            assert far.recv(5) == packet(0)
            first.result(5)
        else:
            assert isinstance(first.exception(5), expected)


def test_senders_go_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []

    def wait_for(*args: Any) -> bool:
        waits.append(args)
        return interrupts.wait_for(*args)

    monkeypatch.setattr(aiotun.device, "wait_for", wait_for)
    near, far = memory_devices(capacity=1, push_back=True)
    with near, far, ThreadPoolExecutor(5) as pool:
        sent = [[packet(10 * n + each) for each in range(10)] for n in range(5)]
        sending = [pool.submit(near.send_many, packets, timeout=20) for packets in sent]
        wait_until(lambda: len(near._sending.line) == 4)
        received = [far.recv(20) for _ in range(50)]
        for each in sending:
            each.result(20)
    assert sorted(received[at : at + 10] for at in range(0, 50, 10)) == sorted(sent)
    assert 4 <= len(waits) <= 50  # they slept meanwhile


def test_a_sender_that_comes_again_stands_behind_the_one_that_waits() -> None:
    near, far = memory_devices(capacity=1, push_back=True)

    def send_twice() -> None:
        near.send_many([packet(0), packet(1)])
        near.send(packet(3))

    with near, far, ThreadPoolExecutor(2) as pool:
        sending = [pool.submit(send_twice)]
        wait_until(lambda: near._writers.others)
        sending.append(pool.submit(near.send, packet(2)))
        wait_until(lambda: len(near._sending.line) == 1)
        assert [far.recv(5) for _ in range(4)] == [packet(n) for n in range(4)]
        for each in sending:
            each.result(5)


def test_a_sender_that_is_interrupted_as_its_turn_comes_hands_it_on(
    interrupt: aiotun.Interrupt,
) -> None:
    near, far = memory_devices()
    with near, far, ThreadPoolExecutor(2) as pool:
        near._sending.take()
        first = pool.submit(near.send, packet(0), interrupt=interrupt)
        wait_until(lambda: len(near._sending.line) == 1)
        second = pool.submit(near.send, packet(1))
        wait_until(lambda: len(near._sending.line) == 2)
        with near._guard:  # nobody leaves the line meanwhile
            interrupt.set()
            near._sending.give_back()
        assert isinstance(first.exception(5), aiotun.errors.InterruptError)
        second.result(5)
        assert far.recv_many(0) == [packet(1)]


def test_one_interrupt_for_many_threads(rig: Rig, interrupt: aiotun.Interrupt) -> None:
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(rig.device.recv, interrupt=interrupt) for _ in range(8)]
        time.sleep(0.05)
        interrupt.set("all")
        assert [str(future.exception()) for future in waiting] == [
            "[Errno 4] interrupted, with 'all'"
        ] * 8


def test_interrupted_by_a_signal(rig: Rig, interrupt: aiotun.Interrupt) -> None:
    before = signal.signal(signal.SIGUSR1, lambda number, frame: interrupt.set(number))
    try:
        timer = soon(os.kill, os.getpid(), signal.SIGUSR1)
        with pytest.raises(aiotun.errors.InterruptError) as caught:
            rig.device.recv(timeout=10, interrupt=interrupt)
        assert caught.value.value == signal.SIGUSR1
        timer.join()
    finally:
        signal.signal(signal.SIGUSR1, before)


# The end.


@waits
@pytest.mark.parametrize("end", ["shutdown", "close"])
def test_the_end_wakes_every_thread(rig: Rig, wait: Callable[..., Any], end: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(wait, rig.device) for _ in range(8)]
        time.sleep(0.05)
        getattr(rig.device, end)()
        for future in waiting:
            assert isinstance(future.exception(5), aiotun.ClosedError)
    with pytest.raises(aiotun.ClosedError):
        wait(rig.device)
    with pytest.raises(aiotun.ClosedError):
        rig.device.send(packet())
    with pytest.raises(aiotun.ClosedError):
        rig.device.wait_writable(0)


class Slowly:
    """In the place of a queue's method: says that a thread entered it, which goes on by `leave`."""

    def __init__(self, queue: object, name: str) -> None:
        self.entered, self.leave = threading.Event(), threading.Event()
        self._really = getattr(queue, name)

    def __call__(self, *args: Any) -> Any:
        self.entered.set()
        assert self.leave.wait(10)
        return self._really(*args)  # raises ClosedError if it was not waited for


@pytest.mark.parametrize("name", ["read", "write"])
def test_close_waits_for_a_thread_in_the_queue(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = memory_devices()
    slowly = Slowly(near.queue, name)
    monkeypatch.setattr(near.queue, name, slowly)
    with near, far, ThreadPoolExecutor(2) as pool:
        far.send(packet())
        inside = pool.submit(near.recv) if name == "read" else pool.submit(near.send, packet())
        assert slowly.entered.wait(10)
        closing = pool.submit(near.close)
        with pytest.raises(concurrent.futures.TimeoutError):
            closing.result(0.1)
        slowly.leave.set()
        closing.result(10)
        assert inside.result(10) == (packet() if name == "read" else None)


def test_of_threads_that_close_it_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """A descriptor that is closed twice may be somebody else's by then."""
    near, far = memory_devices()
    slowly = Slowly(near.queue, "read")
    monkeypatch.setattr(near.queue, "read", slowly)
    really, closed = near.queue.close, itertools.count()

    def close() -> None:
        next(closed)
        really()

    monkeypatch.setattr(near.queue, "close", close)
    with far, ThreadPoolExecutor(3) as pool:
        far.send(packet())
        inside = pool.submit(near.recv)
        assert slowly.entered.wait(10)
        closing = [pool.submit(near.close) for _ in range(2)]
        concurrent.futures.wait(closing, 0.1)
        assert not any(each.done() for each in closing)
        slowly.leave.set()
        for each in closing:
            each.result(10)
        assert inside.result(10) == packet()
    assert next(closed) == 1


def test_the_end_ends_iteration(rig: Rig) -> None:
    timer = soon(rig.device.shutdown)
    assert list(rig.device) == []
    timer.join()


def test_the_end_wakes_a_sender() -> None:
    near, far = memory_devices(capacity=1, push_back=True)
    with near, far:
        timer = soon(near.close)
        with pytest.raises(aiotun.ClosedError):
            near.send_many([packet(0), packet(1)])
        timer.join()


@pytest.mark.parametrize("name", ["recv", "send"])
def test_the_end_at_every_line_before_the_wait(name: str) -> None:
    """As from a signal handler, between any two lines of the thread that is about to wait."""
    for line in itertools.count():
        near, far = memory_devices(capacity=1, push_back=True)
        with near, far:
            near.send(packet(0))  # so that sending waits as receiving does
            waiting = f"wait_{'readable' if name == 'recv' else 'writable'}"
            end = AtLine(line, near.shutdown, getattr(MemoryQueue, waiting).__code__)
            with end, pytest.raises(aiotun.ClosedError):
                near.recv(20) if name == "recv" else near.send(packet(1), timeout=20)
            if not end.early:
                assert line > 20
                return


USES: dict[str, Callable[[aiotun.Device], object]] = {
    "recv": lambda device: device.recv(timeout=0),
    "send": lambda device: device.send(packet(1), timeout=0.001),
    "wait": lambda device: device.recv(timeout=0.0005),
}


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # as it was being opened
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_handler_raises_at_any_moment(use: Callable[[aiotun.Device], object]) -> None:
    """Others can use and close the device, and so can the thread."""

    def call() -> None:
        with contextlib.suppress(TimeoutError):
            use(device)

    for trial in range(200):
        # C reads the one, and waits there too; Python reads the other.
        kind = socket.SOCK_SEQPACKET if trial // 2 % 2 else socket.SOCK_DGRAM
        with ThreadPoolExecutor(1) as pool, unix_device(kind) as (device, theirs):
            until_struck(call)
            if trial % 2:
                drain(theirs)
                pool.submit(device.send, packet(2)).result(5)
                pool.submit(device.close).result(5)


def test_a_handler_raises_as_others_are_to_hear_of_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = memory_devices()
    really = Call.set

    def call(self: Call, value: object = None) -> None:
        monkeypatch.setattr(Call, "set", really)
        raise KeyboardInterrupt

    near._receiving.take()
    with ThreadPoolExecutor(1) as pool, near, far:
        other = pool.submit(near.recv)
        wait_until(lambda: near._receiving.line)
        far.send_many(segments(2))
        monkeypatch.setattr(Call, "set", call)
        with pytest.raises(KeyboardInterrupt):
            near.recv()
        assert other.result(10) == segments(2)[1]


def test_a_handler_receives_within_a_wait(rig: Rig) -> None:
    """It gives the turn away, and a thread behind it gets what comes next."""
    device = rig.device
    received: list[bytes] = []
    begun = False

    def handle(number: int, frame: object) -> None:
        nonlocal begun
        if device._receiving.thread is None or begun:
            return
        begun = True  # before the next signal, which may come within this
        behind = pool.submit(device.recv, 5)
        wait_until(lambda: device._receiving.line)
        rig.send(packet(1))
        received.append(device.recv(5))
        rig.send(packet(2))
        received.append(behind.result(5))
        rig.send(packet(3))

    before = signal.signal(signal.SIGALRM, handle)
    try:
        with ThreadPoolExecutor(1) as pool:
            signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
            received.append(device.recv(5))
            assert received == [packet(1), packet(2), packet(3)]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Seen(Tap):
    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def frame_read(self, frame: bytes, time: int) -> None:
        self.frames.append(frame)

    def frame_written(self, frame: bytes, time: int, refused: OSError | None) -> None: ...


def test_a_tap_sees_what_a_thread_waited_for_before_it_came() -> None:
    with unix_device(socket.SOCK_SEQPACKET) as (device, theirs), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(device.recv, 10)
        wait_until(lambda: device._readers._interrupt)
        time.sleep(0.02)  # it waits
        tap = Seen()
        device.set_tap(tap)
        theirs.send(packet(1))
        assert waiting.result(10) == packet(1)
        device.set_tap(None)
        assert tap.frames == [packet(1)]


def drain(end: socket.socket) -> None:
    end.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while end.recv(2000):
            pass


def test_shutdown_leaves_the_interface(rig: Rig) -> None:
    rig.device.shutdown()
    rig.device.shutdown()
    assert rig.device.mtu == 1500


def test_shutdown_behind_the_end(rig: Rig) -> None:
    """As of a signal handler that knows nothing of the end."""
    with pytest.raises(TimeoutError):
        rig.device.recv(timeout=0.001)
    rig.device.close()
    rig.device.shutdown()


async def test_no_transport_while_a_thread_waits(rig: Rig, interrupt: aiotun.Interrupt) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(rig.device.recv, interrupt=interrupt)
        wait_until(lambda: rig.device._receiving.others)
        with pytest.raises(aiotun.BusyError, match="thread is waiting"):
            await aiotun.open_device(device=rig.device)
        interrupt.set()
        waiting.exception()


async def test_a_transport_gets_what_a_thread_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the thread is within its call no loop gets the device."""
    near, far = memory_devices()
    slowly = Slowly(near.queue, "read")
    monkeypatch.setattr(near.queue, "read", slowly)
    with far, ThreadPoolExecutor(1) as pool:
        far.send_many(segments(3))
        inside = pool.submit(near.recv)
        assert slowly.entered.wait(10)
        with pytest.raises(aiotun.BusyError, match="thread is waiting"):
            await aiotun.open_device(device=near)
        slowly.leave.set()
        first = await asyncio.wrap_future(inside)
        async with endpoint(near, Recorder) as protocol:
            await until(lambda: len(protocol.packets) == 2)
            assert [first, *protocol.packets] == segments(3)


# Descriptors.


@pytest.fixture
def tun(namespace: Namespace) -> aiotun.Device:
    return namespace.run(
        aiotun.Device, name="t0", addresses="10.9.0.1/24", mtu=1400, ipv6_quiet=True
    )


def ping(namespace: Namespace, device: aiotun.Device) -> None:
    """A datagram to and from the device."""
    with namespace.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("10.9.0.1", 9))
        sock.settimeout(2)
        sock.sendto(b"hello", ("10.9.0.2", 9))
        while not (request := device.recv(timeout=2)).endswith(b"hello"):
            pass  # the kernel speaks IPv6 unasked
        # Exchanging the addresses and equal ports leaves the checksums as they are.
        device.send(request[:12] + request[16:20] + request[12:16] + request[20:])
        assert sock.recv(100) == b"hello"


@pytest.mark.requires("tun", "netns")
def test_detach_and_adopt(namespace: Namespace, tun: aiotun.Device) -> None:
    fd = tun.detach()
    with pytest.raises(aiotun.ClosedError):
        tun.recv()
    with pytest.raises(aiotun.ClosedError):
        tun.detach()
    with aiotun.Device.from_fd(fd) as device:  # from another namespace
        assert (device.name, device.layer, device.mtu, device.offload) == ("t0", "tun", 1400, True)
        assert [str(address) for address in device.addresses()] == ["10.9.0.1/24"]
        device.mtu = 1300
        ping(namespace, device)
    assert namespace.run(socket.if_nameindex) == [(1, "lo")]


@pytest.mark.requires("tun", "netns")
def test_borrow(namespace: Namespace, tun: aiotun.Device) -> None:
    with aiotun.Device.from_fd(tun.fileno(), closefd=False) as device:
        ping(namespace, device)
    with tun:
        ping(namespace, tun)


@pytest.mark.requires("tun", "netns")
async def test_a_descriptor_on_a_loop(namespace: Namespace, tun: aiotun.Device) -> None:
    async with aiotun.open_device(device=aiotun.Device.from_fd(tun.detach())) as stream:
        with namespace.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"hello", ("10.9.0.2", 9))
        assert (await stream.recv()).endswith(b"hello")


@pytest.mark.requires("tun", "netns", "ip")
def test_descriptors_that_cannot_be_adopted(namespace: Namespace) -> None:
    reading, writing = os.pipe()
    with pytest.raises(aiotun.UnsupportedError, match="is not of a TUN or TAP"):
        aiotun.Device.from_fd(reading)
    os.close(writing)
    os.close(reading)
    with pytest.raises(aiotun.UnsupportedError, match="Bad file descriptor"):
        aiotun.Device.from_fd(reading)

    def with_packet_information() -> int:
        fd = os.open("/dev/net/tun", os.O_RDWR)
        import fcntl

        fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", b"t0", 1))  # TUNSETIFF, IFF_TUN
        return fd

    fd = namespace.run(with_packet_information)
    with pytest.raises(aiotun.UnsupportedError, match="packet information"):
        aiotun.Device.from_fd(fd)
    with aiotun.Device.from_fd(fd, framing="pi") as device:
        namespace.command("ip", "address", "add", "10.9.0.1/24", "dev", "t0")
        namespace.command("ip", "link", "set", "t0", "addrgenmode", "none", "up")
        ping(namespace, device)


@pytest.mark.parametrize(
    ("framing", "header"),
    [
        ("none", b""),
        ("vnet", bytes(10)),
        ("pi", b"\0\0\x08\0"),
        ("family", struct.pack("!I", socket.AF_INET)),
    ],
)
def test_framing(framing: Any, header: bytes) -> None:
    ours, theirs = unix_pair()
    with theirs, aiotun.Device.from_fd(ours.detach(), framing=framing, mtu=1400) as device:
        assert (device.mtu, device.layer, device.is_up) == (1400, "tun", True)
        assert device.name.startswith("fd")
        theirs.send(header + packet(1))
        assert device.recv(timeout=2) == packet(1)
        device.send(packet(2))
        assert theirs.recv(100) == header + packet(2)
        if header and framing != "vnet":
            with pytest.raises(aiotun.errors.PacketError, match="no IP packet"):
                device.send(bytes(64))
        for unknown in (
            device.addresses,
            device.statistics,
            device.up,
            lambda: device.add_address("10.9.0.1/24"),
            lambda: device.remove_address("10.9.0.1/24"),
            lambda: setattr(device, "mtu", 1300),
        ):
            with pytest.raises(aiotun.UnsupportedError, match="only the descriptor is known"):
                unknown()
        assert device.events() == []
        theirs.close()
        with pytest.raises(aiotun.InterfaceGoneError):
            device.recv(timeout=2)
        with pytest.raises(aiotun.InterfaceGoneError):
            device.send(packet(2))


@contextlib.contextmanager
def unix_device(kind: int, framing: Any = "none") -> Iterator[tuple[aiotun.Device, socket.socket]]:
    """A device of one end of a pair of sockets, and the other end."""
    ours, theirs = unix_pair(kind)
    with theirs, aiotun.Device.from_fd(ours.detach(), framing=framing) as device:
        yield device, theirs


datagram_device = partial(unix_device, socket.SOCK_DGRAM)


FRAMINGS = {"none": b"", "vnet": bytes(10), "pi": b"\0\0\x08\0", "family": b"\0\0\0\2"}
framings = pytest.mark.parametrize(("framing", "header"), FRAMINGS.items(), ids=FRAMINGS)


@framings
def test_an_empty_datagram_is_dropped_and_no_end(framing: str, header: bytes) -> None:
    with datagram_device(framing) as (device, theirs):
        for empty in (b"", header[:3] if len(header) == 4 else b""):
            theirs.send(empty)
            with pytest.raises(aiotun.errors.PacketError, match="empty frame was read") as caught:
                device.recv(timeout=2)
            assert caught.value.errno == errno.EINVAL
        theirs.send(header + packet(1))
        assert device.recv(timeout=2) == packet(1)
        assert device.counters.dropped_received == 2
        assert device.counters.packets_received == 1
        assert device.counters.frames_received == 3
        device.send(packet(2))
        assert theirs.recv(100) == header + packet(2)


MALFORMED = b"\0\1" + bytes(8) + packet()  # to be segmented, by no size


FRAMES = {
    "one": bytes(10) + packet(1),
    "many": GROTable().coalesce(segments(3))[0],
    "none": MALFORMED,
}
RECEIVES: dict[str, Callable[[aiotun.Device], object]] = {
    "recv": lambda device: device.recv(timeout=0),
    "recv_many": lambda device: device.recv_many(timeout=0),
    "wait": lambda device: device.recv(timeout=0.0001),
    "readable": lambda device: device.wait_readable(timeout=0),
}


@given(
    framing=st.sampled_from(["vnet", "none"]),
    steps=st.lists(st.sampled_from([*FRAMES, *FRAMES, *RECEIVES, "end"]), max_size=12),
)
def test_natively_and_in_python_alike(framing: str, steps: list[str]) -> None:
    outcomes = []
    for natively in (True, False):
        with unix_device(socket.SOCK_SEQPACKET, framing) as (device, theirs):
            if not natively:
                device.queue.direct = None
            seen: list[object] = []
            for step in steps:
                try:
                    if step in FRAMES:
                        theirs.send(FRAMES[step])
                    elif step == "end":
                        theirs.close()
                    else:
                        seen.append(RECEIVES[step](device))
                except (OSError, aiotun.OffloadError) as exc:
                    seen.append((type(exc), str(exc)))
            outcomes.append((seen, device.counters))
    assert outcomes[0] == outcomes[1]


def test_a_malformed_frame_is_told_of_behind_what_came_before() -> None:
    with datagram_device("vnet") as (device, theirs):
        for number in range(3):
            theirs.send(FRAMINGS["vnet"] + packet(number))
            theirs.send(MALFORMED)
        for number in range(3):
            assert device.recv(timeout=2) == packet(number)
            assert device.wait_readable(0)
            with pytest.raises(aiotun.OffloadError):
                device.recv(timeout=0)
        assert not device.wait_readable(0)
        assert device.counters.dropped_received == 3


def test_of_two_threads_one_has_the_packet_and_the_other_the_error() -> None:
    def outcome(device: aiotun.Device) -> bytes | None:
        try:
            return device.recv(timeout=5)
        except aiotun.OffloadError:
            return None

    with datagram_device("vnet") as (device, theirs), ThreadPoolExecutor(2) as pool:
        for number in range(50):
            outcomes = [pool.submit(outcome, device) for _ in range(2)]
            theirs.send(FRAMINGS["vnet"] + packet(number))
            theirs.send(MALFORMED)
            assert {each.result(9) for each in outcomes} == {packet(number), None}


@framings
@pytest.mark.parametrize("factory", [Recorder, BatchRecorder, SuperRecorder])
async def test_an_empty_datagram_on_a_loop(
    framing: str, header: bytes, factory: type[Recorder]
) -> None:
    with datagram_device(framing) as (device, theirs):
        async with endpoint(device, factory) as protocol:
            for data in (header + packet(1), b"", header + packet(2)):
                theirs.send(data)
            await until(lambda: len(protocol.packets) == 2)
            assert protocol.packets == [packet(1), packet(2)]
            (error,) = protocol.named("error_received")
            assert isinstance(error, aiotun.errors.PacketError)
            assert device.counters.dropped_received == 1


@framings
def test_a_dead_peer_of_datagrams_is_noticed(framing: str, header: bytes) -> None:
    with datagram_device(framing) as (device, theirs):
        theirs.close()
        for _ in range(3):
            with pytest.raises(aiotun.InterfaceGoneError, match="closed the descriptor"):
                device.send(packet())


def test_a_dead_peer_that_another_heard_of_first() -> None:
    """ECONNREFUSED is told once, ENOTCONN from then on."""
    with datagram_device() as (device, theirs):
        theirs.close()
        with pytest.raises(ConnectionRefusedError):
            os.write(device.fileno(), b"x")
        with pytest.raises(aiotun.InterfaceGoneError):
            device.send(packet())


async def test_a_relay_ends_with_a_dead_peer() -> None:
    near, far = memory_devices()
    with near, far, datagram_device() as (device, theirs):
        async with (
            aiotun.open_device(device=near) as memory,
            aiotun.open_device(device=device) as stream,
        ):
            relaying = asyncio.ensure_future(aiotun.relay(memory, stream))
            far.send(packet())
            await asyncio.to_thread(theirs.recv, 100)
            theirs.close()
            far.send(packet())
            with pytest.raises(aiotun.InterfaceGoneError):
                await asyncio.wait_for(relaying, 10)


@pytest.mark.parametrize("natively", [False, True], ids=["python", "native"])
@pytest.mark.parametrize(
    ("framing", "header"), [("pi", 0x86DD), ("family", socket.AF_INET6)], ids=["pi", "family"]
)
def test_framing_of_ipv6(framing: Any, header: int, natively: bool) -> None:
    packet = b"\x60" + bytes(39)
    ours, theirs = unix_pair()
    with theirs, aiotun.Device.from_fd(ours.detach(), framing=framing) as device:
        if not natively:
            device.queue.direct = None
        device.send(packet)
        assert theirs.recv(100) == struct.pack("!I", header) + packet


def test_packet_information_of_ethernet_frames() -> None:
    frame = bytes(12) + b"\x08\x06" + bytes(50)
    ours, theirs = unix_pair()
    with theirs, aiotun.Device.from_fd(ours.detach(), framing="pi", layer="tap") as device:
        device.send(frame)
        assert theirs.recv(100) == b"\0\0\x08\x06" + frame
        theirs.send(bytes(4) + frame)
        assert device.recv(timeout=2) == frame


async def test_framing_on_a_loop() -> None:
    ours, theirs = unix_pair()
    device = aiotun.Device.from_fd(ours.detach(), framing="family")
    with theirs:
        async with aiotun.open_device(device=device) as stream:
            theirs.send(struct.pack("!I", socket.AF_INET) + packet(1))
            assert await stream.recv() == packet(1)
            await stream.send(packet(2))
            stream.transport.flush()
            assert theirs.recv(100)[4:] == packet(2)


# Users without privileges.


def run_as_root_and_drop(namespace: Namespace, before: str, after: str) -> None:
    import outside  # of Linux

    """A program that becomes another user between its two parts."""
    outside.require_other_users()

    def run() -> None:
        outside.replace_node(lambda path: outside.make_node(path, 10, 200))
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program],
            capture_output=True,
            text=True,
            timeout=20,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert not done.returncode, done.stderr

    drop = "os.setgroups([]); os.setgid(65534); os.setuid(65534)"
    program = "\n".join(
        ["import aiotun, os, socket", textwrap.dedent(before), drop, textwrap.dedent(after)]
    )
    namespace.run(run)


TRAFFIC = """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.sendto(b"hello", ("10.9.0.2", 9))
    assert device.recv(timeout=2).endswith(b"hello")
    assert device.mtu == 1400
    for carrier in (False, True):  # the descriptor's, not the administrator's
        device.carrier = carrier
        assert device.carrier == carrier
    try:
        device.mtu = 1300
    except aiotun.NotPermittedError as exc:
        assert "CAP_NET_ADMIN" in str(exc)
    else:
        raise AssertionError("a user may not")
    device.close()
"""
SETTINGS = 'name="t0", addresses="10.9.0.1/24", mtu=1400, ipv6_quiet=True'


@pytest.mark.requires("tun", "netns", "mountns")
def test_open_as_root_and_drop_to_a_user(namespace: Namespace) -> None:
    run_as_root_and_drop(namespace, f"device = aiotun.Device({SETTINGS})", TRAFFIC)
    assert namespace.run(socket.if_nameindex) == [(1, "lo")]


@pytest.mark.requires("tun", "netns", "mountns")
@pytest.mark.parametrize("who", ["owner=65534", "group=65534"])
def test_attach_as_a_user(namespace: Namespace, who: str) -> None:
    run_as_root_and_drop(
        namespace,
        f"aiotun.Device({SETTINGS}, persistent=True, {who}).close()",
        'device = aiotun.Device(name="t0")\n' + textwrap.dedent(TRAFFIC),
    )
    assert "t0" in dict(namespace.run(socket.if_nameindex)).values()


@pytest.mark.requires("tun", "netns", "mountns")
def test_attach_as_another_user(namespace: Namespace) -> None:
    run_as_root_and_drop(
        namespace,
        f"aiotun.Device({SETTINGS}, persistent=True, owner=1).close()",
        """
        try:
            aiotun.Device(name="t0")
        except aiotun.NotPermittedError:
            pass
        else:
            raise AssertionError("it belongs to another")
        """,
    )


@pytest.mark.requires("tun", "netns", "mountns", "multi-queue")
def test_a_further_queue_as_a_user(namespace: Namespace) -> None:
    run_as_root_and_drop(
        namespace,
        f"aiotun.Device({SETTINGS}, persistent=True, owner=65534, multi_queue=True).close()",
        """
        with aiotun.Device(name="t0", multi_queue=True) as device, device.open_queue():
            assert device.queues == 2
        """,
    )


# Faults.


@pytest.mark.requires("tun", "netns", "ip")
def test_moved_down_and_resized_under_traffic(namespace: Namespace, tun: aiotun.Device) -> None:
    import outside  # of Linux

    with tun, Namespace() as other:
        ping(namespace, tun)
        tun.down()
        assert not tun.wait_readable(0.05)
        tun.up()
        ping(namespace, tun)
        for mtu in (1280, 9000, 1400):
            tun.mtu = mtu
            ping(namespace, tun)
        namespace.run(outside.move, "t0", other)
        other.command("ip", "address", "add", "10.9.0.1/24", "dev", "t0")
        other.command("ip", "link", "set", "t0", "addrgenmode", "none", "up")
        ping(other, tun)


@pytest.mark.requires("tun", "netns")
def test_a_thousand_changes_of_addresses_during_a_transfer(namespace: Namespace) -> None:
    rig = TunRig(addresses="10.9.0.1/24")
    try:
        device = rig.device
        sent = 0
        events: list[aiotun.interfaces.Event] = []
        for n in range(500):
            address = f"10.8.{n // 250}.{n % 250 + 1}/32"
            device.add_address(address)
            rig.send(packet(n))
            assert device.recv(timeout=2) == packet(n)
            sent += 1
            device.remove_address(address)
            events += device.events()
        assert sent == 500
        assert len([e for e in events if isinstance(e, aiotun.interfaces.AddressAdded)]) == 500
        assert len([e for e in events if isinstance(e, aiotun.interfaces.AddressRemoved)]) == 500
    finally:
        rig.close()


@pytest.mark.timeout(STRESS_SECONDS + 60)
def test_readers_and_writers_interrupted_at_random(rig: Rig) -> None:
    """Every packet that was sent arrives once, unless the queue was full; no call hangs."""
    device = rig.device
    end = time.monotonic() + STRESS_SECONDS
    stack = contextlib.ExitStack()
    interrupts = [stack.enter_context(aiotun.Interrupt()) for _ in range(16)]
    received: list[list[int]] = [[] for _ in range(8)]
    written = [0] * 8
    arrived = [0]
    allowed = threading.Semaphore(200)  # packets on their way to the device; its queue has 500

    def number(each: bytes) -> int:
        return int.from_bytes(each[20:24], "big")

    def read(index: int, interrupt: aiotun.Interrupt) -> None:
        call = (device.recv_many, lambda **options: [device.recv(**options)])[index % 2]
        while True:
            try:
                packets = call(timeout=5, interrupt=interrupt)
            except aiotun.errors.InterruptError:
                interrupt.clear()
            except aiotun.ClosedError:
                return
            else:
                received[index] += map(number, packets)
                for _ in packets:
                    allowed.release()

    def write(index: int, interrupt: aiotun.Interrupt) -> None:
        while not written[index] or time.monotonic() < end:
            try:
                device.send_many([packet(n) for n in range(3)], timeout=5, interrupt=interrupt)
            except aiotun.errors.InterruptError:
                interrupt.clear()
            else:
                written[index] += 3

    def disturb() -> None:
        choose = random.Random(1)
        while time.monotonic() < end:
            choose.choice(interrupts).set(choose.random())
            time.sleep(0.001)

    def arrive() -> None:
        while time.monotonic() < end:
            assert allowed.acquire(timeout=5)
            rig.send(packet(arrived[0]))
            arrived[0] += 1

    with stack, device, ThreadPoolExecutor(18) as pool:
        readers = [pool.submit(read, n, interrupts[n]) for n in range(8)]
        writers = [pool.submit(write, n, interrupts[8 + n]) for n in range(8)]
        others = [pool.submit(disturb), pool.submit(arrive)]
        for future in writers + others:
            future.result(STRESS_SECONDS + 10)
        while sum(map(len, received)) < arrived[0]:
            assert time.monotonic() < end + 10, (sum(map(len, received)), arrived)
            time.sleep(0.01)
        device.close()
        for future in readers:
            future.result(10)
    assert sorted(itertools.chain(*received)) == list(range(arrived[0]))
    assert all(written)
