"""The native module against the Python functions that specify it, and its descriptors."""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any
from unittest.mock import Mock

import packets
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from packets import super_packet, tcp, udp
from rigs import unix_pair
from strategies import spoiled, super_frames, traffic

from aiotun import Device, Interrupt
from aiotun.config import Layer
from aiotun.errors import OffloadError
from aiotun.native import native
from aiotun.offload import NO_OFFLOAD, VirtioNetHeader
from aiotun.offload.checksum import checksum
from aiotun.offload.coalesce import GROTable
from aiotun.offload.segment import gso_split
from aiotun.packetio import are_packets
from aiotun.transports import fastpath
from aiotun.transports.fastpath import make_port

pytestmark = pytest.mark.requires("native")

LAYERS: list[Layer] = ["tun", "tap"]
layers = st.sampled_from(LAYERS)


def outcome(function: Callable[..., Any], *args: Any) -> Any:
    """What it returns, or type and message of what it raises."""
    try:
        return function(*args)
    except Exception as exc:
        return type(exc), str(exc)


headers = st.builds(
    VirtioNetHeader,
    flags=st.sampled_from([0, 1, 1, 3]),
    gso_type=st.sampled_from([0, 1, 4, 5, 0x81, 0x84, 0x85, 3]) | st.integers(0, 255),
    hdr_len=st.sampled_from([0, 40, 52]) | st.integers(0, 0xFFFF),
    gso_size=st.sampled_from([1, 100, 0, 0xFFFF]) | st.integers(0, 0xFFFF),
    csum_start=st.sampled_from([20, 40, 34, 54]) | st.integers(0, 0xFFFF),
    csum_offset=st.sampled_from([16, 6]) | st.integers(0, 0xFFFF),
)


@st.composite
def frames(draw: st.DrawFn, layer: Layer) -> bytes:
    """Good super-packets, spoiled ones, such with another header, and any bytes."""
    kind = draw(st.integers(0, 5))
    if kind == 0:
        return draw(st.binary(max_size=200))
    frame = draw(super_frames(layer))
    if kind == 1:
        return draw(headers).pack() + frame[10:]
    if kind == 2:
        return draw(headers).pack() + draw(spoiled(frame[10:]))
    if kind == 3:
        header = VirtioNetHeader.unpack(frame)
        field = draw(st.sampled_from(header._fields))
        values = st.integers(0, 255 if field in ("flags", "gso_type") else 0xFFFF)
        return header._replace(**{field: draw(values)}).pack() + frame[10:]
    return frame if kind == 4 else draw(spoiled(frame))


@given(
    data=st.binary(max_size=3000) | st.binary(max_size=64).map(bytearray),
    initial=st.integers(0, 0x1_FFFF) | st.integers(0, 1 << 80) | st.integers(max_value=-1),
)
def test_checksum(data: bytes, initial: int) -> None:
    assert outcome(native.checksum, data, initial) == outcome(checksum, data, initial)


@pytest.mark.parametrize("offset", range(9))
@pytest.mark.parametrize("size", [*range(70), 1447, 1448, 65535])
def test_checksum_at_any_address(size: int, offset: int) -> None:
    data = memoryview(os.urandom(size + offset))[offset:]
    assert native.checksum(data) == checksum(data)


@pytest.mark.parametrize("layer", LAYERS)
@given(data=st.data())
def test_gso_split(layer: Layer, data: st.DataObject) -> None:
    frame = data.draw(frames(layer))
    assert outcome(native.gso_split, frame, layer) == outcome(gso_split, frame, layer)


@pytest.mark.parametrize("hostile", [False, True])
@pytest.mark.parametrize("layer", LAYERS)
@given(data=st.data(), some=st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_coalesce(
    layer: Layer, hostile: bool, data: st.DataObject, some: tuple[bool, bool, bool]
) -> None:
    batch = data.draw(traffic(layer, hostile))
    for on in ((True, True, True), some):
        assert native.GROTable(layer, *on).coalesce(batch) == GROTable(layer, *on).coalesce(batch)


@pytest.mark.parametrize("layer", LAYERS)
@given(data=st.data())
def test_coalesce_what_was_split(layer: Layer, data: st.DataObject) -> None:
    """Runs of real length, disturbed at one place."""
    batch = gso_split(data.draw(super_frames(layer)), layer)
    place = data.draw(st.integers(0, len(batch) - 1))
    batch[place] = data.draw(st.just(batch[place]) | spoiled(batch[place]))
    assert native.GROTable(layer).coalesce(batch) == GROTable(layer).coalesce(batch)


LONG = 16375  # VLAN tags: the headers end beyond what 16 bits can say


@pytest.mark.parametrize(
    "batch",
    [
        pytest.param([tcp(4, b"data")[:n] for n in range(45)], id="every length"),
        pytest.param([udp(6, b"data")[:n] for n in range(53)], id="every length of IPv6"),
        pytest.param([packets.ethernet(tcp(4, b"data"), 7)[:n] for n in range(63)], id="tap"),
        pytest.param([packets.ethernet(udp(4, b"d"), *[7] * LONG)] * 2, id="VLAN tags"),
        pytest.param([udp(4, b"d", identification=n) for n in (9, 9, 10, 11, 11)], id="IDs"),
        pytest.param([udp(4, bytes(1400))] * 130, id="more than a super-packet"),
        pytest.param([udp(4, b"d", sport=n % 700) for n in range(2000)], id="many flows"),
        pytest.param([b"", b"\x45", b"\x60"], id="hardly anything"),
    ],
)
def test_coalesce_edges(batch: list[bytes]) -> None:
    for layer in LAYERS:
        assert native.GROTable(layer).coalesce(batch) == GROTable(layer).coalesce(batch)


def test_table_attributes() -> None:
    table = native.GROTable(layer="tap", udp=False)
    assert (table.layer, table.tcp, table.udp) == ("tap", True, False)
    table.tcp, table.udp = False, True
    assert (table.tcp, table.udp) == (False, True)
    with pytest.raises(AttributeError):
        table.layer = "tun"  # type: ignore[misc]


def test_a_port_without_its_twin() -> None:
    """It was not bound: nobody makes one, and it ends no interpreter."""
    port: Any = native.Port()
    for method in (port.write, port.write_super, lambda data: port.writelines([data])):
        with pytest.raises(RuntimeError, match="not bound"):
            method(b"data")
    port.flush()
    port.packets = [b"data"]
    for call in (port.flush, port._end_of_tick, port.read_ready):
        with pytest.raises(RuntimeError, match="not bound"):
            call()


@pytest.mark.parametrize("name", ["tick", "pending", "packets", "callback", "target", "protocol"])
def test_attributes_of_a_port_have_their_type(name: str) -> None:
    port = native.Port()
    before = getattr(port, name)
    with pytest.raises(TypeError):
        delattr(port, name)
    if name != "protocol":
        with pytest.raises(TypeError):
            setattr(port, name, 1)
    assert getattr(port, name) is before


def test_a_port_is_bound_once() -> None:
    near, far = unix_pair()
    device = Device.from_fd(near.detach(), framing="vnet")
    port: Any = make_port(Mock(), Mock(), [], device, Mock())
    table, counters = native.GROTable(), device.counters
    with pytest.raises(RuntimeError, match="once"):
        port._bind(fastpath.Port, 1, "tun", True, None, table, [], counters, 1, 1, 1)
    with pytest.raises(TypeError):
        port._bind(fastpath.Port, 1, "tun", True, None, None, [], counters, 1, 1, 1)
    device.close()
    far.close()


def test_packets_are_bytes() -> None:
    for wrong in ([bytearray(20)], ["packet"], [None]):
        with pytest.raises(TypeError, match="a packet is bytes"):
            native.GROTable().coalesce(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        native.GROTable().coalesce(1)  # type: ignore[arg-type]


# Descriptors: a pair of datagram sockets keeps frames apart as a TUN does.


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = unix_pair(socket.SOCK_DGRAM)
    ours.setblocking(False)
    theirs.setblocking(False)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    with ours, theirs:
        yield ours, theirs


Pair = tuple[socket.socket, socket.socket]


def test_read_packets(pair: Pair) -> None:
    ours, theirs = pair
    frame = super_packet(tcp(4, bytes(range(250)) * 10), 1000)
    for sent in (NO_OFFLOAD + b"any", frame, NO_OFFLOAD + b"", frame):
        theirs.send(sent)
    assert native.read_packets(ours.fileno(), 5, "tun") == (
        [b"any", *gso_split(frame), b""],
        3 + 2500 + 3 * 40,
        3,
        1,
        None,
    )
    assert native.read_packets(ours.fileno(), 1, "tun") == (
        gso_split(frame),
        2500 + 3 * 40,
        1,
        1,
        None,
    )
    assert native.read_packets(ours.fileno(), 1, "tun") is None


def read_all(channel: int, limit: int, layer: Layer) -> list[bytes]:
    """The packets that wait, or none."""
    return (native.read_packets(channel, limit, layer) or ([],))[0]


def test_read_packets_ends_at_a_malformed_frame(pair: Pair) -> None:
    ours, theirs = pair
    for sent in (NO_OFFLOAD + b"one", b"\0\1malformed", NO_OFFLOAD + b"two"):
        theirs.send(sent)
    fd = ours.fileno()
    assert native.read_packets(fd, 9, "tun") == ([b"one"], 3, 2, 0, b"\0\1malformed")
    assert native.read_packets(fd, 9, "tun") == ([b"two"], 3, 1, 0, None)


def test_read_frames(pair: Pair) -> None:
    ours, theirs = pair
    sent = [b"one", b"two" * 30_000, b"three"]
    for frame in sent:
        theirs.send(frame)
    assert native.read_frames(ours.fileno(), 2, None) == [b"one", (b"two" * 30_000)[:65563]]
    assert native.read_frames(ours.fileno(), 2, None) == [b"three"]
    assert native.read_frames(ours.fileno(), 2, None) is None


READS: dict[str, Callable[[int, Any], object]] = {
    "packets": lambda fd, wait: native.read_packets(fd, 5, "tun", wait),
    "frames": lambda fd, wait: native.read_frames(fd, 5, None, 0, wait),
}
reads = pytest.mark.parametrize("read", READS.values(), ids=READS)


class Bytes(bytes):
    pass


NO_BYTES = [None, 1, bytearray(b"1"), memoryview(b"1"), Bytes(b"1")]


@given(
    packets=st.lists(st.binary(max_size=3) | st.sampled_from(NO_BYTES)), size_max=st.integers(0, 3)
)
def test_are_packets(packets: list[Any], size_max: int) -> None:
    assert native.are_packets(packets, size_max) == are_packets(packets, size_max)


@pytest.mark.parametrize("wrong", [(), ([],), ((), 1), ([], "1"), ([], 1 << 80), ([], 1, 1)])
def test_are_packets_of_a_list_and_a_size(wrong: tuple[Any, ...]) -> None:
    with pytest.raises((TypeError, OverflowError)):
        native.are_packets(*wrong)


@reads
def test_wait_for_the_first_frame(read: Callable[[int, Any], object]) -> None:
    ours, theirs = unix_pair()
    ours.setblocking(False)
    with ours, theirs, Interrupt() as interrupt, Interrupt() as other:
        begin = time.monotonic()
        assert read(ours.fileno(), (0.05, (interrupt,))) is None
        assert time.monotonic() >= begin + 0.05
        assert read(ours.fileno(), (-1.0, ())) is None
        with ThreadPoolExecutor(1) as pool:
            for act in (lambda: theirs.send(NO_OFFLOAD + b"any"), other.set):
                waiting = pool.submit(read, ours.fileno(), (None, (interrupt, other)))
                assert not wait([waiting], 0.05).done
                act()
                assert (waiting.result(10) is None) == other.is_set()
        theirs.send(NO_OFFLOAD + b"any")  # what is there is read, whatever is set
        assert read(ours.fileno(), (None, (other,)))
        theirs.close()
        assert read(ours.fileno(), (None, ())) is not None  # for the twin to say why


@reads
@pytest.mark.parametrize(
    "wrong", [0.5, (0.5,), (0.5, [1]), ("a", ()), (0.5, ("a",)), (0.5, (-1,)), (0.5, (0,) * 4)]
)
def test_waits_are_seconds_and_descriptors(read: Callable[[int, Any], object], wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        read(-1, wrong)


@reads
def test_a_signal_ends_the_wait(pair: Pair, read: Callable[[int, Any], object]) -> None:
    """Its handler runs within the call, and may raise."""
    calls: list[int] = []

    def handle(number: int, frame: object) -> None:
        calls.append(number)
        if len(calls) == 2:
            raise KeyError(number)

    before = signal.signal(signal.SIGALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        assert read(pair[0].fileno(), (20.0, ())) is None
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(KeyError):
            read(pair[0].fileno(), (20.0, ()))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("layer", LAYERS)
@given(data=st.data(), tcp_on=st.booleans(), unsummed=st.booleans())
def test_write_packets(layer: Layer, data: st.DataObject, tcp_on: bool, unsummed: bool) -> None:
    batch = data.draw(traffic(layer, True)) + gso_split(data.draw(super_frames(layer)), layer)[:64]
    expected = GROTable(layer, tcp_on, True, unsummed).coalesce(batch)
    ours, theirs = unix_pair()
    with ours, theirs:
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        size, written, supers, left = native.write_packets(
            ours.fileno(), batch, layer, tcp_on, True, unsummed
        )
        received = [theirs.recv(1 << 17) for _ in range(written)]
    assert received + left == expected
    assert size == sum(map(len, batch))
    assert supers == sum(1 for frame in received if frame[1])


@pytest.mark.parametrize("layer", LAYERS)
@given(data=st.data())
def test_write_what_was_read(layer: Layer, data: st.DataObject) -> None:
    """What the splitter made is recognised: that must show in nothing but the time it takes."""
    ours, theirs = unix_pair()
    with ours, theirs:
        for end in (ours, theirs):
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        kept: list[bytes] = []  # not to be filled anew
        expected_kept: list[bytes] = []
        for frame in data.draw(st.lists(frames(layer), min_size=1, max_size=3)):
            theirs.send(frame)
            batch = read_all(ours.fileno(), 128, layer)
            expected = outcome(gso_split, frame, layer)
            assert batch == (expected if isinstance(expected, list) else [])
            batch = data.draw(
                st.sampled_from([batch, batch[1:], batch[::-1], batch[::3], batch + batch])
            )[:200]
            batch = data.draw(traffic(layer))[:2] + batch
            _, written, _, left = native.write_packets(
                ours.fileno(), batch, layer, True, True, False
            )
            received = [theirs.recv(1 << 17) for _ in range(written)]
            assert received + left == GROTable(layer).coalesce(batch)
            kept += batch[:3]
            expected_kept += [bytes(bytearray(packet)) for packet in batch[:3]]
        assert kept == expected_kept


@given(
    version=st.sampled_from([4, 6]),
    tap=st.booleans(),
    sent=st.lists(
        st.tuples(
            st.sampled_from([40, 2000, 2020, 3200, 5000]),  # bytes
            st.sampled_from([50, 1000]),  # gso_size
            st.sampled_from([packets.ACK] * 3 + [packets.ACK | packets.PSH, packets.CWR]),
            st.booleans(),  # whether one of another flow comes before it
        ),
        min_size=1,
        max_size=4,
    ),
    left_out=st.sampled_from([slice(0), slice(0), slice(3, 4), slice(-1, None)]),
)
@example(
    4,
    False,
    [(1000, 1000, packets.ACK, False), *[(29_000, 1000, packets.ACK, False)] * 3],
    slice(0),
)
@example(
    6,
    False,
    [(1400, 1400, packets.ACK, False), *[(42_000, 1400, packets.ACK, False)] * 2],
    slice(0),
)
@example(
    4, True, [(1000, 1000, packets.ACK, False), *[(2500, 1000, packets.ACK, False)] * 2], slice(0)
)
@example(
    4,
    True,
    [(1000, 1000, packets.ACK, False), *[(3000, 1000, packets.ACK | packets.PSH, False)] * 2],
    slice(0),
)
def test_write_what_was_read_of_one_flow(
    version: int,
    tap: bool,
    sent: list[tuple[int, int, int, bool]],
    left_out: slice,
) -> None:
    """Frames that continue each other, whole or not, and more than one run can have."""
    layer: Layer = "tap" if tap else "tun"
    identification, seq = 0, 1
    ours, theirs = unix_pair()
    with ours, theirs:
        for end in (ours, theirs):
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        for size, gso_size, flags, other in sent:
            ids: dict[str, Any] = {"identification": identification} if version == 4 else {}
            payload = (bytes(range(251)) * (size // 251 + 1))[:size]
            packet = tcp(version, payload, seq=seq, flags=flags, **ids)
            if other:
                stranger = udp(4, b"stranger")
                theirs.send(NO_OFFLOAD + (packets.ethernet(stranger) if tap else stranger))
            theirs.send(super_packet(packets.ethernet(packet) if tap else packet, gso_size, layer))
            seq += size
            identification += -(-size // gso_size)
        while batch := read_all(ours.fileno(), 128, layer):
            del batch[left_out]
            _, written, _, left = native.write_packets(
                ours.fileno(), batch, layer, True, True, False
            )
            received = [theirs.recv(1 << 17) for _ in range(written)]
            assert received + left == GROTable(layer).coalesce(batch)


def test_write_what_was_read_before_the_last(pair: Pair) -> None:
    """Where the second frame stood there is another one by now."""
    ours, theirs = pair
    for value in range(2):
        theirs.send(super_packet(tcp(4, bytes([value]) * 8000), 1000))
    before = read_all(ours.fileno(), 16, "tun")
    theirs.send(super_packet(tcp(4, bytes([2]) * 60_000), 7500))
    last = read_all(ours.fileno(), 16, "tun")
    for batch in (last, before[8:]):
        left = native.write_packets(-1, batch, "tun", True, True, False)[3]
        assert left == GROTable().coalesce(batch)


def test_read_more_than_there_is_room_for_at_once(pair: Pair) -> None:
    ours, theirs = pair
    sent = []
    for value in range(7):
        sent.append(super_packet(tcp(4, bytes([value]) * 60_000), 7500))
        sent.append(NO_OFFLOAD + udp(4, bytes([value]) * 8000))
    for frame in sent:
        theirs.send(frame)
    read = native.read_packets(ours.fileno(), 128, "tun")
    assert read
    batch, _, frames, super_packets, _ = read
    assert (frames, super_packets) == (14, 7)
    assert batch == [packet for frame in sent for packet in gso_split(frame)]
    left = native.write_packets(-1, batch, "tun", True, True, False)[3]
    assert left == GROTable().coalesce(batch)


def test_read_while_another_thread_writes() -> None:
    """What is read stands elsewhere than what is being written from where it was read."""
    ours, theirs = unix_pair()
    with ours, theirs:
        theirs.send(super_packet(tcp(4, bytes(50_000)), 1000))
        segments = read_all(ours.fileno(), 50, "tun")
        ours.setblocking(False)
        filled = 0
        with contextlib.suppress(BlockingIOError):
            while ours.send(bytes(50_000)):
                filled += 1
        ours.setblocking(True)
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(
                native.write_packets, ours.fileno(), segments, "tun", True, True, False
            )
            assert not wait([writing], 0.1).done
            theirs.send(super_packet(tcp(4, bytes([1]) * 50_000), 1000))
            assert read_all(ours.fileno(), 50, "tun") != segments
            for _ in range(filled):
                theirs.recv(1 << 17)
            assert writing.result(5)[1] == 1
        assert [theirs.recv(1 << 17)] == GROTable().coalesce(segments)


def test_read_while_another_thread_reads() -> None:
    """Each has a place of its own, and what the first one reads from then on is not kept."""
    frame, other, later = (super_packet(tcp(4, bytes([n]) * 8000), 1000) for n in range(3))
    ours, theirs = unix_pair()
    elsewhere, their_own = unix_pair()
    with ours, theirs, elsewhere, their_own, ThreadPoolExecutor(1) as pool:
        theirs.send(frame)
        reading = pool.submit(read_all, ours.fileno(), 9, "tun")
        assert not wait([reading], 0.1).done
        their_own.send(other)
        segments = [read_all(elsewhere.fileno(), 8, "tun")]
        theirs.send(later)
        segments.append(reading.result(5)[8:])
    _overwritten = bytes([3]) * 250_000  # it takes the memory, if that was given back
    for batch in segments:
        left = native.write_packets(-1, batch, "tun", True, True, False)[3]
        assert left == GROTable().coalesce(batch)


def test_each_thread_has_segments_of_its_own(pair: Pair) -> None:
    """What one reads takes nothing from what another is about to write."""
    ours, theirs = pair
    frame = super_packet(tcp(4, bytes(8000)), 1000)
    with ThreadPoolExecutor(1) as pool:
        places = []
        for _ in range(2):
            theirs.send(frame)
            places.append([id(segment) for segment in read_all(ours.fileno(), 8, "tun")])
            theirs.send(frame)
            held = pool.submit(read_all, ours.fileno(), 8, "tun").result(5)
        assert places[0] == places[1]  # filled anew
        assert not {*places[0]} & {*map(id, held)}


def test_segments_of_a_tun_are_none_of_a_tap(pair: Pair) -> None:
    """Written to a TAP they are looked at anew, whatever headers a TAP finds in them."""
    looks: dict[str, Any] = {
        "source": "8.0.69.0",  # EtherType, and the beginning of an IPv4 header
        "destination": "3.246.0.0",  # its length
        "sport": 0x4000,  # no fragment
        "dport": 0x4006,  # TTL, TCP
    }
    payload = bytearray(989)
    payload[6] = 0x50  # the size of its TCP header
    ours, theirs = pair
    theirs.send(super_packet(tcp(4, bytes(payload), **looks), 988))
    segments = read_all(ours.fileno(), 9, "tun")
    native.read_packets(ours.fileno(), 9, "tap")
    left = native.write_packets(-1, segments, "tap", True, True, False)[3]
    assert left == GROTable("tap").coalesce(segments)


def test_large_frames(pair: Pair) -> None:
    """Their memory is used again unless somebody holds them; a call reads four."""
    ours, theirs = pair
    sent = [bytes([value]) * (60000 - value) for value in range(12)]
    received: list[list[bytes]] = []
    for step in range(0, 12, 6):
        for frame in sent[step : step + 6]:
            theirs.send(frame)
        received += [native.read_frames(ours.fileno(), 9, None) or [] for _ in range(2)]
    assert [len(frames) for frames in received] == [4, 2, 4, 2]
    assert [frame for frames in received for frame in frames] == sent
    for value in range(3):
        frame = bytes([value]) * (50000 + value)
        theirs.send(frame)
        (again,) = native.read_frames(ours.fileno(), 9, None) or []
        assert again == frame
        assert hash(again) == hash(frame)
        del again  # so that its memory is free to be filled anew


@pytest.mark.parametrize("families", [None, (2, 30)], ids=["plain", "behind a family"])
@given(sizes=st.lists(st.sampled_from([1, 1024, 1025, 2048, 2049, 9000, 40000]), max_size=30))
def test_frames_of_all_sizes(families: tuple[int, int] | None, sizes: list[int]) -> None:
    """Those that somebody holds stay as they are, whatever is read after them."""
    ours, theirs = unix_pair()
    head = b"" if families is None else bytes(4)
    waiting = [(b"%06d" % number * (size // 6 + 1))[:size] for number, size in enumerate(sizes)]
    held: list[tuple[bytes, bytes]] = []
    with ours, theirs:
        ours.setblocking(False)
        while waiting:
            sent, waiting = waiting[:5], waiting[5:]
            for frame in sent:
                theirs.send(head + frame)
            received: list[bytes] = []
            while len(received) < len(sent):
                frames = native.read_frames(ours.fileno(), 4, families) or []
                assert 0 < len(frames) <= 4
                received += frames
            assert received == sent
            assert list(map(hash, received)) == list(map(hash, sent))
            held += zip(received[::2], sent[::2], strict=True)
            del frames, received
    assert all(got == expected for got, expected in held)


def test_segments_are_filled_anew(pair: Pair) -> None:
    """Only those that nobody else holds, and the hash is that of the new bytes."""
    ours, theirs = pair
    kept: list[bytes] = []
    for value in range(3):
        frame = super_packet(tcp(4, bytes([value]) * 3000), 1000)
        theirs.send(frame)
        segments = read_all(ours.fileno(), 3, "tun")
        expected = gso_split(frame)
        assert segments == expected
        assert list(map(hash, segments)) == list(map(hash, expected))
        kept.append(segments[1])
        del segments
    assert [packet[-1] for packet in kept] == [0, 1, 2]


@pytest.mark.parametrize("wrong", [4, (1,), (1, 2, 3), ("a", "b"), [1, 2]])
def test_families_are_two_numbers(wrong: Any) -> None:
    with pytest.raises(TypeError):
        native.read_frames(-1, 1, wrong)
    with pytest.raises(TypeError):
        native.write_frames(-1, [], wrong)


def test_writing_ends_where_no_more_is_taken(pair: Pair) -> None:
    ours, theirs = pair
    batch = [udp(4, bytes(1000), sport=n // 3) for n in range(3000)]
    expected = GROTable().coalesce(batch)
    size, written, supers, left = native.write_packets(
        ours.fileno(), batch, "tun", True, True, False
    )
    assert size == 3000 * 1028
    assert 0 < written == supers < len(expected)
    assert left == expected[written:]
    assert native.write_frames(ours.fileno(), left, None) == 0
    assert [theirs.recv(1 << 16) for _ in range(written)] == expected[:written]
    assert native.write_frames(ours.fileno(), left[:2], None) == 2
    assert [theirs.recv(1 << 16) for _ in range(2)] == left[:2]


@pytest.mark.parametrize("layer", LAYERS)
@given(data=st.data(), tcp_on=st.booleans(), udp_on=st.booleans())
def test_write_super(layer: Layer, data: st.DataObject, tcp_on: bool, udp_on: bool) -> None:
    """What the header's own check has nothing against is written, and nothing else.

    Nor TCP behind IPv6 extension headers, which some kernels drop, nor an empty packet.
    """
    frame = data.draw(frames(layer))
    try:
        header = VirtioNetHeader.unpack(frame)
        layout = header.check(frame[10:], layer)
        expected = tcp_on if header.is_tcp else udp_on if header.is_udp else True
        if layout is None:
            expected = len(frame) > VirtioNetHeader.SIZE
        elif header.is_tcp and layout.has_extensions:
            expected = False
    except OffloadError:
        expected = False
    ours, theirs = unix_pair()
    with ours, theirs:
        theirs.setblocking(False)
        assert native.write_super(ours.fileno(), frame, layer, tcp_on, udp_on) is expected
        if expected:
            assert theirs.recv(1 << 17) == frame
        else:
            with pytest.raises(BlockingIOError):
                theirs.recv(1)


def test_a_descriptor_that_is_none() -> None:
    assert native.read_packets(-1, 5, "tun") == ([], 0, 0, 0, None)
    assert native.read_frames(-1, 5, None) == []
    left = [NO_OFFLOAD + b"any"]
    assert native.write_packets(-1, [b"any"], "tun", True, True, False) == (3, 0, 0, left)
    assert native.write_frames(-1, [b"any"], None) == 0
    assert not native.write_super(-1, NO_OFFLOAD, "tun", True, True)


def test_a_module_that_is_collected_keeps_nothing() -> None:
    spec = importlib.util.find_spec(native.__name__)
    assert spec
    assert spec.loader
    gc.collect()
    held = sys.getrefcount(checksum)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.checksum(b"data", 1 << 80) == checksum(b"data", 1 << 80)  # left to that one
    assert sys.getrefcount(checksum) == held + 1
    del module
    gc.collect()
    assert sys.getrefcount(checksum) == held


def test_it_can_be_switched_off() -> None:
    program = "from aiotun.offload import implementation; print(implementation)"
    for value, expected in (("1", "python"), ("0", "native"), ("", "native")):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "AIOTUN_PURE": value},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == expected


def test_memory_does_not_grow() -> None:
    """Every path, good and bad, gives back what it took."""
    frame = super_packet(tcp(4, bytes(60_000)), 1000)
    batch = native.gso_split(frame)

    def each() -> None:
        native.GROTable().coalesce(batch)
        native.gso_split(frame)
        outcome(native.gso_split, frame[:50])
        outcome(native.GROTable().coalesce, [*batch, None])
        native.write_packets(-1, batch, "tun", True, True, False)
        native.write_frames(-1, batch, None)
        native.read_frames(-1, 1, None)
        native.read_packets(-1, 1, "tun")
        outcome(native.checksum, frame, 1 << 80)

    tracemalloc.start()
    try:
        each()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(20):
            each()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 10_000  # a call's packets are 60,000 bytes
