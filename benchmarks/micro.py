"""Micro-benchmarks: the functions of `aiotun.offload` alone, no device, no loop.

`python -m benchmarks.micro PACKETS` measures the implementation in use and
prints the numbers as JSON; `run` starts that in an interpreter of its own for
each implementation that there is.
"""

from __future__ import annotations

import dataclasses
import json
import mmap
import os
import statistics
import struct
import subprocess
import sys
import time
import timeit
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from aiotun.offload import GROTable, checksum, gso_split, implementation

from .programs import ROOT
from .results import Micro, Timing

__all__ = ["import_seconds", "run"]

SIZES = (64, 128, 256, 512, 1024, 1500)
FLOWS = (1, 10, 100, 1_000, 10_000)

COALESCED = 20_000
"""Packets in one call when coalescing, the flows taking turns: at 10,000 flows
the table holds them all at once, and each still has something to merge."""

ROUNDS = 15

HEADERS = 40
"""Bytes of an IPv4 and a TCP header without options."""

TIMEOUT = 1800.0


def run(packets: int) -> list[Micro]:
    """Measure the native implementation, if it is there, and the Python one.

    Memory is watched over so many packets with the native implementation, and
    over a hundredth of them with the Python one.
    """
    measured = [_run(packets, pure=False)] if implementation == "native" else []
    return [*measured, _run(packets // 100, pure=True)]


def _run(packets: int, *, pure: bool) -> Micro:
    environment = {key: value for key, value in os.environ.items() if key != "AIOTUN_PURE"}
    if pure:
        environment["AIOTUN_PURE"] = "1"
    command = (sys.executable, "-m", "benchmarks.micro", str(packets))
    data = json.loads(_output(command, environment))
    return Micro(**{**data, "timings": [Timing(**timing) for timing in data["timings"]]})


def import_seconds() -> float:
    """`import aiotun` in a fresh interpreter: the median of 9 times."""
    code = "import time; t = time.perf_counter(); import aiotun; print(time.perf_counter() - t)"
    return statistics.median(float(_output((sys.executable, "-c", code))) for _ in range(9))


def _output(command: tuple[str, ...], environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=TIMEOUT,
    )
    return done.stdout


def tcp_packet(flow: int, number: int, payload: bytes) -> bytes:
    """The number-th packet of a flow: IPv4, TCP, checksums complete."""
    source, destination = struct.pack("!I", 0x0A000000 + flow), b"\x0a\xff\xff\xff"
    total = HEADERS + len(payload)
    ip = bytearray(
        struct.pack("!BBHHHBBH", 0x45, 0, total, number & 0xFFFF, 0x4000, 64, 6, 0)
        + source
        + destination
    )
    ip[10:12] = checksum(bytes(ip)).to_bytes(2, "big")
    sequence = (number * len(payload)) & 0xFFFFFFFF
    tcp = bytearray(struct.pack("!HHIIBBHHH", 40000, 5201, sequence, 1, 0x50, 0x10, 512, 0, 0))
    pseudo = source + destination + struct.pack("!HH", 6, total - 20)
    tcp[16:18] = checksum(pseudo + tcp + payload).to_bytes(2, "big")
    return bytes(ip + tcp + payload)


def super_packet(size: int) -> bytes:
    """A frame as full as can be that splits into packets of that size."""
    return GROTable().coalesce(tcp_packet(0, n, bytes(size - HEADERS)) for n in range(64))[0]


def timings() -> Iterator[Timing]:
    for size in SIZES:
        data = os.urandom(size)
        yield Timing("checksum", size, 1, _nanoseconds(partial(checksum, data)))
    for size in SIZES:
        frame = super_packet(size)
        count = len(gso_split(frame))
        yield Timing("split", size, 1, _nanoseconds(partial(gso_split, frame)) / count)
    for size in SIZES:
        payload = bytes(size - HEADERS)
        batches = {
            flows: [tcp_packet(n % flows, n // flows, payload) for n in range(COALESCED)]
            for flows in FLOWS
        }
        spent: dict[int, list[float]] = {flows: [] for flows in FLOWS}
        for _ in range(ROUNDS):  # in turns, and the median, as they are compared
            for flows, packets in batches.items():
                timer = timeit.Timer(partial(GROTable().coalesce, packets), timer=time.thread_time)
                spent[flows].append(timer.timeit(1))
        for flows in FLOWS:
            yield Timing("coalesce", size, flows, 1e9 * statistics.median(spent[flows]) / COALESCED)


def _nanoseconds(function: Callable[[], object]) -> float:
    """Of one call: the least processor time of several runs, as the others were disturbed."""
    timer = timeit.Timer(function, timer=time.thread_time)
    number, _ = timer.autorange()
    return 1e9 * min(timer.repeat(5, number)) / number


def memory_growth(packets: int) -> int:
    """Split and coalesce one super-packet over and over; bytes gained after the first tenth."""
    frame = super_packet(1500)
    count = len(gso_split(frame))
    table = GROTable()
    calls = max(10, packets // count)
    for call in range(calls):
        if call == calls // 10:
            before = _resident()
        table.coalesce(gso_split(frame))
    return _resident() - before


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


if __name__ == "__main__":
    packets = int(sys.argv[1])
    micro = Micro(implementation, list(timings()), packets, memory_growth(packets))
    json.dump(dataclasses.asdict(micro), sys.stdout)
