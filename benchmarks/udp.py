"""UDP endpoints: echo servers on one loopback, under the same load.

`python -m benchmarks.udp [--rounds N] [--seconds S]` prints datagrams a second and the
processor time that a datagram costs the server, received and sent, beside the ratio to
asyncio's own endpoint. The load is a window of datagrams that is filled up as they come
back, joined where the workload says so. Each measurement has
a process and a network namespace of its own; the rounds alternate as those of the other
benchmarks do (see README.md).
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import time

from aiotun.testing.namespace import Namespace
from aiotun.udp.cmsg import UDP_GRO, UDP_SEGMENT

from .processes import MeasurementError, Process, prepare
from .programs import PEERS, BuildError, Program
from .ratios import Sample, ratios, running_order, summarize, values
from .tables import Table

__all__ = ["ROWS", "WORKLOADS", "measure", "table"]

WORKLOADS = {
    "64 bytes": (64, True),
    "512 bytes": (512, True),
    "1452 bytes": (1452, True),
    "64 bytes, sent one by one": (64, False),
}
"""Bytes of a datagram (1452 are what an IPv6 packet of 1500 carries), and whether the load comes
in messages of many: UDP_SEGMENT. Loopback hands each on whole to a socket with UDP_GRO."""

WINDOW = 128
"""Datagrams under way: they fit into a socket's buffer as systems set it."""

BURST = 32
"""Datagrams sent at once."""

LOST = 0.02
"""Seconds after which what is not back yet is lost."""

QUINN = Program(
    "quinn-udp",
    (str(PEERS / "quinn-udp" / "target/release/echo"),),
    PEERS / "quinn-udp",
    ("cargo", "build", "--release", "--locked"),
)

BASELINE = "asyncio"

ROWS = {
    f"aiotun {what}, {loop}": (sys.executable, "-m", "benchmarks.udp_echo", what, loop)
    for what in ("batch", "each", "unchanged")
    for loop in ("asyncio", "uvloop")
} | {
    BASELINE: (sys.executable, "-m", "benchmarks.udp_echo", "plain", "asyncio"),
    "uvloop": (sys.executable, "-m", "benchmarks.udp_echo", "plain", "uvloop"),
    QUINN.title: QUINN.command,
}


def load(port: int, size: int, joined: bool, seconds: float) -> int:
    """How many datagrams came back from the port in so many seconds."""
    messages = [bytes(size * BURST)] if joined else [bytes(size)] * BURST
    buffer = bytearray(1 << 16)
    back = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, size)
        sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        sock.settimeout(LOST)
        sock.connect(("127.0.0.1", port))
        room = WINDOW
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            while room >= BURST:
                for message in messages:
                    sock.send(message)
                room -= BURST
            try:
                count = sock.recv_into(buffer) // size
            except TimeoutError:
                room = WINDOW
            else:
                back += count
                room += count
    return back


def measure(command: tuple[str, ...], workload: str, seconds: float) -> dict[str, float]:
    shape = WORKLOADS[workload]
    with Namespace() as namespace, Process(namespace, *command) as server:
        server.wait_for("\n", timeout=10)
        port = int(server.output().split()[1])
        namespace.run(load, port, *shape, 0.2)
        before = server.cpu_seconds()
        count = namespace.run(load, port, *shape, seconds)
        if not count:
            raise MeasurementError("nothing came back")
        cpu = server.cpu_seconds() - before
        return {"rate": count / seconds, "cpu": 1e9 * cpu / count}


def table(samples: list[Sample], workload: str) -> Table:
    lines = []
    for row in ROWS:
        cells = []
        for metric, scale, form in (("rate", 1e-3, "{:.0f}"), ("cpu", 1, "{:.0f}")):
            found = summarize(values(samples, metric, workload, row).values())
            ratio = summarize(ratios(samples, metric, workload, row, BASELINE))
            cells.append(form.format(found.median * scale) if found else "-")
            cells.append(f"{ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f})" if ratio else "-")
        lines.append((row, *cells))
    columns = ("server", "1000 datagrams/s", "by asyncio's", "CPU, ns a datagram", "by asyncio's")
    return Table(f"Echo, {workload}", columns, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    prepare("netns")
    rows = dict(ROWS)
    try:
        QUINN.prepare()
    except (BuildError, subprocess.TimeoutExpired) as exc:
        del rows[QUINN.title]
        print(f"left out: {QUINN.title}: {exc}")
    samples = []
    for number in range(options.rounds):
        for workload in WORKLOADS:
            for row in running_order(rows, number):
                metrics = measure(rows[row], workload, options.seconds)
                samples.append(Sample(number, row, workload, metrics))
        print(f"round {number + 1} of {options.rounds} done", flush=True)
    for workload in WORKLOADS:
        found = table(samples, workload)
        print(f"\n{found.title}\n\n{found.markdown()}")


if __name__ == "__main__":
    main()
