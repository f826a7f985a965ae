"""python -m benchmarks: measure the forwarders, and the offload functions alone."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from rich.console import Console

from . import micro
from .floors import floor_rows
from .machine import describe
from .measure import build, measure
from .network import allowed_congestion_controls, congestion_control
from .processes import prepare
from .programs import ROOT
from .publish import publish
from .report import report
from .results import Results
from .rows import BASELINE, ROWS
from .workloads import WORKLOADS

OUTPUT = ROOT / "build" / "benchmarks"
QUICK_ROWS = (
    "packet-asyncio",
    "batch-asyncio",
    "super-asyncio",
    BASELINE,
    "tun-rs-async-one-thread-offload",
    "c-offload",
)
QUICK_WORKLOADS = ("tcp", "ping")

NEEDED = ("netns", "tun", "ip", "ping", "iperf3")

OVERHEAD = 1.2
"""Seconds that a measurement takes beside its traffic."""


def main() -> int:
    args = parse_arguments()
    console = Console(width=None if sys.stdout.isatty() else 160)
    results = Results.load(args.report) if args.report is not None else run(args, console)
    results.save(args.output / "results.json")
    report(results, args.output, console)
    if args.publish:
        publish(results, args.output)
    return 1 if any(failure.workload for failure in results.failures) else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="how often all is measured (9)")
    parser.add_argument("--seconds", type=int, default=4, help="of each measurement (4)")
    parser.add_argument(
        "--rows",
        type=names([*ROWS, "floors"]),
        default=list(ROWS),
        help=f"floors (the rows of which something must hold, and their peers), {', '.join(ROWS)}",
    )
    parser.add_argument(
        "--workloads", type=names(WORKLOADS), default=list(WORKLOADS), help=", ".join(WORKLOADS)
    )
    parser.add_argument(
        "--congestion-control",
        metavar="NAME",
        help="TCP's, one that namespaces may have (cubic, else the machine's own)",
    )
    parser.add_argument("--quick", action="store_true", help="a first look, some minutes")
    parser.add_argument(
        "--packets",
        type=int,
        default=100_000_000,
        help="over which memory must stay flat (100 million; 0: no micro-benchmarks)",
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder for what comes out")
    parser.add_argument("--report", type=Path, metavar="JSON", help="show earlier results again")
    parser.add_argument(
        "--publish", action="store_true", help="keep them in benchmarks/results and README.md"
    )
    args = parser.parse_args()
    if args.rounds < 1 or args.seconds < 1:
        parser.error("at least one round, and one second a measurement")
    if args.quick:
        args.rounds, args.seconds, args.packets = 3, 2, 0
        args.rows, args.workloads = list(QUICK_ROWS), list(QUICK_WORKLOADS)
    if "floors" in args.rows:
        chosen = {*args.rows, *floor_rows()}
        args.rows = [row for row in ROWS if row in chosen]
    return args


def names(known: Iterable[str]) -> Callable[[str], list[str]]:
    """Comma-separated names, each of which must be known."""

    def parse(text: str) -> list[str]:
        chosen = text.split(",")
        unknown = [name for name in chosen if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(
                f"no {', '.join(unknown)}; there is {', '.join(known)}"
            )
        return chosen

    return parse


def run(args: argparse.Namespace, console: Console) -> Results:
    prepare(*NEEDED)
    args.congestion_control = args.congestion_control or congestion_control()
    allowed = allowed_congestion_controls()
    if args.congestion_control not in allowed:
        sys.exit(
            f"no congestion control {args.congestion_control} in namespaces: there is "
            f"{', '.join(allowed)} (sysctl net.ipv4.tcp_allowed_congestion_control)"
        )
    kept = ("rounds", "seconds", "rows", "workloads", "congestion_control")
    options = {name: getattr(args, name) for name in kept}
    given = [each for each in sys.argv[1:] if each != "--publish"]
    options["command"] = shlex.join(["python", "-m", "benchmarks", *given])
    results = Results(describe(), options)
    total = args.rounds * len(args.workloads) * len(args.rows) * (args.seconds + OVERHEAD)
    micro_too = ", and the functions alone some minutes more" if args.packets else ""
    console.print(f"measuring takes about {total / 60:.0f} minutes{micro_too}")
    rows = build(args.rows, results, console)
    save_to = args.output / "results.json"
    try:
        measure(
            rows,
            args.workloads,
            rounds=args.rounds,
            seconds=args.seconds,
            congestion_control=args.congestion_control,
            results=results,
            save_to=save_to,
            console=console,
        )
    except BaseException:
        if results.samples:
            results.save(save_to)
            console.print(f"cut short; for what there is: python -m benchmarks --report {save_to}")
        raise
    if args.packets:
        with console.status("measuring the offload functions alone, some minutes"):
            results.import_seconds = micro.import_seconds()
            results.micro = micro.run(args.packets)
    return results


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
