"""aiotun bench: how fast packets pass through Python protocols on this machine.

The benchmark beside other libraries is `python -m benchmarks`, in a checkout.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import statistics
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from ..offload import implementation
from ..probes import probe
from . import version
from .demo.display import Display
from .demo.networks import interruptible, prepare
from .demo.transfer import PATHS, Forwarder, Path, Result, TransferError, transfer
from .messages import amount, duration

__all__ = ["add_arguments", "main"]

ROUNDS = 3
SECONDS = 1.5

OVERHEAD = 0.3
"""Seconds that a measurement takes beside its traffic."""


class BatchForwarder(Forwarder):
    """Hands on what one wake-up read."""

    def packets_received(self, packets: list[bytes]) -> None:
        self.other.writelines(packets)


BATCH = Path("batch", "split and merged, one call a batch", BatchForwarder, offload=True)

ALL_PATHS = (PATHS[0], PATHS[1], BATCH, *PATHS[2:])

Row = tuple[Path, str]
"""A way through the forwarder, and the event loop it runs on."""

Runner = Callable[[Coroutine[Any, Any, Result]], Result]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=amount, default=ROUNDS, help=f"({ROUNDS})")
    parser.add_argument(
        "--seconds",
        type=duration,
        default=SECONDS,
        help=f"time for each measurement ({SECONDS:g})",
    )
    parser.add_argument("--json", action="store_true", help="print the results as JSON")


def main(args: argparse.Namespace) -> int:
    """Measure one TCP flow on each way; return 0 if every byte arrived on all of them, else 1."""
    system = {
        "aiotun": version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "offload": implementation,
    }
    display = Display(sys.stderr if args.json else sys.stdout)
    display.line(f"aiotun {system['aiotun']}")
    display.line("{system}, Python {python}, offload functions: {offload}".format_map(system))
    if not prepare(display):
        return 1
    display.heading("One TCP flow between two TUN devices, every byte compared on arrival")
    runners = _runners()
    results: dict[Row, list[Result]] = {(path, loop): [] for path in ALL_PATHS for loop in runners}
    seconds = args.rounds * len(results) * (args.seconds + OVERHEAD)
    display.line(
        f"   This takes about {seconds:.0f} s: {args.rounds} rounds on {len(results)} ways."
    )
    complete = _measure(results, runners, args.rounds, args.seconds, display)
    if args.json:
        rows = [_as_json(row, found) for row, found in results.items()]
        print(json.dumps({**system, "seconds": args.seconds, "rows": rows}, indent=2))
    else:
        for line in _table(results):
            display.line(line)
    return 0 if complete else 1


def _measure(
    results: dict[Row, list[Result]],
    runners: dict[str, Runner],
    rounds: int,
    seconds: float,
    display: Display,
) -> bool:
    """Measure all rows in turn. Returns whether everything arrived.

    Every second round goes backwards, so that a drift of the machine hits all alike.
    """
    complete = True
    for number in range(rounds):
        for path, loop in list(results)[:: -1 if number % 2 else 1]:
            try:
                result = runners[loop](interruptible(transfer(path, seconds, display)))
            except TransferError as exc:
                display.line(f"   {path.name}, {loop}: {exc}")
                complete = False
            except asyncio.CancelledError:
                raise KeyboardInterrupt from None
            else:
                results[path, loop].append(result)
        display.live(f"   round {number + 1} of {rounds} is done")
    return complete


def _runners() -> dict[str, Runner]:
    """What runs a coroutine on each event loop there is."""
    if not probe("uvloop").available:
        return {"asyncio": asyncio.run}
    import uvloop

    return {"asyncio": asyncio.run, "uvloop": uvloop.run}


def _table(results: dict[Row, list[Result]]) -> list[str]:
    """Medians, in sixty columns."""
    lines = ["   way        loop     Gbit/s   least to most   CPU ms/Gbit"]
    for (path, loop), found in results.items():
        if found:
            speeds = [result.gbits for result in found]
            spread = f"{min(speeds):.2f} to {max(speeds):.2f}"
            cpu = statistics.median(result.cpu for result in found)
            cost = statistics.median(1000 * result.cpu / result.gbits for result in found)
            lines.append(
                f"   {path.name:11}{loop:8}{statistics.median(speeds):7.2f}  "
                f"{spread:>14}  {cpu:4.0%}{cost:8.0f}"
            )
    return [*lines, "", *(f"   {path.name:11}{path.meaning}" for path in ALL_PATHS)]


def _as_json(row: Row, results: list[Result]) -> dict[str, Any]:
    path, loop = row
    return {
        "path": path.name,
        "meaning": path.meaning,
        "loop": loop,
        "gbits": [result.gbits for result in results],
        "cpu": [result.cpu for result in results],
    }
