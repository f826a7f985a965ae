"""What is not bytes at an entrance for bytes, or of another type: a TypeError, and nothing else."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import inspect
import socket
import time
from array import array
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from implementations import Implementation
from rigs import Recorder, endpoint, packet, segments, unix_pair

import aiotun
from aiotun.codecs import (
    COBS,
    SLIP,
    Ethernet,
    IPStream,
    LengthDelimited,
    LengthPrefixed,
    Pcap,
    Pcapng,
    RawStream,
    StreamCodec,
    VarintPrefixed,
)
from aiotun.handover import receive_device, send_device
from aiotun.offload import (
    NO_OFFLOAD,
    SuperPacket,
    VirtioNetHeader,
    complete_checksum,
    is_candidate,
    partial_sum,
)
from aiotun.testing import memory_devices

NOT_BYTES: dict[str, Any] = {
    "None": None,
    "a number": 1000,
    "a text": "packet",
    "a list of numbers": [69, 0],
    "an array": array("H", b"packet"),
}
not_bytes = pytest.mark.parametrize("wrong", NOT_BYTES.values(), ids=NOT_BYTES)


# Offload alone, the Python and the native functions.

OFFLOAD: dict[str, Callable[[Implementation, Any], object]] = {
    "checksum": lambda offload, wrong: offload.checksum(wrong),
    "checksum, from a sum on": lambda offload, wrong: offload.checksum(wrong, 5),
    "gso_split": lambda offload, wrong: offload.gso_split(wrong),
    "gso_split, for a TAP": lambda offload, wrong: offload.gso_split(wrong, "tap"),
    "coalesce": lambda offload, wrong: offload.GROTable().coalesce([wrong]),
    "coalesce, no list": lambda offload, wrong: offload.GROTable().coalesce(wrong),
    "coalesce, amid packets": lambda offload, wrong: offload.GROTable().coalesce(
        [*segments(2), wrong, *segments(2)]
    ),
    "SuperPacket": lambda _, wrong: SuperPacket(wrong),
    "partial_sum": lambda _, wrong: partial_sum(wrong),
    "complete_checksum": lambda _, wrong: complete_checksum(wrong, 0, 0),
    "is_candidate": lambda _, wrong: is_candidate(wrong),
}


OF_A_LAYER: dict[str, Callable[[Implementation, Any], object]] = {
    "gso_split": lambda offload, layer: offload.gso_split(NO_OFFLOAD + packet(), layer),
    "GROTable": lambda offload, layer: offload.GROTable(layer),
    "VirtioNetHeader.layout": lambda _, layer: VirtioNetHeader(gso_type=1, gso_size=1).layout(
        packet(), layer
    ),
}


@pytest.mark.parametrize("layer", ["TAP", "", None, b"tun"])
@pytest.mark.parametrize("call", OF_A_LAYER.values(), ids=OF_A_LAYER)
def test_no_layer(offload_impl: Implementation, call: Callable[..., object], layer: object) -> None:
    with pytest.raises(ValueError, match=f"a layer is 'tun' or 'tap', not {layer!r}"):
        call(offload_impl, layer)


@not_bytes
@pytest.mark.parametrize("call", OFFLOAD.values(), ids=OFFLOAD)
def test_offload(offload_impl: Implementation, call: Callable[..., object], wrong: Any) -> None:
    with pytest.raises(TypeError):
        call(offload_impl, wrong)


MUTABLE = {"a bytearray": bytearray(b"packet"), "a memoryview": memoryview(b"packet")}


@pytest.mark.parametrize("wrong", MUTABLE.values(), ids=MUTABLE)
@pytest.mark.parametrize("name", ["gso_split", "coalesce", "SuperPacket", "is_candidate"])
def test_what_may_change_is_no_frame(offload_impl: Implementation, name: str, wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"a (frame|packet) is bytes, not (bytearray|memoryview)"):
        OFFLOAD[name](offload_impl, wrong)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(memoryview(b"abcdef")[::2], id="a slice with gaps"),
        pytest.param(memoryview(array("H", b"abcdef")), id="items of two bytes"),
        pytest.param(memoryview(b"abcdef").cast("B", (2, 3)), id="two dimensions"),
    ],
)
def test_a_memoryview_stands_for_its_bytes(offload_impl: Implementation, data: memoryview) -> None:
    assert offload_impl.checksum(data) == offload_impl.checksum(bytes(data))


# Devices: one that is read and written natively where that was built, and one in Python.


class Ends(NamedTuple):
    device: aiotun.Device
    written: Callable[[], bytes]
    """The next frame that the device wrote; raises `BlockingIOError` if there is none."""


@pytest.fixture(params=["sockets", "memory"])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    with contextlib.ExitStack() as stack:
        if request.param == "memory":
            near: aiotun.Device
            near, far = memory_devices()
            stack.enter_context(far)
            written = far.queue.read
        else:
            pair = unix_pair()
            near = aiotun.Device.from_fd(pair[0].detach(), framing="vnet")
            pair[1].setblocking(False)
            stack.enter_context(pair[1])
            written = functools.partial(pair[1].recv, 1 << 17)
        stack.enter_context(near)
        yield Ends(near, written)


def check_alive(ends: Ends, send: Callable[[bytes], object]) -> None:
    """Nothing was written before, nothing was counted, and the device goes on."""
    with pytest.raises(BlockingIOError):
        ends.written()
    send(packet())
    assert ends.written() == NO_OFFLOAD + packet()
    counters = ends.device.counters
    assert (counters.packets_sent, counters.dropped_sent) == (1, 0)


def flushed(transport: aiotun.PacketTransport, packet: bytes) -> None:
    transport.write(packet)
    transport.flush()


DEVICE: dict[str, Callable[[aiotun.Device, Any], None]] = {
    "send": lambda device, wrong: device.send(wrong),
    "send, a part": lambda device, wrong: device.send(packet(), wrong),
    "send_many": lambda device, wrong: device.send_many([packet(), wrong]),
}


@not_bytes
@pytest.mark.parametrize("call", DEVICE.values(), ids=DEVICE)
def test_device(ends: Ends, call: Callable[..., None], wrong: Any) -> None:
    with pytest.raises(TypeError, match="a packet is bytes, bytearray or memoryview, not"):
        call(ends.device, wrong)
    check_alive(ends, ends.device.send)


@pytest.mark.parametrize("wrong", [packet(), bytearray(packet()), "packet", 1000, None])
def test_send_many_of_what_is_not_many(ends: Ends, wrong: Any) -> None:
    with pytest.raises(TypeError):
        ends.device.send_many(wrong)
    check_alive(ends, ends.device.send)


STREAM: dict[str, Callable[[aiotun.PacketStream, Any], Awaitable[None]]] = {
    "send": lambda stream, wrong: stream.send(wrong),
    "send_many": lambda stream, wrong: stream.send_many([wrong]),
}


@not_bytes
@pytest.mark.parametrize("call", STREAM.values(), ids=STREAM)
async def test_stream(ends: Ends, call: Callable[..., Awaitable[None]], wrong: Any) -> None:
    async with aiotun.open_device(device=ends.device) as stream:
        with pytest.raises(TypeError, match="a packet is bytes, bytearray or memoryview, not"):
            await call(stream, wrong)
        with pytest.raises(TypeError):
            await stream.send_many(packet())  # type: ignore[arg-type]
        check_alive(ends, functools.partial(flushed, stream.transport))


TRANSPORT: dict[str, Callable[[aiotun.PacketTransport, Any], None]] = {
    "write": lambda transport, wrong: transport.write(wrong),
    "writelines": lambda transport, wrong: transport.writelines([wrong]),
    "writelines of what is not many": lambda transport, _: transport.writelines(packet()),  # type: ignore[arg-type]
    "write_super": lambda transport, wrong: transport.write_super(wrong),
}


@not_bytes
@pytest.mark.parametrize("within", ["a call", "a delivery", "the end"])
@pytest.mark.parametrize("call", TRANSPORT.values(), ids=TRANSPORT)
async def test_transport(ends: Ends, call: Callable[..., None], within: str, wrong: Any) -> None:
    async with endpoint(ends.device, Recorder) as protocol:
        transport = protocol.transport
        if within == "the end":
            transport.abort()
        if within == "a delivery":
            transport._port.due = True  # so that the port gathers what is plain
        with pytest.raises(TypeError, match=r"bytearray or memoryview, not|a SuperPacket, not"):
            call(transport, wrong)
        if within == "the end":
            assert transport.counters.dropped_sent == 0
        else:
            assert not transport.is_closing()
            check_alive(ends, functools.partial(flushed, transport))


def test_the_frame_of_a_super_packet_stays() -> None:
    super_packet = SuperPacket(NO_OFFLOAD + packet())
    with pytest.raises(AttributeError):
        super_packet.frame = None  # type: ignore[misc, assignment]


# Framed ends: what a stream codec makes of an item leaves later, together with others.


@not_bytes
@pytest.mark.parametrize(
    "codec",
    [COBS(), SLIP(), LengthPrefixed(2), LengthDelimited(), VarintPrefixed(), RawStream()],
    ids=lambda codec: type(codec).__name__,
)
async def test_framed(no_leaks: None, codec: StreamCodec[bytes], wrong: Any) -> None:
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=theirs)
    async with aiotun.Framed(await asyncio.open_connection(sock=ours), codec) as framed:
        with pytest.raises(TypeError, match="a packet is bytes, bytearray or memoryview, not"):
            await framed.send(wrong)
        await framed.send(b"good")
        await framed.flush()
        assert codec.decoder().feed(await reader.read(100)) == [b"good"]
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    "codec",
    [COBS(), SLIP(), LengthPrefixed(2), LengthDelimited(), VarintPrefixed(), IPStream(), Pcap()],
    ids=lambda codec: type(codec).__name__,
)
def test_a_decoder_of_what_is_not_bytes(codec: StreamCodec[Any]) -> None:
    decoder = codec.decoder()
    with pytest.raises(TypeError, match="a chunk is bytes, bytearray or memoryview, not str"):
        decoder.feed("text")  # type: ignore[arg-type]
    assert decoder.feed(b"") == []


async def test_a_framed_end_whose_last_items_cannot_be_sent_is_closed(no_leaks: None) -> None:
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=theirs)
    stream = await asyncio.open_connection(sock=ours)
    framed = aiotun.Framed(stream, RawStream())
    stream[1].write = None  # type: ignore[assignment,method-assign]
    await framed.send(b"bytes")
    with pytest.raises(TypeError):
        await framed.aclose()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


# Objects of another type.


async def connected(**given: Any) -> None:
    await aiotun.create_device_endpoint(aiotun.PacketProtocol, **given)


async def served(**given: Any) -> None:
    near, far = memory_devices(addresses=["10.9.0.1/24"])
    with near, far:
        async with aiotun.start_flow_server(None, **{"device": near, **given}):
            pass


OBJECTS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "Device, config=": (lambda wrong: aiotun.Device(config=wrong), "config="),
    "memory_devices, config=": (lambda wrong: memory_devices(config=wrong), "config="),
    "create_device_endpoint, config=": (lambda wrong: connected(config=wrong), "config="),
    "create_device_endpoint, device=": (lambda wrong: connected(device=wrong), "device="),
    "attach_device": (lambda wrong: aiotun.attach_device(aiotun.PacketProtocol, wrong), "device="),
    "start_flow_server, device=": (lambda wrong: served(device=wrong), "a device"),
    "start_flow_server, clients=": (lambda wrong: served(clients=wrong), "a device"),
    "start_flow_server, limits=": (lambda wrong: served(limits=wrong), "limits="),
    "start_flow_server, listeners=": (lambda wrong: served(listeners=[wrong]), "listeners="),
    "relay": (lambda wrong: aiotun.relay(wrong, object()), "an end of a relay"),  # type: ignore[call-overload]
    "capture": (lambda wrong: aiotun.capture(wrong, "x.pcapng"), "device"),
    "send_device": (lambda wrong: send_device(wrong, wrong), "sock"),
    "receive_device": (lambda wrong: receive_device(wrong), "sock"),
    "an item of Ethernet": (lambda wrong: Ethernet().encode(wrong), "EthernetFrame"),
    "an item of Pcap": (lambda wrong: Pcap().encode(wrong), "CapturedPacket"),
    "an item of Pcapng": (lambda wrong: Pcapng().encode(wrong), "CapturedPacket"),
    "LengthPrefixed, adjustment=": (lambda wrong: LengthPrefixed(2, adjustment=wrong), "int"),
}


@pytest.mark.parametrize("wrong", ["text", 1.5, object], ids=repr)
@pytest.mark.parametrize(("call", "names"), OBJECTS.values(), ids=OBJECTS)
async def test_objects(call: Callable[[Any], Any], names: str, wrong: Any) -> None:
    async def done() -> None:
        result = call(wrong)
        if inspect.isawaitable(result):
            await result

    with pytest.raises(TypeError, match=f"{names}.*not {type(wrong).__name__}$"):
        await done()


@pytest.mark.parametrize("wrong", [None, 5, b"tcp"], ids=repr)
def test_a_filter_of_a_capture(wrong: Any, ends: Ends) -> None:
    with pytest.raises(TypeError, match="filter= has to be str"):
        aiotun.capture(ends.device, "x.pcapng", filter=wrong)


@pytest.mark.parametrize("wrong", ["text", 5], ids=repr)
def test_a_ring_and_a_file_of_a_capture(wrong: Any, ends: Ends, tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    with pytest.raises(TypeError, match="ring= has to be Ring"):
        aiotun.capture(ends.device, path, ring=wrong)
    with pytest.raises(TypeError, match="a file is a path or open for writing, not object"):
        aiotun.capture(ends.device, object())  # type: ignore[arg-type]
    with pytest.raises(aiotun.ConfigError, match=r"snap length is at least 1, not 1\.5"):
        aiotun.capture(ends.device, path, snap_length=1.5)  # type: ignore[arg-type]
    assert not path.exists()


@pytest.mark.parametrize("wrong", [-1, 1 << 31, 1 << 40, -(1 << 70)])
@pytest.mark.parametrize("framing", [None, "none"])
def test_a_descriptor_out_of_range(wrong: int, framing: Any) -> None:
    with pytest.raises(ValueError, match=f"fd has to be 0 to 2147483647, not {wrong}"):
        aiotun.Device.from_fd(wrong, framing=framing)


@pytest.mark.parametrize("wrong", ["text", 1.5, True, None])
def test_a_descriptor_of_another_type(wrong: Any) -> None:
    with pytest.raises(TypeError, match=f"fd has to be int, not {type(wrong).__name__}"):
        aiotun.Device.from_fd(wrong)


@pytest.mark.parametrize("wrong", ["text", 5, object()], ids=repr)
def test_an_interrupt(ends: Ends, wrong: Any) -> None:
    for call in (ends.device.recv, ends.device.wait_readable, ends.device.wait_writable):
        with pytest.raises(TypeError, match="interrupt= has to be Interrupt"):
            call(timeout=0, interrupt=wrong)
    with pytest.raises(TypeError, match="interrupt= has to be Interrupt"):
        ends.device.send(packet(), interrupt=wrong)
    check_alive(ends, ends.device.send)


def test_a_timeout_that_is_no_number(ends: Ends) -> None:
    with pytest.raises(ValueError, match="not nan"):
        ends.device.recv(timeout=float("nan"))


@pytest.mark.parametrize("timeout", [2.0**31, 2.0**63, float("inf")])
def test_a_timeout_without_end(timeout: float) -> None:
    near, far = memory_devices()
    with near, far, concurrent.futures.ThreadPoolExecutor(1) as thread:
        receiving = thread.submit(near.recv, timeout)
        with pytest.raises(concurrent.futures.TimeoutError):
            receiving.result(0.05)
        far.send(packet())
        assert receiving.result(5) == packet()


def test_a_wait_that_is_longer_than_a_selector_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiotun.device.WAIT_MAX", 0.01)
    near, far = memory_devices()
    with near, far:
        start = time.monotonic()
        with pytest.raises(TimeoutError):
            near.recv(timeout=0.1)
        assert time.monotonic() - start >= 0.1
