"""A thousand devices in one process: what each costs.

`python -m benchmarks.devices [COUNT]` prints a table. Devices are made one after the
other, then all wait for packets that do not come, then one is changed, then all are
closed at once. Each way of holding them runs in a process and a network namespace of its
own. It needs what `aiotun demo` needs, and COUNT times three descriptors (`ulimit -Hn`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiotun
from aiotun.testing.namespace import become_root, enter_namespace

from .rows import LOOPS
from .tables import Table

__all__ = ["table"]

COUNT = 1000

IDLE = 5.0
"""Seconds in which nothing happens."""

CHANGES = 100
"""How often the MTU of one of the devices is changed: all listen to what concerns them."""

WITHOUT_LOOP = "Device, no loop"

UNITS = {
    "create": "create, ms",
    "close": "close all, ms each",
    "idle": "idle CPU, all, %",
    "change": "CPU of a change to one, ms",
    "memory": "memory, KB",
    "descriptors": "descriptors",
}


class Meter:
    """What the process used since the meter was made."""

    def __init__(self) -> None:
        self._time, self._cpu, self._memory = time.monotonic(), time.process_time(), _resident()
        self._descriptors = _descriptors()

    @property
    def time(self) -> float:
        return time.monotonic() - self._time

    @property
    def cpu(self) -> float:
        """Seconds of processor, of all threads."""
        return time.process_time() - self._cpu

    @property
    def memory(self) -> int:
        """Bytes that became resident; the kernel's own are not among them."""
        return _resident() - self._memory

    @property
    def descriptors(self) -> int:
        return _descriptors() - self._descriptors


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def without_loop(count: int) -> dict[str, float]:
    aiotun.Device().close()  # what is imported and allocated once
    made = Meter()
    devices = [aiotun.Device() for _ in range(count)]
    measured = _made(made, count)
    idle = Meter()
    time.sleep(IDLE)
    measured["idle"] = 100 * idle.cpu / idle.time
    changed = Meter()
    for number in range(CHANGES):
        devices[0].mtu = 1400 + number
    measured["change"] = 1000 * changed.cpu / CHANGES
    closed = Meter()
    with ThreadPoolExecutor() as pool:
        list(pool.map(aiotun.Device.close, devices))
    measured["close"] = 1000 * closed.time / count
    return measured


async def on_loop(count: int) -> dict[str, float]:
    async def make() -> aiotun.PacketTransport:
        transport, _ = await aiotun.create_device_endpoint(aiotun.PacketProtocol)
        return transport

    first = await make()
    first.close()
    await first.wait_closed()
    made = Meter()
    transports = [await make() for _ in range(count)]
    measured = _made(made, count)
    idle = Meter()
    await asyncio.sleep(IDLE)
    measured["idle"] = 100 * idle.cpu / idle.time
    changed = Meter()
    device = transports[0].device
    for number in range(CHANGES):
        device.mtu = 1400 + number
        await asyncio.sleep(0)
    measured["change"] = 1000 * changed.cpu / CHANGES
    closed = Meter()
    for transport in transports:
        transport.close()
    await asyncio.gather(*(transport.wait_closed() for transport in transports))
    measured["close"] = 1000 * closed.time / count
    return measured


def _made(made: Meter, count: int) -> dict[str, float]:
    return {
        "create": 1000 * made.time / count,
        "memory": made.memory / 1000 / count,
        "descriptors": made.descriptors / count,
    }


def _measure(way: str, count: int) -> dict[str, float]:
    """In this process, which has to be a fresh one."""
    try:
        enter_namespace()
    except PermissionError:
        become_root()
        enter_namespace()
    # Or each says something now and then: router solicitations, RFC 4861.
    Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if way == WITHOUT_LOOP:
        return without_loop(count)
    if way == "uvloop":
        import uvloop

        return uvloop.run(on_loop(count))
    return asyncio.run(on_loop(count))


def table(count: int) -> Table:
    lines = []
    for way in (WITHOUT_LOOP, *LOOPS):
        command = [sys.executable, "-m", "benchmarks.devices", str(count), way]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        measured = json.loads(done.stdout)
        lines.append((way, *(f"{measured[name]:.3g}" for name in UNITS)))
    return Table(f"{count:,} devices in one process", ("held by", *UNITS.values()), lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.devices", description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=COUNT, help=f"of devices ({COUNT})")
    parser.add_argument("way", nargs="?", choices=(WITHOUT_LOOP, *LOOPS), help="one, as JSON")
    args = parser.parse_args()
    if args.way:
        print(json.dumps(_measure(args.way, args.count)))
    else:
        print(table(args.count).markdown())


if __name__ == "__main__":
    main()
