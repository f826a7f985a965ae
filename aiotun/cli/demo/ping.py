"""Pings, and the protocol that answers them."""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

from ... import Device, PacketProtocol, PacketTransport, open_device
from ...testing import Namespace, memory_devices
from ...testing.ping import echo_reply, echo_request
from .display import Display
from .endpoint import endpoint

if sys.platform == "win32":
    from ...platforms.windows import echo

__all__ = ["PingResponder", "ping_from_kernel", "ping_from_memory", "ping_from_windows"]

ADDRESS, TARGET = "10.9.0.1", "10.9.0.42"
"""This side's address, and one that nobody has: the protocol answers for all of them."""

INTERVAL = 0.05
TIMEOUT = 5.0
"""Seconds for an answer: a busy machine may stand still for one or two."""

CURVE = 24
"""Round trips in the live line."""

VARIABLE = 12
"""Bytes before the addresses in an IPv4 header: raw(7) gives the packet another ID."""


class PingResponder(PacketProtocol):
    def connection_made(self, transport: PacketTransport) -> None:
        self.transport = transport

    def packet_received(self, packet: bytes) -> None:
        reply = echo_reply(packet)
        if reply is not None:
            self.transport.write(reply)


async def ping_from_kernel(display: Display, seconds: float) -> bool:
    """Ping through a TUN in a namespace of its own; return whether all were answered."""
    loop = asyncio.get_running_loop()
    with (
        Namespace() as namespace,
        namespace.run(socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw,
    ):
        raw.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
        raw.setblocking(False)
        device = namespace.run(Device, addresses=[f"{ADDRESS}/24"])
        async with endpoint(PingResponder, device):
            raw.connect((TARGET, 0))
            ask = _asking(
                lambda packet: loop.sock_sendall(raw, packet),
                lambda: loop.sock_recv(raw, 65535),
            )
            return await _ping(display, seconds, ask)


async def ping_from_memory(display: Display, seconds: float) -> bool:
    """Ping from one of two devices in memory to the other; return whether all were answered."""
    near, far = memory_devices()
    async with endpoint(PingResponder, near), open_device(device=far) as stream:
        return await _ping(display, seconds, _asking(stream.send, stream.recv))


if sys.platform == "win32":

    async def ping_from_windows(display: Display, seconds: float) -> bool:
        """Ping as Windows does, through an adapter; return whether all were answered."""

        async def ask(number: int) -> bool:
            return await asyncio.to_thread(echo.ping, TARGET, os.urandom(56), TIMEOUT)

        device = await asyncio.to_thread(Device, addresses=[f"{ADDRESS}/24"])
        async with endpoint(PingResponder, device):
            return await _ping(display, seconds, ask)


def _asking(
    send: Callable[[bytes], Awaitable[None]], recv: Callable[[], Awaitable[bytes]]
) -> Callable[[int], Awaitable[bool]]:
    """Asks by packets, and tells whether the answer came."""
    identifier = os.getpid() & 0xFFFF

    async def ask(number: int) -> bool:
        request = echo_request(ADDRESS, TARGET, identifier, number & 0xFFFF, os.urandom(56))
        expected = echo_reply(request)
        assert expected is not None
        await send(request)
        try:
            await asyncio.wait_for(_until(recv, expected), TIMEOUT)
        except asyncio.TimeoutError:
            return False
        return True

    return ask


async def _ping(display: Display, seconds: float, ask: Callable[[int], Awaitable[bool]]) -> bool:
    times: list[float] = []
    sent = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sent += 1
        start = time.perf_counter()
        if not await ask(sent):
            display.live(f"   {TARGET}  ping {sent}  not answered")
            continue
        times.append(1000 * (time.perf_counter() - start))
        display.live(
            f"   {TARGET}  ping {sent}  {times[-1]:.2f} ms  {display.curve(times[-CURVE:])}"
        )
        await asyncio.sleep(INTERVAL)
    summary = f"   {sent} sent, {len(times)} answered"
    if times:
        summary += (
            f"; round trip {min(times):.2f} ms at best, "
            f"{statistics.median(times):.2f} median, {max(times):.2f} at worst"
        )
    display.line(summary)
    return len(times) == sent


async def _until(recv: Callable[[], Awaitable[bytes]], reply: bytes) -> None:
    """Wait for this very reply."""
    while (await recv())[VARIABLE:] != reply[VARIABLE:]:
        pass
