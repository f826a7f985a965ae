"""python -m benchmarks.pythons PYTHON ...: the same forwarder on several interpreters.

Each PYTHON is a command that runs one with aiotun built for it, as VERSION=COMMAND. All run in turn
in each round, natively and in pure Python. A free-threaded one has the GIL with native modules,
and does without it in pure Python. Ratios are to the first, in the same round.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import dataclass

from .network import congestion_control, forwarding
from .processes import prepare
from .ratios import Sample, ratios, running_order, summarize, values
from .rows import ROWS, Row
from .tables import Table
from .workloads import WORKLOADS

MODES = {"packet": "packet-asyncio", "plain": "plain-asyncio"}
PURE = {"native": {}, "pure": {"AIOTUN_PURE": "1"}}


@dataclass(frozen=True)
class _On(Row):
    python: tuple[str, ...] = ()

    @property
    def command(self) -> tuple[str, ...]:
        return (*self.python, "-m", "benchmarks.forwarder", *self.arguments)


def rows(pythons: list[str], mode: str, implementation: str) -> dict[str, Row]:
    """By the interpreters' names."""
    arguments = ROWS[MODES[mode]].arguments
    named = (each.partition("=")[::2] for each in pythons)
    return {
        name: _On(
            "aiotun",
            name,
            arguments,
            environment=PURE[implementation],
            python=tuple(shlex.split(command)),
        )
        for name, command in named
    }


def table(samples: list[Sample], names: list[str], workload: str) -> Table:
    lines = []
    for name in names:
        cells = [name]
        for metric, form in (("throughput", "{:.2f}"), ("cpu_per_gbit", "{:.0f}")):
            found = summarize(values(samples, metric, workload, name).values())
            cells.append(form.format(found.median) if found else "-")
        for metric in ("throughput", "cpu_per_gbit"):
            ratio = summarize(ratios(samples, metric, workload, name, names[0]))
            cells.append(
                f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})" if ratio else "-"
            )
        lines.append(tuple(cells))
    columns = ("Python", "Gbit/s", "CPU per Gbit, ms", f"Gbit/s by {names[0]}", "CPU by it")
    return Table(workload, columns, lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pythons", description=__doc__)
    parser.add_argument("pythons", nargs="+", metavar="VERSION=COMMAND")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--implementations", nargs="+", choices=PURE, default=list(PURE))
    options = parser.parse_args()
    prepare("netns", "tun", "ip", "ping", "iperf3")
    tcp = congestion_control()
    samples: list[Sample] = []
    workloads = [(mode, kind) for mode in options.modes for kind in options.implementations]
    for number in range(options.rounds):
        for mode, kind in workloads:
            found = rows(options.pythons, mode, kind)
            for name in running_order(found, number):
                with forwarding(found[name], tcp) as network:
                    metrics = WORKLOADS["tcp"].measure(network, options.seconds)
                samples.append(Sample(number, name, f"{mode}, {kind}", metrics))
        print(f"round {number + 1} of {options.rounds} done", file=sys.stderr, flush=True)
    for mode, kind in workloads:
        shown = table(samples, list(rows(options.pythons, mode, kind)), f"{mode}, {kind}")
        print(f"\n{shown.title}\n\n{shown.markdown()}")


if __name__ == "__main__":
    main()
