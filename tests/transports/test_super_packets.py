"""Super-packets in a transport: what leaves merged, what is refused, what is split."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable

import packets
import pytest
from rigs import (
    SEGMENT,
    MakeRig,
    MemoryRig,
    Recorder,
    Rig,
    SuperRecorder,
    endpoint,
    open_rig,
    packet,
    segments,
    unix_pair,
    until,
)

import aiotun
from aiotun.offload import NO_OFFLOAD
from aiotun.platforms.base import Framing
from aiotun.testing.pytest_plugin import require


def needs_offload(rig: Rig, kind: str) -> None:
    """Skip where the kernel takes no super-packets of this kind."""
    if not (rig.device.udp_offload if kind == "udp" else rig.device.tcp_offload):
        require("uso" if kind == "udp" else "tso")


def super_packet(count: int, kind: str = "tcp") -> aiotun.SuperPacket:
    """The packets of `segments` in one."""
    payload = b"".join(bytes([n]) * SEGMENT for n in range(count))
    whole = packets.udp(payload=payload) if kind == "udp" else packets.tcp(payload=payload)
    return aiotun.SuperPacket(packets.super_packet(whole, SEGMENT))


@pytest.mark.parametrize("kind", ["tcp", "udp"])
async def test_what_is_written_in_one_tick_leaves_merged(rig: Rig, kind: str) -> None:
    needs_offload(rig, kind)
    async with endpoint(rig.device, Recorder) as protocol:
        protocol.transport.writelines(segments(10, kind))
        await asyncio.sleep(0.01)
        assert len(rig.recv()) == len(segments(1, kind)[0]) + 9 * SEGMENT
        counters = protocol.transport.counters
        assert (counters.packets_sent, counters.frames_sent) == (10, 1)
        assert counters.super_packets_sent == 1


async def test_without_offload_nothing_is_merged(make_rig: MakeRig) -> None:
    with make_rig(offload=False) as rig:
        async with endpoint(rig.device, Recorder) as protocol:
            protocol.transport.writelines(segments(10))
            protocol.transport.flush()
            assert [rig.recv() for _ in range(10)] == segments(10)
            assert protocol.transport.counters.super_packets_sent == 0


async def test_enough_packets_leave_before_the_tick_ends(rig: Rig) -> None:
    async with endpoint(rig.device, Recorder) as protocol:
        for packet in segments(150) * 2:
            protocol.transport.write(packet)
        assert protocol.transport.get_write_buffer_size() == 300 - 256
        rig.recv()


@pytest.mark.parametrize("factory", [Recorder, SuperRecorder])
@pytest.mark.parametrize("kind", ["tcp", "udp"])
async def test_super_packets_through_a_pair(factory: type[Recorder], kind: str) -> None:
    with open_rig("memory") as rig:
        async with endpoint(rig.device, factory) as protocol:
            assert isinstance(rig, MemoryRig)
            rig.send_many(segments(10, kind))
            await until(lambda: len(protocol.packets) == 10)
            assert protocol.packets == segments(10, kind)
            counters = protocol.transport.counters
            assert (counters.frames_received, counters.super_packets_received) == (1, 1)


@pytest.mark.parametrize("kind", ["tcp", "udp"])
async def test_write_super_goes_out_whole_and_in_order(rig: Rig, kind: str) -> None:
    needs_offload(rig, kind)
    async with endpoint(rig.device, Recorder) as protocol:
        before, after = segments(1, kind, 100), segments(1, kind, 120)
        protocol.transport.write(before[0])
        protocol.transport.write_super(super_packet(5, kind))
        protocol.transport.write(after[0])
        protocol.transport.flush()
        assert rig.recv() == before[0]
        assert len(rig.recv()) == len(super_packet(5, kind))
        assert rig.recv() == after[0]
        assert protocol.transport.counters.super_packets_sent == 1


async def test_write_super_splits_for_a_device_without_offload(make_rig: MakeRig) -> None:
    with make_rig(offload=False) as rig:
        async with endpoint(rig.device, Recorder) as protocol:
            protocol.transport.write_super(super_packet(5))
            assert [rig.recv() for _ in range(5)] == super_packet(5).split()
            assert protocol.transport.counters.packets_sent == 5


EXTENSIONS = {
    "hop-by-hop options": [(0, b"\x01\x04\0\0\0\0")],
    "destination options": [(60, b"\x01\x04\0\0\0\0")],
    "routing header": [(43, b"\x04\0\0\0\0\0")],
}


@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("extensions", EXTENSIONS.values(), ids=EXTENSIONS)
async def test_write_super_splits_tcp_behind_extension_headers(
    rig: Rig, extensions: list[tuple[int, bytes]], kind: str
) -> None:
    """Linux 6.12 and later lose such super-packets; those of UDP they take."""
    needs_offload(rig, kind)
    make = packets.tcp if kind == "tcp" else packets.udp
    whole = make(6, bytes(3 * SEGMENT), extensions=extensions)
    written = aiotun.SuperPacket(packets.super_packet(whole, SEGMENT))
    async with endpoint(rig.device, Recorder) as protocol:
        protocol.transport.write_super(written)
        if kind == "tcp":
            assert [rig.recv() for _ in range(3)] == written.split()
        else:
            assert len(rig.recv()) == len(written)
        assert protocol.transport.counters.super_packets_sent == (kind == "udp")


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (b"short", "too short"),
        (super_packet(3).frame[:-1], "IP header says"),
        (b"\x00\x05" + super_packet(3).frame[2:], "gso_type"),
    ],
    ids=["no header", "wrong length", "wrong type"],
)
async def test_a_super_packet_that_lies_raises(rig: Rig, frame: bytes, says: str) -> None:
    async with endpoint(rig.device, Recorder) as protocol:
        with pytest.raises(aiotun.OffloadError, match=says):
            protocol.transport.write_super(aiotun.SuperPacket(frame))
        protocol.transport.write(segments(1)[0])
        protocol.transport.flush()
        assert rig.recv() == segments(1)[0]


@pytest.mark.parametrize("size", [0, 65536])
@pytest.mark.parametrize("offload", [True, False])
async def test_impossible_super_packets_are_dropped_and_reported(
    make_rig: MakeRig, offload: bool, size: int
) -> None:
    wrong = aiotun.SuperPacket(NO_OFFLOAD + packet().ljust(65536)[:size])
    with make_rig(offload=offload) as rig:
        async with endpoint(rig.device, Recorder) as protocol:
            protocol.transport.write_super(wrong)
            protocol.transport.write_super(aiotun.SuperPacket(NO_OFFLOAD + packet(1)))
            assert rig.recv() == packet(1)
            (error,) = protocol.named("error_received")
            assert error.errno == (errno.EMSGSIZE if size else errno.EINVAL)
            counters = protocol.transport.counters
            assert (counters.packets_sent, counters.dropped_sent) == (2, 1)


@pytest.mark.parametrize("framing", ["none", "vnet", "pi", "family"])
async def test_an_empty_super_packet_ends_no_device_of_a_descriptor(framing: Framing) -> None:
    ours, theirs = unix_pair()
    device = aiotun.Device.from_fd(ours.detach(), framing=framing)
    with theirs:
        async with endpoint(device, Recorder) as protocol:
            protocol.transport.write_super(aiotun.SuperPacket(NO_OFFLOAD))
            (error,) = protocol.named("error_received")
            assert isinstance(error, aiotun.errors.PacketError)
            assert not protocol.transport.is_closing()


def refuse(
    device: aiotun.Device, monkeypatch: pytest.MonkeyPatch, refused: Callable[[bytes], bool]
) -> None:
    """Let the kernel refuse frames; which ones a real one refuses depends on its drivers."""
    write = device.queue.write

    def refusing(frame: bytes) -> None:
        if refused(frame):
            raise OSError(errno.EINVAL, "of the test")
        write(frame)

    monkeypatch.setattr(device.queue, "direct", None)
    monkeypatch.setattr(device.queue, "write", refusing)


@pytest.mark.parametrize("kind", ["tcp", "udp"])
async def test_a_refused_super_packet_goes_out_as_packets(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    needs_offload(rig, kind)
    caplog.set_level(logging.WARNING, "aiotun")
    refuse(rig.device, monkeypatch, lambda frame: frame[1] != 0)
    async with endpoint(rig.device, Recorder) as protocol:
        for start in (0, 10):
            protocol.transport.writelines(segments(10, kind, start))
            protocol.transport.flush()
        assert [rig.recv() for _ in range(20)] == segments(20, kind)
        protocol.transport.write_super(super_packet(3, kind))
        assert [rig.recv() for _ in range(3)] == super_packet(3, kind).split()
        assert protocol.named("error_received") == []
        assert protocol.transport.counters.dropped_sent == 0
        (record,) = caplog.records  # once, not for each
        assert kind.upper() in record.getMessage()
        assert record.getMessage().startswith(f"{rig.device.name}: ")


def nothing(device: aiotun.Device, monkeypatch: pytest.MonkeyPatch) -> None: ...


def no_offload(device: aiotun.Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.queue, "tcp_offload", False)


def refuse_some(device: aiotun.Device, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(device, monkeypatch, lambda frame: frame[10:] not in segments(1))


def push_back(device: aiotun.Device, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(frame: bytes) -> None:
        raise BlockingIOError(errno.EAGAIN, "of the test")

    monkeypatch.setattr(device.queue, "direct", None)
    monkeypatch.setattr(device.queue, "write", write)


@pytest.mark.parametrize("written", ["whole", "in packets"])
@pytest.mark.parametrize(
    ("obstacle", "dropped"), [(nothing, 0), (no_offload, 0), (refuse_some, 2), (push_back, 3)]
)
async def test_a_super_packet_counts_as_its_packets(
    monkeypatch: pytest.MonkeyPatch,
    written: str,
    obstacle: Callable[[aiotun.Device, pytest.MonkeyPatch], None],
    dropped: int,
) -> None:
    """Whatever becomes of it; what waits at an `abort` is dropped."""
    with open_rig("memory") as rig:
        obstacle(rig.device, monkeypatch)
        async with endpoint(rig.device, Recorder) as protocol:
            transport = protocol.transport
            if written == "whole":
                transport.write_super(super_packet(3))
            else:
                transport.writelines(segments(3))
                transport.flush()
            transport.abort()
            counters = transport.counters
            assert (counters.packets_sent, counters.dropped_sent) == (3, dropped)
            assert counters.bytes_sent == sum(map(len, segments(3)))
            transport.write_super(super_packet(3))
            assert (counters.packets_sent, counters.dropped_sent) == (6, dropped + 3)


async def test_a_super_packet_that_is_not_delivered_counts_as_its_packets() -> None:
    """The empty frame behind it is dropped too, and pauses reading before it is delivered."""
    with open_rig("memory") as rig:
        async with endpoint(rig.device, SuperRecorder) as protocol:
            transport = protocol.transport
            protocol.error_received = lambda exc: transport.pause_reading()  # type: ignore[method-assign]
            rig.device.queue._frames.extend([super_packet(3).frame, b""])  # type: ignore[attr-defined]
            transport._port.read_ready()
            transport.close()
            await transport.wait_closed()
            assert protocol.packets == []
            counters = transport.counters
            assert (counters.packets_received, counters.dropped_received) == (3, 3 + 1)
            assert counters.bytes_received == sum(map(len, segments(3)))


async def test_one_kind_refused_leaves_the_other(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_offload(rig, "udp")
    refuse(rig.device, monkeypatch, lambda frame: frame[1] == 5)
    async with endpoint(rig.device, Recorder) as protocol:
        protocol.transport.writelines(segments(2, "udp"))
        protocol.transport.flush()
        protocol.transport.writelines(segments(2, "tcp"))
        protocol.transport.flush()
        assert protocol.transport.counters.super_packets_sent == 2
        assert protocol.transport.counters.frames_sent == 2


async def test_packets_refused_too_do_not_switch_coalescing_off(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    needs_offload(rig, "tcp")
    with monkeypatch.context() as patch:
        refuse(rig.device, patch, lambda frame: True)
        async with endpoint(rig.device, Recorder) as protocol:
            protocol.transport.writelines(segments(10))
            protocol.transport.flush()
            (error,) = protocol.named("error_received")
            assert isinstance(error, aiotun.errors.PacketError)
            assert protocol.transport.counters.dropped_sent == 10
            assert caplog.records == []
            patch.undo()
            protocol.transport.writelines(segments(10))
            protocol.transport.flush()
            assert len(rig.recv()) == len(super_packet(10))


async def test_a_refusal_followed_by_push_back_keeps_the_order(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_offload(rig, "tcp")
    written: list[bytes] = []
    full = True

    def write(frame: bytes) -> None:
        if frame[1]:
            raise OSError(errno.EINVAL, "of the test")
        if full and len(written) == 4:
            raise BlockingIOError(errno.EAGAIN, "of the test")
        written.append(frame[10:])

    monkeypatch.setattr(rig.device.queue, "direct", None)
    monkeypatch.setattr(rig.device.queue, "write", write)
    async with endpoint(rig.device, Recorder) as protocol:
        protocol.transport.writelines([*segments(8), *segments(3, "udp")])
        protocol.transport.flush()
        assert len(written) == 4
        full = False
        protocol.transport._write_ready()
        assert written == [*segments(8), *segments(3, "udp")]


async def test_a_malformed_frame_is_counted_and_reported() -> None:
    with open_rig("memory") as rig:
        async with endpoint(rig.device, Recorder) as protocol:
            rig.device.queue._frames.append(super_packet(3).frame[:-7])  # type: ignore[attr-defined]
            rig.send(segments(1)[0])
            await until(lambda: protocol.packets)
            (error,) = protocol.named("error_received")
            assert isinstance(error, aiotun.OffloadError)
            assert protocol.transport.counters.dropped_received == 1
            assert protocol.packets == segments(1)


async def test_uso_is_what_the_kernel_grants(make_rig: MakeRig) -> None:
    require("uso")
    with make_rig() as rig:
        assert rig.device.tcp_offload
        assert rig.device.udp_offload
