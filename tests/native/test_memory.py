"""Native functions and ports while memory is refused: it is told and counted, and they go on."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any, NoReturn, TypeVar

import pytest
from far import Far, use
from packets import super_packet, tcp
from refused import refused_in_turn
from rigs import endpoint, packet
from udp_rigs import receiver

import aiotun
from aiotun.native import native
from aiotun.offload import NO_OFFLOAD, gso_split

pytestmark = pytest.mark.requires("native")

LARGE = super_packet(tcp(payload=bytes(34_000)), 1000)
LONG = super_packet(tcp(6, bytes(3000), extensions=[(60, bytes(246))]), 1000)
FRAMES = [NO_OFFLOAD + packet(1), super_packet(tcp(payload=bytes(3000)), 1000), LONG, LARGE]
PACKETS = [each for frame in FRAMES for each in gso_split(frame)]


any_endpoint: Any = endpoint
"""The protocols here record no calls: that takes memory."""


@pytest.fixture(autouse=True)
def uncollected() -> Iterator[None]:
    """No collection takes memory in between."""
    gc.disable()
    yield
    gc.enable()


def functions() -> Iterator[Any]:
    if native is None:
        return
    located = native.locate(FRAMES[1])
    assert located is not None
    rewrite = native.Rewrite(located[2], located[2][::-1])
    yield pytest.param(partial(native.gso_split, LONG), id="gso_split")
    yield pytest.param(partial(native.GROTable().coalesce, PACKETS), id="coalesce")
    yield pytest.param(partial(native.batches, [b"ab", b"c", b"def", b""] * 5), id="batches")
    yield pytest.param(partial(native.locate, FRAMES[1]), id="locate")
    yield pytest.param(partial(rewrite.apply, LARGE, located[1]), id="rewrite")
    yield pytest.param(partial(rewrite.apply, FRAMES[1], located[1]), id="rewrite a small one")
    with contextlib.suppress(ImportError):
        from aiotun.native._aead import Opener, ReplayWindow, Sealer

        sealer, opener = Sealer(bytes(32)), Opener(bytes(32), 8)
        messages = sealer.seal(PACKETS, bytes(8), 0)
        trains = sealer.seal_frames(FRAMES, bytes(8), 0)[0]
        yield pytest.param(partial(sealer.seal, PACKETS, bytes(8), 0), id="seal")
        yield pytest.param(partial(opener.open, messages), id="open")
        yield pytest.param(partial(sealer.seal_frames, FRAMES, bytes(8), 0), id="seal_frames")

        def open_frames() -> object:
            return opener.open_frames(trains, bytes(8), ReplayWindow(1 << 60))

        yield pytest.param(open_frames, id="open_frames")


@pytest.mark.parametrize("function", list(functions()))
def test_a_function_raises(function: Callable[[], object]) -> None:
    expected, results = function(), []
    raised = [each for each in refused_in_turn(lambda: results.append(function())) if each]
    assert raised
    assert {type(each) for each in raised} == {MemoryError}
    assert all(each == expected for each in results)


class Counting(aiotun.PacketProtocol):
    packets = 0

    def connection_made(self, transport: aiotun.PacketTransport) -> None:
        self.transport = transport

    def packet_received(self, packet: bytes) -> None:
        self.packets += 1


CountingT = TypeVar("CountingT", bound=Counting)


class CountingBatches(Counting):
    def packets_received(self, packets: list[bytes]) -> None:
        self.packets += len(packets)


class CountingSuperPackets(Counting):
    def super_packets_received(self, packets: list[aiotun.SuperPacket]) -> None:
        for each in packets:
            self.packets += len(each.split())


def note_complaints() -> list[str]:
    """What the loop is told. That memory was refused to a callback of the test is its own fault."""
    told: list[str] = []

    def note(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        assert isinstance(context["exception"], MemoryError)
        told.append(context["message"])

    asyncio.get_running_loop().set_exception_handler(note)
    return told


@contextlib.asynccontextmanager
async def by_itself(
    far: Far, kind: Callable[[], CountingT]
) -> AsyncIterator[tuple[CountingT, Any, list[str]]]:
    """A protocol and its transport's port, which the loop does not call; and what the loop is
    told."""
    async with any_endpoint(far.device, kind) as protocol:
        await asyncio.sleep(0)
        complaints = note_complaints()
        transport = protocol.transport
        asyncio.get_running_loop().remove_reader(transport.get_extra_info("fileno"))
        transport._complaints.admit = lambda key: 0
        yield protocol, transport._port, complaints


def put(far: Far) -> None:
    for frame in FRAMES:
        far.put(frame)


@pytest.mark.parametrize("kind", [Counting, CountingBatches, CountingSuperPackets])
async def test_what_is_read_is_delivered_or_counted(kind: Any) -> None:
    with contextlib.closing(Far()) as far:
        async with by_itself(far, kind) as (protocol, port, complaints):
            counters = far.device.counters
            received = failures = 0
            put(far)
            for raised in refused_in_turn(port.read_ready):
                port.read_ready()
                received += len(PACKETS)
                failures += bool(raised or complaints)
                assert counters.packets_received == received
                if not any("_received" in each for each in complaints):
                    assert protocol.packets + counters.dropped_received == received
                protocol.packets = received - counters.dropped_received
                complaints.clear()
                put(far)
            assert failures
            assert counters.dropped_received


async def test_what_is_written_is_sent_or_counted() -> None:
    with contextlib.closing(Far()) as far:
        async with by_itself(far, Counting) as (_, port, complaints):
            counters = far.device.counters
            written = failures = 0
            port.writelines(PACKETS)
            for raised in refused_in_turn(port.flush):
                assert raised is None
                written += len(PACKETS)
                failures += bool(complaints)
                sent = sum(len(gso_split(frame)) for frame in far.recv())
                assert counters.packets_sent == written
                assert sent + counters.dropped_sent == written
                written = counters.packets_sent = sent = counters.dropped_sent = 0
                complaints.clear()
                port.writelines(PACKETS)
            assert failures


async def test_a_device_goes_on() -> None:
    """Its protocol writes back what comes, in deliveries and by itself."""

    class Echo(Counting):
        def packet_received(self, packet: bytes) -> None:
            self.transport.write(packet)

    with contextlib.closing(Far()) as far:
        async with by_itself(far, Echo) as (_, port, _):

            def act() -> None:
                port.read_ready()
                port.write(PACKETS[0])

            far.send(PACKETS[0])
            for _ in refused_in_turn(act):
                await asyncio.sleep(0)
                port.read_ready()
                far.recv()
                port.write(PACKETS[0])
                await asyncio.sleep(0)
                assert NO_OFFLOAD + PACKETS[0] in far.recv()
                far.send(PACKETS[0])


def refuse(*args: object) -> NoReturn:
    raise MemoryError


async def test_the_twin_of_a_port_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    use("python", monkeypatch)
    with contextlib.closing(Far()) as far:
        async with by_itself(far, Counting) as (protocol, port, complaints):
            with monkeypatch.context() as patch:
                patch.setattr(far.device.queue, "read", refuse)
                patch.setattr(port.writer, "table", SimpleNamespace(coalesce=refuse))
                port.read_ready()
                port.write(PACKETS[0])
                port.flush()
            assert len(complaints) == 2
            assert far.device.counters.dropped_sent == 1
            far.send(PACKETS[0])
            port.read_ready()
            port.write(PACKETS[0])
            port.flush()
            assert (far.recv(), protocol.packets) == ([NO_OFFLOAD + PACKETS[0]], 1)


async def test_what_a_udp_endpoint_receives_is_counted() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
        async with receiver() as server:
            await asyncio.sleep(0)
            note_complaints()
            transport: Any = server.transport
            asyncio.get_running_loop().remove_reader(transport._fd)
            counters, received = transport.counters, 0

            def send() -> None:
                for size in 1, 1000:
                    far.sendto(bytes(size), transport.local_addr)

            send()
            for _ in refused_in_turn(transport._ready):
                transport._ready()
                received += 2
                assert counters.datagrams_received == received
                send()
            assert {each.errno for each in server.named("error_received")} == {errno.ENOMEM}
            assert counters.dropped_received


async def test_what_a_udp_endpoint_sends_leaves() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
        far.bind(("127.0.0.1", 0))
        far.settimeout(5)
        addr = far.getsockname()
        async with receiver() as server:
            for raised in refused_in_turn(partial(server.transport.sendto, b"first", addr)):
                server.transport.sendto(b"second", addr)
                await asyncio.sleep(0)
                assert raised or far.recv(9) == b"first"
                while far.recv(9) != b"second":
                    assert raised
