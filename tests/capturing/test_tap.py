"""aiotun.capture: what passes between a program and its device, as a library of others reads it."""

from __future__ import annotations

import asyncio
import errno
import gc
import io
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from capture_files import INBOUND, OUTBOUND, read
from hypothesis import given
from hypothesis import strategies as st
from limits import files_up_to
from rigs import MakeRig, Recorder, Rig, SuperRecorder, endpoint, open_rig, packet, segments, until

import aiotun
from aiotun.capturing import Ring, tap
from aiotun.capturing.frames import packets_of
from aiotun.config import Layer
from aiotun.testing import memory_devices


def test_both_directions_of_a_device(rig: Rig, tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    begun = time.time_ns()
    with aiotun.capture(rig.device, path) as capture:
        rig.send(packet(1))
        received = rig.device.recv(timeout=20)
        rig.device.send(packet(2))
    rig.device.send(packet(3))
    assert capture.packets == 2
    contents = read(path)
    assert contents.packets == [(received, OUTBOUND, ""), (packet(2), INBOUND, "")]
    assert [begun < each < time.time_ns() for each in contents.times] == [True, True]
    (interface,) = contents.interfaces
    assert (interface["if_name"], interface["link_type"]) == (rig.device.name, 101)
    (statistics,) = contents.statistics
    assert (statistics["isb_ifrecv"], statistics["isb_ifdrop"]) == (2, 0)


@pytest.mark.parametrize("split", [False, True])
async def test_super_packets_whole_or_split(make_rig: MakeRig, tmp_path: Path, split: bool) -> None:
    path = tmp_path / "x.pcapng"
    with make_rig(offload=True) as rig:
        async with endpoint(rig.device, Recorder) as recorder:
            whole = rig.device.tcp_offload and not split  # Wintun has no super-packets
            with aiotun.capture(recorder.transport, path, split=split):
                recorder.transport.writelines(segments(4))
                recorder.transport.flush()
            recorder.transport.writelines(segments(4, first=4))
    packets = [data for data, direction, _ in read(path).packets if direction == INBOUND]
    if whole:
        assert [len(each) for each in packets] == [sum(map(len, segments(4))) - 3 * HEADERS]
    else:
        assert packets == segments(4)


HEADERS = 40
"""Bytes of IPv4 and TCP without options."""


@pytest.mark.parametrize("kind", [Recorder, SuperRecorder])
async def test_it_begins_and_ends_under_a_transport(
    make_rig: MakeRig, tmp_path: Path, kind: Callable[[], Recorder]
) -> None:
    """Also within a delivery; no packet is lost, doubled or out of order by that."""
    path = tmp_path / "x.pcapng"
    captures: list[aiotun.capturing.Capture] = []
    with make_rig() as rig:
        async with endpoint(rig.device, kind) as recorder:

            def begin_or_end(received: bytes) -> None:
                recorder.transport.write(received)
                if received == packet(2):
                    captures.append(aiotun.capture(rig.device, path))
                elif received == packet(5):
                    captures[0].close()

            recorder.on_packet = begin_or_end
            for number in range(8):
                rig.send(packet(number))
                await until(lambda number=number: len(recorder.packets) == number + 1)  # type: ignore[misc]
                assert rig.recv() == packet(number)
    directions = [(data, direction) for data, direction, _ in read(path).packets]
    assert directions[0] == (packet(2), INBOUND)  # it left at the end of the delivery
    assert directions[1:] == [
        *((packet(n), way) for n in (3, 4) for way in (OUTBOUND, INBOUND)),
        (packet(5), OUTBOUND),
    ]


@pytest.mark.requires("tun", "netns")
async def test_a_relay_between_tuns_under_capture(tmp_path: Path) -> None:
    with open_rig("tun") as a, open_rig("tun") as b:
        async with endpoint(a.device, Recorder) as first, endpoint(b.device, Recorder) as second:
            relay = asyncio.ensure_future(aiotun.relay(first.transport, second.transport))
            await asyncio.sleep(0)
            for device in (a.device, b.device):  # the one that is read, and the one written to
                path = tmp_path / "x.pcapng"
                with aiotun.capture(device, path):
                    a.send(packet(1))
                    assert await asyncio.to_thread(b.recv) == packet(1)
                assert [data for data, _, _ in read(path).packets] == [packet(1)]
            relay.cancel()


@pytest.mark.requires("tun", "netns")
def test_what_the_kernel_refused_is_there(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    with (
        open_rig("tun") as rig,
        aiotun.capture(rig.device, path),
        pytest.raises(aiotun.TunError, match="no IP packet"),
    ):
        rig.device.send(bytes(20))
    assert read(path).packets == [(bytes(20), INBOUND, f"refused: {os.strerror(errno.EINVAL)}")]


@pytest.mark.requires("libpcap")
def test_filter_and_snap_length(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    near, far = memory_devices(offload=True)
    with near, far, aiotun.capture(near, path, filter="tcp", snap_length=30) as capture:
        near.send(packet(1))
        near.send(segments(1)[0])
    assert capture.packets == 1
    contents = read(path)
    assert contents.packets == [(segments(1)[0][:30], INBOUND, "")]
    assert contents.sizes == [len(segments(1)[0])]
    assert contents.interfaces[0]["if_filter"] == (0, b"tcp")


@pytest.mark.parametrize("split", [False, True])
def test_the_first_packets(tmp_path: Path, split: bool) -> None:
    path = tmp_path / "x.pcapng"
    near, far = memory_devices(offload=split)
    with near, far, aiotun.capture(near, path, count=3, split=split) as capture:
        near.send_many(segments(4))
    assert (capture.packets, capture.lost) == (3, 0)
    assert [data for data, _, _ in read(path).packets] == segments(4)[:3]


@pytest.mark.requires("libpcap")
def test_a_tap_has_ethernet_frames(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    near, far = memory_devices(layer="tap")
    frame = bytes(12) + b"\x08\x00" + packet(1)
    with near, far, aiotun.capture(near, path, filter="ip"):
        near.send(frame)
    assert read(path).packets == [(frame, INBOUND, "")]
    assert read(path).interfaces[0]["link_type"] == 1


@pytest.mark.requires("libpcap")
def test_what_cannot_be_captured(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    near, far = memory_devices()
    with near, far:
        with pytest.raises(aiotun.ConfigError, match=r"pcap-filter\(7\)"):
            aiotun.capture(near, path, filter="no such word")
        with pytest.raises(aiotun.ConfigError, match="snap length"):
            aiotun.capture(near, path, snap_length=0)
        with pytest.raises(aiotun.ConfigError, match="count"):
            aiotun.capture(near, path, count=0)
        with pytest.raises(aiotun.ConfigError, match="buffer"):
            aiotun.capture(near, path, buffer=0)
        with pytest.raises(aiotun.ConfigError, match="takes a path"):
            aiotun.capture(near, io.BytesIO(), ring=Ring(size=1000))
        with pytest.raises(FileNotFoundError):
            aiotun.capture(near, tmp_path / "none" / "x.pcapng")
        with (
            aiotun.capture(near, path),
            pytest.raises(aiotun.BusyError, match="captured already"),
        ):
            aiotun.capture(near, tmp_path / "y.pcapng")
        with aiotun.capture(near, path):  # it went back
            pass
    with pytest.raises(aiotun.ClosedError):
        aiotun.capture(near, path)


def test_an_open_file_stays_open() -> None:
    file = io.BytesIO()
    near, far = memory_devices()
    with near, far, aiotun.capture(near, file) as capture:
        near.send(packet(1))
        capture.flush()
    capture.close()
    assert not file.closed
    decoder = aiotun.codecs.Pcapng().decoder()
    assert [each.data for each in decoder.feed(file.getvalue())] == [packet(1)]


def test_a_device_that_is_closed_first(tmp_path: Path) -> None:
    near, far = memory_devices()
    with far, aiotun.capture(near, tmp_path / "x.pcapng"):
        near.close()


class Full(io.BytesIO):
    """A file on a disk that is full, but for what a capture begins with."""

    def writelines(self, lines: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_ends_the_capture_and_not_the_traffic(
    caplog: pytest.LogCaptureFixture,
) -> None:
    near, far = memory_devices()
    with near, far, caplog.at_level(logging.ERROR, "aiotun"):
        with aiotun.capture(near, Full()) as capture:
            for number in range(3):
                near.send(packet(number))
                assert far.recv(timeout=20) == packet(number)
        assert capture.error is not None
        assert (capture.error.errno, capture.packets, capture.lost) == (errno.ENOSPC, 0, 3)
    assert len(caplog.records) == 1
    assert "No space left" in caplog.text


def test_what_waits_for_a_full_disk_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    near, far = memory_devices(offload=False)
    with near, far, aiotun.capture(near, path) as capture, files_up_to(1000):
        near.send(packet(0))
        capture.flush()
        near.send_many([packet(number) for number in range(1, 20)])
        with pytest.raises(OSError, match="File too large"):
            capture.flush()
        capture.close()
        assert (capture.packets, capture.lost) == (1, 19)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full: not on this system")
def test_a_disk_that_is_full_from_the_start() -> None:
    near, far = memory_devices()
    with near, far:
        with pytest.raises(OSError, match="No space left"):
            aiotun.capture(near, "/dev/full")
        gc.collect()  # a file that nobody has closed complains then


def test_a_file_that_others_close_ends_the_capture_and_not_the_traffic(tmp_path: Path) -> None:
    near, far = memory_devices()
    with near, far, open(tmp_path / "x.pcapng", "wb") as file:
        with aiotun.capture(near, file) as capture:
            file.close()
            near.send(packet(1))
            assert far.recv(timeout=20) == packet(1)
        assert capture.error is not None
        assert (capture.error.errno, capture.lost) == (errno.EBADF, 1)


def test_a_flush_while_another_thread_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    closing: list[threading.Thread] = []

    class Queue(SimpleQueue[Any]):
        def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
            if isinstance(item, threading.Event):
                closing.append(threading.Thread(target=capture.close))
                closing[0].start()
                closing[0].join(0.5)  # it may have to wait
            super().put(item)

    monkeypatch.setattr(tap, "SimpleQueue", Queue)
    near, far = memory_devices()
    with near, far:
        capture = aiotun.capture(near, io.BytesIO())
        flushing = threading.Thread(target=capture.flush, daemon=True)
        flushing.start()
        flushing.join(20)
        assert not flushing.is_alive()
        closing[0].join()


@given(frame=st.binary(max_size=100), split=st.booleans(), layer=st.sampled_from(["tun", "tap"]))
def test_a_malformed_frame_is_shown_as_it_is(frame: bytes, split: bool, layer: Layer) -> None:
    packets, remark = packets_of(frame, layer, split=split)
    assert not remark or remark.startswith("malformed: ")
    if remark or not split:
        assert len(packets) == 1
    if remark:
        assert packets == [frame[10:]]


def test_words_on_a_malformed_frame() -> None:
    header = bytes([1, 1]) + (54).to_bytes(2, "little") + bytes(6)  # TCP, which it is not
    assert packets_of(header + packet(1), "tun", split=True) == (
        [packet(1)],
        "malformed: gso_type 0x01 does not fit IPv4 and protocol 253",
    )


class Slow(io.BytesIO):
    """A file that takes no packet before it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def writelines(self, lines: Iterable[Any]) -> None:
        assert self.go_on.wait(30)
        super().writelines(lines)


async def test_what_passes_reaches_the_file_without_a_flush(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    near, far = memory_devices()
    with near, far, aiotun.capture(near, path):
        for number in range(2):
            near.send(packet(number))
            await until(lambda number=number: len(read(path).packets) > number, 30)  # type: ignore[misc]


@pytest.mark.parametrize("offload", [False, True])
def test_what_a_slow_file_does_not_take_is_told_and_holds_nothing_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, offload: bool
) -> None:
    monkeypatch.setattr(tap, "TELL_INTERVAL", 0.0)
    near, far = memory_devices(offload=offload)
    file = Slow()
    size = len(packet(0)) + 10 * offload  # of a frame
    with near, far:
        with aiotun.capture(near, file, buffer=3 * size) as capture:
            for number in range(8):
                near.send(packet(number))
                assert far.recv(timeout=20) == packet(number)
            assert (capture.packets, capture.lost) == (0, 5)
            file.go_on.set()
            capture.flush()
            (tmp_path / "before the end").write_bytes(file.getvalue())
            near.send(packet(8))  # there is room again
        assert (capture.packets, capture.lost) == (4, 5)
    (tmp_path / "whole").write_bytes(file.getvalue())
    contents = read(tmp_path / "whole")
    assert [data for data, _, _ in contents.packets] == [packet(n) for n in (0, 1, 2, 8)]
    for name, received in (("before the end", 8), ("whole", 9)):
        statistics = read(tmp_path / name).statistics[-1]
        assert (statistics["isb_ifrecv"], statistics["isb_ifdrop"]) == (received, 5)
