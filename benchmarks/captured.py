"""python -m benchmarks.captured: one TCP flow through a device that is captured.

Each row runs three times: with nobody watching, under `aiotun.capture` in its own process, and
beside `aiotun capture`, which reads packets by packet(7). "Untold" are packets that passed and
are neither in the file nor told as lost: by the forwarder's counters, or by the interface's. The
files go to TMPDIR, 1.3 GB a second at 10 Gbit/s: name a tmpfs, and a disk's speed is not
measured.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiotun.capturing.filters import SNAP_LENGTH

from .network import Network, congestion_control, forwarding
from .processes import Process, prepare
from .ratios import Sample, ratios, running_order, summarize, values
from .rows import ROWS, Row
from .tables import Table
from .workloads import WORKLOADS

MODES = ("packet", "batch", "super", "relay")

UNWATCHED, TAPPED, BESIDE = "not captured", "aiotun.capture", "aiotun capture"

METRICS = {
    "throughput": ("Gbit/s", "{:.2f}"),
    "cpu_per_gbit": ("forwarder's CPU per Gbit, ms", "{:.0f}"),
    "recorded": ("recorded, packets", "{:.0f}"),
    "lost": ("told as lost", "{:.0f}"),
    "untold": ("untold", "{:.0f}"),
}

Captured = AbstractContextManager[tuple[Network, Callable[[], dict[str, float]]]]
"""A network, and what ends its capture and tells how many packets passed, were recorded, lost."""


@dataclass(frozen=True)
class _Tapped(Row):
    @property
    def command(self) -> tuple[str, ...]:
        return (sys.executable, "-m", "benchmarks.captured_forwarder", *self.arguments)


@contextmanager
def _unwatched(
    mode: str, file: Path, snap: str
) -> Iterator[tuple[Network, Callable[[], dict[str, float]]]]:
    with forwarding(ROWS[f"{mode}-uvloop"], congestion_control()) as network:
        yield network, dict


@contextmanager
def _tapped(
    mode: str, file: Path, snap: str
) -> Iterator[tuple[Network, Callable[[], dict[str, float]]]]:
    row = _Tapped("aiotun", mode, (str(file), snap, mode))
    with forwarding(row, congestion_control()) as network:

        def end() -> dict[str, float]:
            os.kill(network.forwarder.pid, signal.SIGTERM)
            words = network.forwarder.finish(60)
            return _totals(words, int(words.split()[1]))

        yield network, end


@contextmanager
def _beside(
    mode: str, file: Path, snap: str
) -> Iterator[tuple[Network, Callable[[], dict[str, float]]]]:
    command = (
        *(sys.executable, "-m", "aiotun", "capture", "tun0"),
        *("--write", str(file), "--snap-length", snap),
    )
    with (
        forwarding(ROWS[f"{mode}-uvloop"], congestion_control()) as network,
        Process(network.a, "sh", "-c", 'exec "$@" 2>&1', "sh", *command) as recorder,
    ):
        recorder.wait_for("capturing", timeout=20)
        before = _passed(network)

        def end() -> dict[str, float]:
            passed = _passed(network) - before
            os.kill(recorder.pid, signal.SIGTERM)
            return _totals(recorder.finish(60), passed)

        yield network, end


def _passed(network: Network) -> int:
    """Packets by the interface's counters, those that it dropped among them."""
    (link,) = json.loads(network.a.command("ip", "-json", "-stats", "link", "show", "tun0"))
    received, sent = link["stats64"]["rx"], link["stats64"]["tx"]
    return int(received["packets"] + sent["packets"] + sent["dropped"])


def _totals(words: str, passed: int) -> dict[str, float]:
    recorded, lost = map(int, re.findall(r"(\d+) (?:packets? captured|lost)", words))
    return {"recorded": recorded, "lost": lost, "untold": passed - recorded - lost}


WAYS: dict[str, Callable[[str, Path, str], Captured]] = {
    UNWATCHED: _unwatched,
    TAPPED: _tapped,
    BESIDE: _beside,
}


def measure(way: str, mode: str, snap: str, seconds: float) -> dict[str, float]:
    with (
        tempfile.TemporaryDirectory(prefix="aiotun-bench-") as folder,
        WAYS[way](mode, Path(folder, "x.pcapng"), snap) as (network, end),
    ):
        metrics = WORKLOADS["tcp"].measure(network, seconds)
        return {**metrics, **end()}


def table(samples: list[Sample], mode: str) -> Table:
    lines = []
    for way in WAYS:
        cells = []
        for metric, (_, form) in METRICS.items():
            found = summarize(values(samples, metric, mode, way).values())
            cells.append(form.format(found.median) if found else "-")
        ratio = summarize(ratios(samples, "throughput", mode, way, UNWATCHED))
        cells.append(f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})" if ratio else "-")
        lines.append((way, *cells))
    columns = ("capture", *(title for title, _ in METRICS.values()), "by not captured")
    return Table(ROWS[f"{mode}-uvloop"].title, columns, lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.captured", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=["packet", "super"])
    parser.add_argument("--snap-length", default=str(SNAP_LENGTH), help="bytes kept of a packet")
    options = parser.parse_args()
    prepare("netns", "tun", "ip", "ping", "iperf3")
    samples = []
    for number in range(options.rounds):
        for mode in options.modes:
            for way in running_order(WAYS, number):
                metrics = measure(way, mode, options.snap_length, options.seconds)
                samples.append(Sample(number, way, mode, metrics))
        print(f"round {number + 1} of {options.rounds} done", flush=True)
    for mode in options.modes:
        found = table(samples, mode)
        print(f"\n{found.title}\n\n{found.markdown()}")
    return int(any(sample.metrics.get("untold") for sample in samples))


if __name__ == "__main__":
    sys.exit(main())
