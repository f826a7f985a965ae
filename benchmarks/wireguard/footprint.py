"""python -m benchmarks.wireguard.footprint COUNT: memory of an interface with so many peers.

It prints the peak in MB, when each of them has a session. The peers come one after the other,
and nothing of theirs is kept.
"""

from __future__ import annotations

import asyncio
import math
import re
import subprocess
import sys
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from aiotun.testing import memory_devices
from aiotun.wireguard import InterfaceConfig, WireGuard
from aiotun.wireguard.core.cookie import TokenBucket
from aiotun.wireguard.keys import generate_private_key

from ..programs import ROOT
from ..workloads import Metrics
from .keepalives import meet

__all__ = ["COUNT", "measure"]

COUNT = 10_000


def measure(count: int) -> Metrics:
    """MB, of a process of its own."""
    command = (sys.executable, "-m", "benchmarks.wireguard.footprint", f"{count}")
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return {"memory": float(done.stdout)}


async def meet_all(count: int) -> None:
    near, far = memory_devices()
    with far:
        async with WireGuard(InterfaceConfig(generate_private_key()), device=near) as wireguard:
            wireguard.tunnel._unproven = TokenBucket(math.inf, math.inf)
            for number in range(count):
                address = IPv4Address("10.0.0.0") + number
                meet(wireguard.tunnel, (f"{address}", 9), IPv4Network(address))


def main(count: int) -> None:
    asyncio.run(meet_all(count))
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())  # proc(5)
    assert peak is not None
    print(int(peak[1]) * 1024 / 1e6)


if __name__ == "__main__":
    main(int(sys.argv[1]))
