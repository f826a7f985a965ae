"""The rounds: every row in turn, again and again, in alternating order."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .network import forwarding
from .processes import MeasurementError
from .programs import PROGRAMS, BuildError
from .ratios import Sample, running_order
from .results import Failure, Results
from .rows import ROWS
from .workloads import WORKLOADS, Metrics

__all__ = ["attempt", "build", "measure", "progress"]


def progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def build(rows: Sequence[str], results: Results, console: Console) -> list[str]:
    """Build the programs of the rows; return the rows that can run, note the others."""
    names = list(dict.fromkeys(ROWS[row].program for row in rows))
    missing: dict[str, str] = {}
    with progress(console) as bar:
        task = bar.add_task("building", total=len(names))
        for name in names:
            bar.update(task, description=f"building {PROGRAMS[name].title}")
            try:
                PROGRAMS[name].prepare()
            except (BuildError, subprocess.TimeoutExpired) as exc:
                missing[name] = str(exc)
            bar.advance(task)
    able = []
    for row in rows:
        reason = missing.get(ROWS[row].program) or ROWS[row].missing()
        if reason is None:
            able.append(row)
        else:
            results.failures.append(Failure(row, reason))
            console.print(f"left out: {ROWS[row].title}: {reason}", highlight=False)
    return able


def measure(
    rows: Sequence[str],
    workloads: Sequence[str],
    *,
    rounds: int,
    seconds: float,
    congestion_control: str,
    results: Results,
    save_to: Path,
    console: Console,
) -> None:
    """Run everything, add it to the results, and save these after each workload.

    Rows follow each other workload by workload, so that what is compared was
    measured within a minute or so.
    """
    with progress(console) as bar:
        task = bar.add_task("measuring", total=rounds * len(workloads) * len(rows))
        for number in range(rounds):
            for workload in workloads:
                for row in running_order(rows, number):
                    bar.update(
                        task,
                        description=f"round {number + 1} of {rounds}, "
                        f"{WORKLOADS[workload].title}: {ROWS[row].title}",
                    )
                    measurement = partial(_measure, row, workload, seconds, congestion_control)
                    attempt(measurement, row, workload, number, results, console)
                    bar.advance(task)
                results.save(save_to)
            console.print(f"round {number + 1} of {rounds} done", highlight=False)


def attempt(
    measurement: Callable[[], Metrics],
    row: str,
    workload: str,
    number: int,
    results: Results,
    console: Console,
) -> None:
    """Measure in the round of that number: a sample for the results, or why there is none."""
    try:
        metrics = measurement()
    except (MeasurementError, OSError, subprocess.SubprocessError) as exc:
        results.failures.append(Failure(row, str(exc), workload, number))
        console.print(f"failed: {row}, {workload}: {exc}", highlight=False)
    else:
        results.samples.append(Sample(number, row, workload, metrics))


def _measure(row: str, workload: str, seconds: float, congestion_control: str) -> Metrics:
    with forwarding(ROWS[row], congestion_control) as network:
        metrics = WORKLOADS[workload].measure(network, seconds)
        network.forwarder.check()
    return metrics
