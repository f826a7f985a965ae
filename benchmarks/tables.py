"""The results as tables of text."""

from __future__ import annotations

from dataclasses import dataclass

from .floors import Verdict
from .ratios import Summary, ratios, summarize, values
from .results import Results
from .rows import BASELINE, ROWS
from .workloads import METRICS, WORKLOADS

__all__ = [
    "Table",
    "floor_table",
    "forwarding_tables",
    "micro_tables",
    "number",
    "setting",
    "spread",
    "summary_table",
]

MAIN = "packets", "throughput", "p50"
"""The first of these that a workload has is what it is about: its ratios are shown."""


SUMMARY = (
    ("tcp", "throughput"),
    ("tcp", "cpu_per_gbit"),
    ("tcp", "memory"),
    ("tcp-8", "throughput"),
    ("ping", "p50"),
)
"""What stands in the README, as far as it was measured."""


@dataclass(frozen=True)
class Table:
    """Cells as text, the first column being names."""

    title: str
    columns: tuple[str, ...]
    lines: list[tuple[str, ...]]

    def markdown(self) -> str:
        aligned = ["---", *["---:"] * (len(self.columns) - 1)]
        lines = [self.columns, aligned, *self.lines]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def forwarding_tables(results: Results) -> dict[str, Table]:
    """By workload, those that were measured."""
    measured = {sample.workload for sample in results.samples}
    return {name: _forwarding_table(name, results) for name in WORKLOADS if name in measured}


def _forwarding_table(workload: str, results: Results) -> Table:
    samples = [sample for sample in results.samples if sample.workload == workload]
    metrics = [name for name in METRICS if any(name in sample.metrics for sample in samples)]
    main = next(name for name in MAIN if name in metrics)
    lines = []
    for row in [name for name in ROWS if any(sample.row == name for sample in samples)]:
        peer = ROWS[row].peer
        lines.append(
            (
                ROWS[row].title,
                *(
                    number(summarize(values(samples, name, workload, row).values()))
                    for name in metrics
                ),
                spread(summarize(ratios(samples, main, workload, row, BASELINE))),
                spread(summarize(ratios(samples, main, workload, row, peer)) if peer else None),
            )
        )
    titles = (
        f"{METRICS[name].title}, {METRICS[name].unit}"
        if METRICS[name].unit
        else METRICS[name].title
        for name in metrics
    )
    ratios_of = f"{METRICS[main].title}: ratio to"
    columns = ("forwarder", *titles, f"{ratios_of} {ROWS[BASELINE].title}", f"{ratios_of} its peer")
    return Table(WORKLOADS[workload].title, columns, lines)


def setting(results: Results) -> str:
    """Where and how it was measured."""
    machine, options = results.machine, results.options
    return (
        f"{machine['date'][:10]}, {machine['cpu']}, {machine['cores']} cores, "
        f"Linux {machine['kernel']}, Python {machine['python']}, {machine['offload']} offload, "
        f"TCP with {options['congestion_control']}: "
        f"medians of {options['rounds']} rounds of {options['seconds']:g} s; ratios are taken "
        "within a round, with their quartiles."
    )


def summary_table(results: Results) -> Table:
    """A line for each row, the best first: its medians, and its throughput by the baseline's."""
    samples = results.samples
    found = {
        row: {
            (workload, metric): summarize(values(samples, metric, workload, row).values())
            for workload, metric in SUMMARY
        }
        for row in ROWS
    }
    columns = [key for key in SUMMARY if any(each[key] for each in found.values())]
    lines = [
        (
            ROWS[row].title,
            *(number(each[key]) for key in columns),
            spread(summarize(ratios(samples, "throughput", "tcp", row, BASELINE))),
        )
        for row, each in sorted(found.items(), key=lambda item: _speed(item[1]), reverse=True)
        if any(each.values())
    ]
    titles = (
        f"{WORKLOADS[workload].title}: {METRICS[metric].title}, {METRICS[metric].unit}"
        for workload, metric in columns
    )
    return Table("Summary", ("forwarder", *titles, f"ratio to {ROWS[BASELINE].title}"), lines)


def _speed(found: dict[tuple[str, str], Summary | None]) -> float:
    summary = found["tcp", "throughput"]
    return summary.median if summary else 0.0


def floor_table(verdicts: list[Verdict]) -> Table:
    words = {True: "pass", False: "MISS", None: "not measured"}
    return Table(
        "Floors",
        ("forwarder", "quantity", "required", "measured", "verdict"),
        [(v.subject, v.quantity, v.required, v.measured, words[v.passed]) for v in verdicts],
    )


def micro_tables(results: Results) -> list[Table]:
    tables = []
    for micro in results.micro:
        times = {(t.operation, t.flows, t.size): t.nanoseconds for t in micro.timings}
        sizes = sorted({size for _, _, size in times})
        kinds = list(dict.fromkeys((operation, flows) for operation, flows, _ in times))
        lines = [
            (
                operation if operation != "coalesce" else f"{operation}, {flows:,} flows",
                *(f"{times[operation, flows, size]:,.0f}" for size in sizes),
            )
            for operation, flows in kinds
        ]
        columns = ("operation", *(f"{size} bytes" for size in sizes))
        tables.append(Table(f"ns a packet, {micro.implementation}", columns, lines))
    return tables


def number(summary: Summary | None) -> str:
    if summary is None:
        return ""
    value = summary.median
    return f"{value:,.0f}" if value == 0 or value >= 100 else f"{value:.3g}"


def spread(summary: Summary | None) -> str:
    """Median and quartiles."""
    if summary is None:
        return ""
    return f"{summary.median:.2f} ({summary.low:.2f} to {summary.high:.2f})"
