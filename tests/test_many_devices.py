"""Many devices on one loop: nothing is mixed up, and nothing is left of them."""

from __future__ import annotations

import asyncio
import os
import socket
import threading

import outside
import pytest
from rigs import Recorder, end_each, until

import aiotun
from aiotun.testing.namespace import Namespace

pytestmark = pytest.mark.requires("tun", "netns")

COUNT = 64


def held() -> tuple[int, int]:
    return len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())


async def test_many_devices_leave_nothing(namespace: Namespace) -> None:
    async def make(number: int) -> Recorder:
        _, protocol = await aiotun.create_device_endpoint(
            Recorder,
            name=f"t{number}",
            namespace=f"/proc/{os.getpid()}/fd/{namespace.fileno()}",
            addresses=f"10.9.{number}.1/24",
            ipv6_quiet=True,
        )
        return protocol

    before, threads = held(), threading.active_count()
    protocols = await asyncio.gather(*map(make, range(COUNT)))
    with namespace.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for number in range(COUNT):
            sock.sendto(bytes([number]), (f"10.9.{number}.2", 9))
    for number, protocol in enumerate(protocols):
        await until(lambda protocol=protocol: protocol.packets)  # type: ignore[misc]
        (packet,) = protocol.packets
        assert packet[28:] == bytes([number])
        assert protocol.named("device_changed") == []
    await end_each(protocols, lambda number: namespace.run(outside.delete, f"t{number}"))
    assert held() == before
    await until(lambda: threading.active_count() == threads)
    assert namespace.run(socket.if_nameindex) == [(1, "lo")]
