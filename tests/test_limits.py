"""Where a process may have no more descriptors or threads: a clear error, and nothing is left."""

from __future__ import annotations

import asyncio
import errno
import inspect
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from limits import descriptors_left, no_more_threads
from rigs import packet, until

import aiotun
from aiotun.capturing import Ring
from aiotun.flows import open_rootless
from aiotun.handover import receive_device, send_device
from aiotun.interrupt import wait_for
from aiotun.testing import memory_devices

pytestmark = pytest.mark.usefixtures("no_leaks")

ADDRESSES = ["10.9.0.1/24"]
STEPS_MAX = 40


def device() -> None:
    aiotun.Device(addresses=ADDRESSES).close()


def second_queue() -> None:
    with aiotun.Device(multi_queue=True) as device:
        device.open_queue().close()


def other_namespace() -> None:
    aiotun.Device(namespace=os.getpid(), addresses=ADDRESSES).close()


def descriptor() -> None:
    with aiotun.Device() as device:
        fd = os.dup(device.fileno())
        try:
            aiotun.Device.from_fd(fd, closefd=False).close()
        finally:
            os.close(fd)


def events() -> None:
    with aiotun.Device() as device:
        device.events()


def handed_over() -> None:
    near, far = socket.socketpair()
    with near, far, aiotun.Device() as device:
        send_device(near, device)
        receive_device(far).close()


def waiting() -> None:
    with aiotun.Interrupt() as interrupt, aiotun.Device() as device:
        interrupt.set()
        with suppress(aiotun.errors.InterruptError, TimeoutError):
            device.wait_readable(0)
            device.recv(0, interrupt=interrupt)
        wait_for(0, interrupt)


def capturing(folder: Path) -> None:
    with aiotun.Device() as device:
        ring = Ring(size=400, files=1)
        with aiotun.capture(device, folder / "x.pcapng", ring=ring) as capture:
            for number in range(9):
                device.send(packet(number))
                capture.flush()


async def transport() -> None:
    made, _ = await aiotun.create_device_endpoint(aiotun.PacketProtocol, addresses=ADDRESSES)
    await made.aclose()


async def stream() -> None:
    async with aiotun.open_device(addresses=ADDRESSES):
        pass


async def relayed() -> None:
    async with aiotun.open_device() as a, aiotun.open_device() as b:
        relaying = asyncio.ensure_future(aiotun.relay(a, b))
        await asyncio.sleep(0)
        relaying.cancel()
        await asyncio.wait([relaying])


async def datagrams() -> None:
    made, _ = await aiotun.create_udp_endpoint(aiotun.UdpProtocol, ("127.0.0.1", 0))
    await made.aclose()


async def connected_datagrams() -> None:
    made, _ = await aiotun.create_udp_endpoint(aiotun.UdpProtocol, remote_addr=("127.0.0.1", 9))
    made.sendto(b"x")
    await made.aclose()


async def flows() -> None:
    addresses = [*ADDRESSES, "fd09::1/64"]
    async with aiotun.start_flow_server(None, addresses=addresses, routes=["10.8.0.0/16"]):
        pass


async def flows_without_privileges() -> None:
    rootless = await open_rootless()
    rootless.device.close()
    for each in rootless.listeners:
        each.socket.close()


WITHOUT_A_LOOP = (
    device,
    second_queue,
    other_namespace,
    descriptor,
    events,
    handed_over,
    waiting,
    capturing,
)
ON_A_LOOP = (
    transport,
    stream,
    relayed,
    datagrams,
    connected_datagrams,
    flows,
    flows_without_privileges,
)


@pytest.mark.requires("tun", "netns", "userns")
@pytest.mark.parametrize("way", WITHOUT_A_LOOP)
def test_one_descriptor_more_each_time(way: Callable[..., Any], tmp_path: Path) -> None:
    async def go() -> None:
        way(tmp_path) if inspect.signature(way).parameters else way()

    asyncio.run(one_descriptor_more_each_time(go))


@pytest.mark.requires("tun", "netns", "userns")
@pytest.mark.parametrize("way", ON_A_LOOP)
async def test_one_descriptor_more_each_time_on_a_loop(way: Callable[[], Awaitable[None]]) -> None:
    await one_descriptor_more_each_time(way)


async def one_descriptor_more_each_time(go: Callable[[], Awaitable[None]]) -> None:
    await go()  # what is opened once for all is open then
    held = sorted(os.listdir("/proc/self/fd"))
    for count in range(STEPS_MAX):
        error = None
        try:
            with descriptors_left(count):
                await go()
        except OSError as exc:
            error = exc.errno
        assert error in (None, errno.EMFILE)
        if error is None:
            break
        await go()
        # Closing goes on off the loop.
        await until(lambda: sorted(os.listdir("/proc/self/fd")) == held)
    else:
        pytest.fail("it never succeeded")


@pytest.mark.requires("tun", "netns")
async def test_a_transport_closes_without_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    device = aiotun.Device()
    transport, _ = await aiotun.create_device_endpoint(aiotun.PacketProtocol, device=device)
    no_more_threads(monkeypatch)
    transport.close()
    await transport.wait_closed()
    with pytest.raises(aiotun.ClosedError):
        device.recv(0)


async def test_a_failed_opening_closes_without_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    device, far = memory_devices()

    def factory() -> aiotun.PacketProtocol:
        no_more_threads(monkeypatch)
        raise ValueError("of the test")

    with far, pytest.raises(ValueError, match="of the test"):
        await aiotun.create_device_endpoint(factory, device=device)
    with pytest.raises(aiotun.ClosedError):
        device.recv(0)


def test_a_capture_without_a_thread_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    device, far = memory_devices()
    with device, far:
        with monkeypatch.context() as limited:
            no_more_threads(limited)
            with pytest.raises(RuntimeError, match="new thread"):
                aiotun.capture(device, tmp_path / "x.pcapng")
        with aiotun.capture(device, tmp_path / "x.pcapng") as capture:
            device.send(packet(1))
        assert capture.packets == 1
