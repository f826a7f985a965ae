"""Packets through the queues of the BSDs and macOS: on MODELS of their drivers."""

from __future__ import annotations

import asyncio
import errno
import threading
import time

import packets
import pytest
from models.bsds import FreeBSDKernel, NetBSDKernel, OpenBSDKernel
from models.darwin import DarwinKernel
from models.devices import Opener, open_on_model
from models.kernel import ModelKernel

import aiotun
from aiotun.errors import InterfaceDownError, InterfaceGoneError, PacketError
from aiotun.native import native
from aiotun.packetio import READ_BATCH
from aiotun.platforms.bsd.headers import common, darwin

ADDRESSES = ["10.9.0.1/24", "fd09::1/64"]
V4, V6 = (packets.udp(version, payload=b"x" * 100) for version in (4, 6))
FRAME = packets.ethernet(V4)


@pytest.fixture(params=["python", "native"])
def natively(request: pytest.FixtureRequest) -> bool:
    """Whether the native module reads and writes."""
    if request.param == "native" and native is None:
        pytest.skip("the native module is not built")
    return bool(request.param == "native")


def prepared(device: aiotun.Device, natively: bool) -> aiotun.Device:
    if not natively:
        device.queue.direct = None
    return device


def test_packets_of_both_versions(kernel: ModelKernel, opened: Opener, natively: bool) -> None:
    device = prepared(opened(addresses=ADDRESSES), natively)
    assert kernel.emit(device.name, V4)
    assert kernel.emit(device.name, V6)
    assert device.recv_many(timeout=2) == [V4, V6]
    device.send_many([V6, V4])
    assert [kernel.taken(device.name), kernel.taken(device.name)] == [V6, V4]
    statistics, counters = device.statistics(), device.counters
    assert statistics.packets_received == statistics.packets_sent == 2
    assert counters.packets_received == counters.packets_sent == 2
    assert counters.bytes_received == statistics.bytes_received == len(V4) + len(V6)


def test_frames(kernel: ModelKernel, opened: Opener, natively: bool) -> None:
    device = opened(layer="tap", addresses=["10.9.0.1/24"])
    for size in (14, 60, 1514):
        frame = FRAME[:14].ljust(size, b"\5")
        assert kernel.emit(device.name, frame)
        assert device.recv(timeout=2) == frame
        device.send(frame)
        assert kernel.taken(device.name) == frame


def test_what_is_no_packet(kernel: ModelKernel, opened: Opener) -> None:
    device = prepared(opened(addresses=ADDRESSES), False)
    with pytest.raises(PacketError, match="no IP packet"):
        device.send(b"\x50" + bytes(30))
    device.send(V4)
    assert kernel.taken(device.name) == V4


def test_nothing_waits(kernel: ModelKernel, opened: Opener, natively: bool) -> None:
    device = prepared(opened(addresses=ADDRESSES), natively)
    with pytest.raises(TimeoutError):
        device.recv(timeout=0)
    with pytest.raises(TimeoutError):
        device.recv(timeout=0.01)


def test_down_and_not_ready(kernel: ModelKernel, opened: Opener) -> None:
    """Reading says EHOSTDOWN on some: that is no packet yet, and no error."""
    device = prepared(opened(up=False), False)
    assert not kernel.emit(device.name, V4)
    with pytest.raises(TimeoutError):
        device.recv(timeout=0)
    device.up()
    device.add_address("10.9.0.1/24")
    assert kernel.emit(device.name, V4)
    assert device.recv(timeout=2) == V4


@pytest.mark.parametrize("address", ADDRESSES)
def test_one_address_is_enough(kernel: ModelKernel, opened: Opener, address: str) -> None:
    """NetBSD takes no notice of the first, unless it is set again."""
    device = opened(addresses=[address], ipv6_quiet=True)
    assert kernel.emit(device.name, V4)
    assert device.recv(timeout=2) == V4
    assert [str(each) for each in device.addresses()] == [address]


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.ENOMEM])
def test_a_packet_is_lost(kernel: ModelKernel, opened: Opener, number: int) -> None:
    device = prepared(opened(addresses=ADDRESSES), False)
    if isinstance(kernel, DarwinKernel) and number == errno.ENOBUFS:
        return  # there it waits
    kernel.refusals["write"] = [number]
    with pytest.raises(OSError, match=r"\[Errno") as info:
        device.send_many([V4, V6])
    assert info.value.errno == number
    assert kernel.taken(device.name) == V6
    assert device.counters.dropped_sent == 1


def test_a_write_to_what_is_down(kernel: ModelKernel, opened: Opener) -> None:
    device = prepared(opened(addresses=ADDRESSES), False)
    kernel.refusals["write"] = [errno.EHOSTDOWN]
    with pytest.raises(InterfaceDownError, match="set it up"):
        device.send(V4)
    device.send(V4)
    assert kernel.taken(device.name) == V4


@pytest.mark.parametrize("kind", [FreeBSDKernel, NetBSDKernel, OpenBSDKernel])
@pytest.mark.parametrize("layer", ["tun", "tap"])
def test_deletion(
    kind: type[FreeBSDKernel | NetBSDKernel | OpenBSDKernel], layer: str, natively: bool
) -> None:
    kernel = kind()
    with open_on_model(kernel, layer=layer, addresses=ADDRESSES) as device:
        prepared(device, natively)
        kernel.remove(kernel.find(device.name))
        with pytest.raises(InterfaceGoneError):
            device.recv(timeout=2)
        with pytest.raises(InterfaceGoneError):
            device.queue.write(V4)


def test_utun_is_closed_elsewhere(natively: bool) -> None:
    kernel = DarwinKernel()
    with open_on_model(kernel, addresses=ADDRESSES) as device:
        prepared(device, natively)
        kernel.remove(kernel.find(device.name))
        with pytest.raises(InterfaceGoneError):
            device.recv(timeout=2)


def test_the_limits_of_a_packet_on_netbsd() -> None:
    kernel = NetBSDKernel()
    with open_on_model(kernel, addresses=ADDRESSES) as device:
        prepared(device, False)
        device.send(packets.udp(4, payload=bytes(1472)))
        with pytest.raises(OSError, match=r"\[Errno") as info:
            device.send(packets.udp(4, payload=bytes(1473)))
        assert info.value.errno == errno.EIO


# utun pushes back without telling when it takes packets again.


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.ENOBUFS, errno.EAGAIN])
def test_utun_pushes_back(number: int) -> None:
    kernel = DarwinKernel()
    with open_on_model(kernel, addresses=ADDRESSES) as device:
        prepared(device, False)
        kernel.refusals["write"] = [number] * 3
        start = time.monotonic()
        device.send_many([V4, V6], timeout=5)
        assert time.monotonic() - start >= 0.003  # it did not ask in a loop
        assert [kernel.taken(device.name), kernel.taken(device.name)] == [V4, V6]
        assert device.counters.dropped_sent == 0
        kernel.refusals["write"] = [number] * 100_000
        start = time.monotonic()
        with pytest.raises(TimeoutError):
            device.send(V4, timeout=0.05)
        assert 100_000 - len(kernel.refusals["write"]) < 100
        interrupt = aiotun.Interrupt()
        timer = threading.Timer(0.05, interrupt.set)
        timer.start()
        with interrupt, pytest.raises(InterruptedError):
            device.send(V4, interrupt=interrupt)
        timer.join()


class Recorder(aiotun.PacketProtocol):
    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.errors: list[Exception] = []
        self.paused = 0
        self.lost: list[Exception | None] = []

    def packet_received(self, packet: bytes) -> None:
        self.received.append(packet)

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)

    def pause_writing(self) -> None:
        self.paused += 1

    def resume_writing(self) -> None:
        self.paused -= 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)


async def until(condition: object, timeout: float = 5) -> None:
    assert callable(condition)
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.002)


async def test_a_transport_of_a_utun_tries_again() -> None:
    kernel = DarwinKernel()
    device = open_on_model(kernel, addresses=ADDRESSES)
    prepared(device, False)
    transport, protocol = await aiotun.create_device_endpoint(Recorder, device=device)
    async with transport:
        transport.set_write_buffer_limits(high=1)
        kernel.refusals["write"] = [errno.ENOSPC] * 5
        transport.writelines([V4, V6, V4])
        transport.flush()
        assert protocol.paused == 1
        assert transport.get_write_buffer_size() == 3
        await until(lambda: transport.get_write_buffer_size() == 0)
        assert protocol.paused == 0
        assert transport._retry is None  # nothing waits any more
        assert [kernel.taken(device.name) for _ in range(3)] == [V4, V6, V4]
        kernel.refusals["write"] = [errno.ENOBUFS] * 100_000
        transport.write(V4)
        await asyncio.sleep(0.1)
        assert 0 < 100_000 - len(kernel.refusals["write"]) < 300  # about one a millisecond
        transport.abort()
    assert device.counters.dropped_sent == 1
    assert not protocol.errors


async def test_a_transport_closes_once_a_utun_took_all() -> None:
    kernel = DarwinKernel()
    device = open_on_model(kernel, addresses=ADDRESSES)
    prepared(device, False)
    written: list[bytes] = []
    write = kernel.write
    kernel.write = lambda fd, data: (written.append(data), write(fd, data))[1]  # type: ignore
    transport, protocol = await aiotun.create_device_endpoint(Recorder, device=device)
    kernel.refusals["write"] = [errno.ENOSPC] * 3
    transport.write(V4)
    transport.close()
    await transport.wait_closed()
    assert len(written) == 4
    assert protocol.lost == [None]
    assert not kernel.interfaces


async def test_deletion_ends_a_transport(kernel: ModelKernel, natively: bool) -> None:
    device = open_on_model(kernel, addresses=ADDRESSES)
    prepared(device, natively)
    transport, protocol = await aiotun.create_device_endpoint(Recorder, device=device)
    kernel.emit(device.name, V4)
    await until(lambda: protocol.received == [V4])
    if not isinstance(kernel, DarwinKernel):  # which has no such message
        transport.pause_reading()
    kernel.remove(kernel.find(device.name))
    with pytest.raises(InterfaceGoneError):
        await transport.wait_closed()
    assert len(protocol.lost) == 1


async def test_a_transport_of_every_system(kernel: ModelKernel, natively: bool) -> None:
    device = open_on_model(kernel, addresses=ADDRESSES)
    prepared(device, natively)
    transport, protocol = await aiotun.create_device_endpoint(Recorder, device=device)
    async with transport:
        for _ in range(100):
            kernel.emit(device.name, V4)
            kernel.emit(device.name, V6)
        await until(lambda: len(protocol.received) == 200)
        assert protocol.received == [V4, V6] * 100
        transport.writelines([V6, V4])
        transport.flush()
        assert [kernel.taken(device.name), kernel.taken(device.name)] == [V6, V4]
        device.mtu = 1400
        await until(lambda: transport.mtu == 1400)


def test_a_batch_waits_in_a_utun() -> None:
    """By default one packet does, and each read finds no more."""
    kernel = DarwinKernel()
    with open_on_model(kernel):
        assert kernel.pending == READ_BATCH
        assert kernel.receive_buffer >= READ_BATCH * 1500


# One read of BPF has many frames.


def test_bpf_is_set_up() -> None:
    """It tells at once, of all that comes in whomever it is for, and not of what goes out."""
    kernel = DarwinKernel()
    with open_on_model(kernel, layer="tap") as device:
        (bpf,) = kernel.bpfs.values()
        assert bpf.settings == {
            common.BIOCIMMEDIATE: 1,
            darwin.BIOCSSEESENT: 0,
            common.BIOCSHDRCMPLT: 1,
            common.BIOCPROMISC: 1,
        }
        device.send(FRAME)
        assert kernel.taken(device.name) == FRAME
        with pytest.raises(TimeoutError):
            device.recv(timeout=0)


def numbered(count: int) -> list[bytes]:
    return [FRAME[:14] + n.to_bytes(2, "big") + bytes(30 + n % 40) for n in range(count)]


def test_frames_that_were_read_wait(opened: Opener) -> None:
    kernel = DarwinKernel()
    with open_on_model(kernel, layer="tap") as device:
        for frame in numbered(300):
            kernel.emit(device.name, frame)
        assert device.recv(timeout=2) == numbered(1)[0]
        found = device.recv_many(timeout=2)
        while len(found) < 299:
            assert device.wait_readable(2)
            found += device.recv_many(timeout=2)
        assert found == numbered(300)[1:]
        assert not device.wait_readable(0)


class PausesOnce(Recorder):
    transport: aiotun.PacketTransport

    def connection_made(self, transport: aiotun.PacketTransport) -> None:
        self.transport = transport

    def packet_received(self, packet: bytes) -> None:
        super().packet_received(packet)
        if len(self.received) == 5:
            self.transport.pause_reading()


@pytest.mark.parametrize("pause", [False, True], ids=["reading", "paused"])
async def test_a_transport_comes_back_for_them(pause: bool) -> None:
    kernel = DarwinKernel()
    device = open_on_model(kernel, layer="tap")
    factory = PausesOnce if pause else Recorder
    transport, protocol = await aiotun.create_device_endpoint(factory, device=device)
    async with transport:
        for frame in numbered(600):
            kernel.emit(device.name, frame)
        if pause:
            await until(lambda: len(protocol.received) == 5)
            await asyncio.sleep(0.02)
            assert len(protocol.received) == 5
            transport.resume_reading()
        await until(lambda: len(protocol.received) == 600)
        assert protocol.received == numbered(600)


async def test_one_turn_reads_a_bounded_amount_of_them() -> None:
    """Both what was read already and the descriptor have the transport read on."""
    kernel = DarwinKernel()
    device = open_on_model(kernel, layer="tap")
    transport, protocol = await aiotun.create_device_endpoint(Recorder, device=device)
    async with transport:
        for frame in numbered(3000):
            kernel.emit(device.name, frame)
        most = received = 0
        while received < 3000:
            await asyncio.sleep(0)
            most = max(most, len(protocol.received) - received)
            received = len(protocol.received)
        assert most < 3 * READ_BATCH


def test_an_interface_of_a_feth_is_deleted() -> None:
    kernel = DarwinKernel()
    with open_on_model(kernel, layer="tap") as device:
        kernel.remove(kernel.find("feth1"))
        with pytest.raises(InterfaceGoneError):
            device.recv(timeout=2)
        with pytest.raises(InterfaceGoneError):
            device.send(FRAME)
