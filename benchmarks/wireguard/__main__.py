"""python -m benchmarks.wireguard: ours beside wireguard-go, end to end, and what peers cost."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console

from ..machine import describe
from ..measure import attempt, progress
from ..processes import prepare
from ..programs import ROOT
from ..ratios import running_order
from ..results import Results
from ..workloads import Metrics
from . import flows, footprint, keepalives
from .crowd import crowd, time_sending
from .peers import COUNTS, RUNS, Star
from .programs import build
from .tables import SERVERS, tables

OUTPUT = ROOT / "build" / "benchmarks" / "wireguard.json"

CROWD_SECONDS = 1.5

KEEPALIVE_SECONDS = 5.0

PING_SECONDS = 3.0

WORKLOADS = ("tcp", "ping", "peers", "keepalives", "crowd", "memory", "footprint")

NEEDED = ("netns", "mountns", "tun", "ip", "ping", "iperf3", "go")


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = set(names) - set(WORKLOADS)
    if unknown:
        raise argparse.ArgumentTypeError(f"no workload: {', '.join(sorted(unknown))}")
    return names


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.wireguard", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="how often all is measured (9)")
    parser.add_argument("--seconds", type=int, default=4, help="of each flow (4)")
    parser.add_argument("--workloads", type=_names, default=WORKLOADS, help="some of: %(default)s")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="file for the results")
    parser.add_argument("--report", type=Path, metavar="JSON", help="show earlier results again")
    args = parser.parse_args()
    if args.report is not None:
        results = Results.load(args.report)
    else:
        results = run(args.rounds, args.seconds, args.workloads, args.output)
    for table in tables(results):
        print(f"\n## {table.title}\n\n{table.markdown()}")
    return 1 if results.failures else 0


def run(rounds: int, seconds: int, workloads: tuple[str, ...], output: Path) -> Results:
    prepare(*NEEDED)
    build()
    results = Results(describe(), {"rounds": rounds, "seconds": seconds})
    todo: dict[str, tuple[str, str, Callable[[], Metrics]]] = {}
    for name, row in flows.ROWS.items():
        todo[row.title] = "tcp", name, partial(flows.measure, row, seconds)
    for name in flows.PAIRS:
        row = flows.ROWS[name]
        todo[f"ping, {row.title}"] = "ping", name, partial(flows.measure_ping, row, PING_SECONDS)
    for count in COUNTS:
        todo[f"{count} peers"] = "peers", f"{count}", partial(time_packets, count)
    for count in keepalives.COUNTS:
        measure = partial(keepalives.measure, count, KEEPALIVE_SECONDS)
        todo[f"keep-alives of {count} peers"] = "keepalives", f"{count}", measure
    for name in SERVERS:
        for count in COUNTS:
            title = f"{count} peers of {name}"
            todo[title] = "crowd", f"{name} {count}", partial(time_crowd, name, count)
        todo[f"memory of {name}"] = "memory", name, partial(memory, name)
    count = footprint.COUNT
    todo[f"memory of {count} peers"] = "footprint", f"{count}", partial(footprint.measure, count)
    todo = {title: each for title, each in todo.items() if each[0] in workloads}
    with progress(Console(stderr=True)) as bar:
        task = bar.add_task("", total=rounds * len(todo))
        for number in range(rounds):
            for title in running_order(todo, number):
                bar.update(task, description=f"round {number + 1}, {title}")
                workload, name, measurement = todo[title]
                attempt(measurement, name, workload, number, results, bar.console)
                bar.advance(task)
            results.save(output)
    return results


def time_packets(count: int) -> Metrics:
    star = Star(count)
    return {
        f"{name} {run}": value for run in RUNS for name, value in star.time_a_packet(run).items()
    }


def time_crowd(implementation: str, count: int) -> Metrics:
    with crowd(implementation, count) as server:
        return {f"{run}": time_sending(server, count, run, CROWD_SECONDS) for run in RUNS}


def memory(implementation: str) -> Metrics:
    """Peak memory of a server with one peer and with many, in MB; in KB what each one adds."""
    few, many = COUNTS[0], COUNTS[-1]
    peaks = []
    for count in (few, many):
        with crowd(implementation, count) as server:
            peaks.append(server.process.peak_memory())
    return {
        "few": peaks[0] / 1e6,
        "many": peaks[1] / 1e6,
        "each": (peaks[1] - peaks[0]) / (many - few) / 1e3,
    }


if __name__ == "__main__":
    sys.exit(main())
