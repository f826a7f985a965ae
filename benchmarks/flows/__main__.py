"""python -m benchmarks.flows: connections out of a TUN, ours beside others', in alternating rounds.

A peer that cannot be had on this machine is left out, with its reason.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from rich.console import Console

from ..machine import describe
from ..measure import attempt, progress
from ..processes import prepare
from ..programs import ROOT, BuildError
from ..ratios import running_order
from ..results import Failure, Results
from .measure import measure
from .rows import ROWS
from .tables import WORKLOADS, tables

OUTPUT = ROOT / "build" / "benchmarks" / "flows.json"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flows", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="how often all is measured (9)")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement (0.5)")
    parser.add_argument("--rows", default=",".join(ROWS), help="some of: %(default)s")
    parser.add_argument("--workloads", default=",".join(WORKLOADS), help="some of: %(default)s")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="file for the results")
    parser.add_argument("--report", type=Path, metavar="JSON", help="show earlier results again")
    args = parser.parse_args()
    rows, workloads = args.rows.split(","), args.workloads.split(",")
    unknown = {*rows, *workloads} - {*ROWS, *WORKLOADS}
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    if args.report is not None:
        results = Results.load(args.report)
    else:
        results = run(args.rounds, args.seconds, rows, workloads, args.output)
    for table in tables(results):
        print(f"\n## {table.title}\n\n{table.markdown()}")
    return 1 if any(failure.workload for failure in results.failures) else 0


def run(
    rounds: int, seconds: float, rows: list[str], workloads: list[str], output: Path
) -> Results:
    prepare("tun", "netns", "ip")
    results = Results(describe(), {"rounds": rounds, "seconds": seconds})
    able = []
    for name in rows:
        try:
            ROWS[name].program.prepare()
        except BuildError as exc:
            results.failures.append(Failure(name, str(exc)))
            print(f"left out: {name}: {exc}", file=sys.stderr)
        else:
            able.append(name)
    with progress(Console(stderr=True)) as bar:
        task = bar.add_task("", total=rounds * len(workloads) * len(able))
        for number in range(rounds):
            for workload in workloads:
                for name in running_order(able, number):
                    if workload.startswith("udp") and not ROWS[name].datagrams:
                        bar.advance(task)
                        continue
                    bar.update(task, description=f"round {number + 1}, {workload}: {name}")
                    measurement = partial(measure, ROWS[name], workload, seconds)
                    attempt(measurement, name, workload, number, results, bar.console)
                    bar.advance(task)
            results.save(output)
    return results


if __name__ == "__main__":
    sys.exit(main())
