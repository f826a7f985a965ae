"""Opening devices on a loop: what is taken, what is refused, and what a cancellation leaves."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from rigs import Recorder, packet, until

import aiotun
from aiotun import platforms
from aiotun.config import DeviceConfig
from aiotun.platforms.base import Interface, Queue
from aiotun.testing import Namespace, memory_devices

needs_tun = pytest.mark.requires("tun", "netns")


def tun_interfaces() -> list[str]:
    """The TUN interfaces in this thread's namespace."""
    return [name for _, name in socket.if_nameindex() if name.startswith("aio")]


@needs_tun
@pytest.mark.parametrize("layer", ["tun", "tap"])
async def test_settings_reach_the_device(layer: aiotun.config.Layer) -> None:
    transport, protocol = await aiotun.create_device_endpoint(
        Recorder, name="aio%d", layer=layer, addresses=["10.9.0.1/24"], mtu=1400
    )
    assert isinstance(protocol, Recorder)
    assert protocol.calls[0] == ("connection_made",)
    assert tun_interfaces() == ["aio0"] == [transport.get_extra_info("name")]
    device = transport.get_extra_info("device")
    assert (device.layer, device.mtu, device.is_up) == (layer, 1400, True)
    transport.close()
    await transport.wait_closed()
    assert tun_interfaces() == []


@needs_tun
async def test_a_whole_configuration() -> None:
    config = DeviceConfig(name="aio%d", offload=False, up=False)
    async with aiotun.open_device(config=config) as tun:
        assert not tun.device.offload
        assert not tun.device.is_up


@needs_tun
async def test_it_is_opened_in_the_namespace_of_the_loops_thread() -> None:
    """Not in that of a thread of the loop's pool, which may be older and elsewhere."""
    with Namespace() as namespace:

        async def main() -> None:
            async with aiotun.open_device(name="aio%d"):
                assert tun_interfaces() == ["aio0"]

        await asyncio.to_thread(namespace.run, asyncio.run, main())
        assert tun_interfaces() == []


@pytest.mark.parametrize(
    ("keywords", "says"),
    [
        ({"config": DeviceConfig(), "mtu": 1400}, "both given"),
        ({"mtu": 5}, "mtu 5 is out of range"),
        ({"addresses": ["10.0.0.300/8"]}, "not an address"),
        ({"name": "a/name"}, "not possible"),
    ],
)
async def test_contradictions_are_refused(keywords: dict[str, object], says: str) -> None:
    with pytest.raises(aiotun.ConfigError, match=says):
        await aiotun.create_device_endpoint(Recorder, **keywords)  # type: ignore[arg-type]
    with pytest.raises(aiotun.ConfigError, match=says):
        await aiotun.open_device(**keywords)  # type: ignore[arg-type]


@pytest.mark.parametrize("more", [{"mtu": 1400}, {"config": aiotun.DeviceConfig()}])
async def test_an_open_device_takes_no_settings(more: Any) -> None:
    """It is closed then, as by any call that fails."""
    near, far = memory_devices()
    with far:
        with pytest.raises(aiotun.ConfigError, match="configured already"):
            await aiotun.create_device_endpoint(Recorder, device=near, **more)
        with pytest.raises(aiotun.ClosedError):
            near.recv(timeout=0)


async def test_a_closed_device_is_refused() -> None:
    near, far = memory_devices()
    near.close()
    far.close()
    with pytest.raises(aiotun.ClosedError):
        await aiotun.create_device_endpoint(Recorder, device=near)


class Awaited(Recorder):
    async def packet_received(self, packet: bytes) -> None:  # type: ignore[override]
        raise AssertionError


class AwaitedEnd(Recorder):
    async def connection_lost(self, exc: Exception | None) -> None:  # type: ignore[override]
        raise AssertionError


class Generating(Recorder):
    async def packets_received(self, packets: list[bytes]) -> Any:
        yield packets


@pytest.mark.parametrize(
    ("factory", "says"),
    [
        (asyncio.DatagramProtocol, "DatagramProtocol is no PacketProtocol"),
        (asyncio.Protocol, "Protocol is no PacketProtocol"),
        (aiotun.UdpProtocol, "UdpProtocol is no PacketProtocol"),
        (lambda: None, "NoneType is no PacketProtocol"),
        (lambda: Recorder, "type is no PacketProtocol"),
        (Awaited, "Awaited.packet_received is an async def"),
        (AwaitedEnd, "AwaitedEnd.connection_lost is an async def"),
        (Generating, "Generating.packets_received is an async def"),
    ],
)
async def test_what_cannot_be_a_protocol_is_refused(factory: Any, says: str) -> None:
    near, far = memory_devices()
    with far:
        with pytest.raises(TypeError, match=says):
            await aiotun.create_device_endpoint(factory, device=near)
        with pytest.raises(aiotun.ClosedError):
            near.recv()


async def test_what_cannot_follow_a_protocol_is_refused() -> None:
    near, far = memory_devices()
    with far:
        transport, protocol = await aiotun.create_device_endpoint(Recorder, device=near)
        with pytest.raises(TypeError, match="packet_received is an async def"):
            transport.set_protocol(Awaited())
        with pytest.raises(TypeError, match="is no PacketProtocol"):
            transport.set_protocol(aiotun.UdpProtocol())  # type: ignore[arg-type]
        far.send(packet())
        await until(lambda: protocol.packets)
        transport.close()
        await transport.wait_closed()


# From a callback, which awaits nothing.


async def test_a_device_is_attached_in_a_callback() -> None:
    near, far = memory_devices()
    attached: list[Any] = []

    def callback() -> None:
        transport, protocol = aiotun.attach_device(Recorder, near)
        assert transport.get_protocol() is protocol
        assert protocol.calls == []
        transport.write(packet(1))
        attached.extend((transport, protocol))

    with far:
        asyncio.get_running_loop().call_soon(callback)
        await until(lambda: attached)
        transport, protocol = attached
        await until(lambda: protocol.calls)
        far.send(packet(2))
        await until(lambda: protocol.packets)
        assert protocol.calls == [("connection_made",), ("packet_received", packet(2))]
        assert far.recv(timeout=2) == packet(1)
        with pytest.raises(aiotun.BusyError):
            aiotun.attach_device(Recorder, near)
        await transport.aclose()
        assert protocol.calls[-1] == ("connection_lost", None)


class Unpaused(Recorder):
    """Has all leave as soon as it hears of its transport."""

    def connection_made(self, transport: aiotun.PacketTransport) -> None:
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=1000)


@pytest.mark.parametrize("factory", [Recorder, Unpaused])
async def test_connection_made_is_called_first(factory: type[Recorder]) -> None:
    near, far = memory_devices(offload=False, capacity=1, push_back=True)
    with far:
        transport, protocol = aiotun.attach_device(factory, near)
        transport.set_write_buffer_limits(high=1)
        transport.writelines([b"", *map(packet, range(9))])
        transport.flush()
        assert protocol.calls == []
        await until(lambda: protocol.calls)
        transport.abort()
        await transport.wait_closed()
        called = [name for name, *_ in protocol.calls]
        expected = ["connection_made", "error_received", "pause_writing", "connection_lost"]
        if factory is Unpaused:
            expected.insert(3, "resume_writing")
        assert called == expected


async def test_a_relay_before_the_protocol_heard_of_its_transport() -> None:
    pairs = [memory_devices() for _ in range(2)]
    attached: list[tuple[aiotun.PacketTransport, Recorder]] = []

    async def relay() -> None:
        attached.extend(aiotun.attach_device(Recorder, near) for near, _ in pairs)
        await aiotun.relay(*(transport for transport, _ in attached))

    with pairs[0][1] as left, pairs[1][1] as right:
        relaying = asyncio.ensure_future(relay())
        left.send(packet(1))
        assert await asyncio.to_thread(right.recv, 2) == packet(1)
        for transport, protocol in attached:
            assert protocol.calls == [("connection_made",)]
            transport.close()
        await relaying
        for transport, _ in attached:
            await transport.wait_closed()


async def test_closed_before_the_protocol_heard_of_it() -> None:
    near, far = memory_devices()
    with far:
        transport, protocol = aiotun.attach_device(Recorder, near)
        transport.close()
        await transport.wait_closed()
        assert protocol.calls in ([], [("connection_made",), ("connection_lost", None)])


@pytest.mark.parametrize("factory", [aiotun.UdpProtocol, lambda: 1 / 0])
async def test_what_cannot_be_attached_is_closed(factory: Any) -> None:
    near, far = memory_devices()
    with far:
        with pytest.raises((TypeError, ZeroDivisionError)):
            aiotun.attach_device(factory, near)
        await until(lambda: near._closed)


def test_nothing_is_attached_without_a_loop() -> None:
    near, far = memory_devices()
    with near, far:
        with pytest.raises(RuntimeError, match="no running event loop"):
            aiotun.attach_device(Recorder, near)
        near.send(packet())


@needs_tun
async def test_a_factory_that_fails_leaves_no_device() -> None:
    def fail() -> Recorder:
        raise RuntimeError("of the test")

    with pytest.raises(RuntimeError, match="of the test"):
        await aiotun.create_device_endpoint(fail, name="aio%d")
    assert tun_interfaces() == []


async def test_an_exception_in_connection_made_goes_to_the_loop() -> None:
    class Failing(Recorder):
        def connection_made(self, transport: aiotun.PacketTransport) -> None:
            super().connection_made(transport)
            raise RuntimeError("of the test")

    complaints = []
    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: complaints.append(context["exception"])
    )
    near, far = memory_devices()
    transport, protocol = await aiotun.create_device_endpoint(Failing, device=near)
    assert [str(exception) for exception in complaints] == ["of the test"]
    far.send(packet())
    await asyncio.sleep(0.01)
    assert protocol.packets == [packet()]
    transport.close()
    await transport.wait_closed()
    far.close()


async def test_closing_in_connection_made() -> None:
    class Closing(Recorder):
        def connection_made(self, transport: aiotun.PacketTransport) -> None:
            super().connection_made(transport)
            transport.close()

    near, far = memory_devices()
    transport, protocol = await aiotun.create_device_endpoint(Closing, device=near)
    await transport.wait_closed()
    assert protocol.calls == [("connection_made",), ("connection_lost", None)]
    far.close()


class Opening:
    """In the place of `open_device`, as while another holds the kernel's lock: says that a thread
    entered it, which goes on by `leave`."""

    def __init__(self, open_device: Callable[[DeviceConfig], tuple[Interface, Queue]]) -> None:
        self.entered, self.leave = threading.Event(), threading.Event()
        self._really_open = open_device

    def __call__(self, config: DeviceConfig) -> tuple[Interface, Queue]:
        self.entered.set()
        assert self.leave.wait(30)
        return self._really_open(config)


def refuse(config: DeviceConfig) -> tuple[Interface, Queue]:
    raise aiotun.NoDriverError(2, "of the test")


@pytest.mark.parametrize("fails", [pytest.param(False, marks=needs_tun), True])
async def test_cancelled_while_opening(fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    slowly = Opening(refuse if fails else platforms.open_device)
    monkeypatch.setattr(platforms, "open_device", slowly)
    opening = asyncio.ensure_future(aiotun.create_device_endpoint(Recorder, name="aio%d"))
    await until(slowly.entered.is_set)
    for _ in range(2):
        opening.cancel()
        await asyncio.sleep(0.02)
        assert not opening.done()
    slowly.leave.set()
    await asyncio.wait([opening])
    assert opening.cancelled()
    assert tun_interfaces() == []


async def test_errors_of_opening_arrive_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    error = aiotun.NoDriverError(2, "of the test")

    def open_device(config: DeviceConfig) -> tuple[Interface, Queue]:
        raise error

    monkeypatch.setattr(platforms, "open_device", open_device)
    with pytest.raises(aiotun.NoDriverError) as caught:
        await aiotun.create_device_endpoint(Recorder)
    assert caught.value is error


@needs_tun
async def test_cancelled_at_every_moment() -> None:
    """Whenever the cancellation comes, either there is a device or there is none."""
    for turns in range(12):
        opening = asyncio.ensure_future(aiotun.create_device_endpoint(Recorder, name="aio%d"))
        for _ in range(turns):
            await asyncio.sleep(0.0005)
        opening.cancel()
        await asyncio.wait([opening])
        if not opening.cancelled():
            transport, _ = opening.result()
            transport.close()
            await transport.wait_closed()
        assert tun_interfaces() == []


@needs_tun
async def test_a_hundred_opens_and_closes_leave_nothing() -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    async with aiotun.open_device(name="aio%d"):
        pass
    tasks = len(asyncio.all_tasks())
    for _ in range(10):
        streams = [await aiotun.open_device(name="aio%d") for _ in range(10)]
        await asyncio.gather(*(stream.aclose() for stream in streams))
    assert tun_interfaces() == []
    assert len(asyncio.all_tasks()) == tasks
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 1  # the loop's own pool


@needs_tun
async def test_closing_does_not_wait_for_the_programs_own_calls() -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    done = threading.Event()
    own = loop.run_in_executor(None, done.wait)
    try:
        transport, _ = await aiotun.create_device_endpoint(Recorder)
        transport.close()
        await asyncio.wait_for(transport.wait_closed(), 5)
    finally:
        done.set()
        await own


@needs_tun
def test_a_program_that_ends_without_waiting_closes_all_the_same() -> None:
    async def main() -> Recorder:
        transport, protocol = await aiotun.create_device_endpoint(Recorder, name="aio%d")
        transport.close()
        return protocol

    assert asyncio.run(main()).named("connection_lost") == [None]
    assert tun_interfaces() == []
