"""Many devices on one loop, as in tests/test_many_devices.py."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import asyncio
import threading

from rigs import Recorder, end_each, packet, until
from standin import Far, StandIn, configured

import aiotun

COUNT = 70
"""A thread of the system waits for 63 events at most: these take two."""


async def test_many_devices_leave_nothing(standin: StandIn) -> None:
    async def make(number: int) -> Recorder:
        settings = configured(name=f"many{number}", windows={"ring_capacity": 1 << 17})
        _, protocol = await aiotun.create_device_endpoint(Recorder, **settings)
        return protocol

    tasks, threads = len(asyncio.all_tasks()), threading.active_count()
    protocols = await asyncio.gather(*map(make, range(COUNT)))
    fars = [Far(standin, f"many{number}") for number in range(COUNT)]
    for number, far in enumerate(fars):
        assert far.push(packet(number))
    for number, protocol in enumerate(protocols):
        await until(lambda protocol=protocol: protocol.packets)  # type: ignore[misc]
        assert protocol.packets == [packet(number)]
    await end_each(protocols, lambda number: fars[number].remove())
    assert len(asyncio.all_tasks()) == tasks
    await until(lambda: threading.active_count() == threads)
