"""The results as tables of text."""

from __future__ import annotations

from ..floors import FLOW_FLOORS, compare
from ..ratios import ratios, summarize, values
from ..results import Results
from ..tables import Table, floor_table, number, spread
from ..workloads import Metric
from .rows import ROWS

__all__ = ["METRICS", "WORKLOADS", "tables"]

WORKLOADS = {
    "upload": "one TCP flow from the client",
    "download": "one TCP flow to the client",
    "eight": "eight TCP flows from the client",
    "connections": "short connections, one after the other",
    "paced": "short connections, 1,000 begun a second",
    "round-trip": "a byte there and back",
    "udp-1400": "UDP, 1,400 bytes, echoed",
    "udp-64": "UDP, 64 bytes, echoed",
}

METRICS = {
    "throughput": Metric("throughput", "Gbit/s", more_is_better=True),
    "per_second": Metric("a second", "", more_is_better=True),
    "us": Metric("median time", "us"),
    "cpu_per_gbit": Metric("CPU per Gbit", "ms"),
    "cpu": Metric("CPU", "%"),
    "failed": Metric("failed", ""),
}

TITLES = {name: row.program.title for name, row in ROWS.items()}


def tables(results: Results) -> list[Table]:
    measured = {sample.workload for sample in results.samples}
    floors = [
        compare(floor, results.samples, METRICS[floor.metric], TITLES, WORKLOADS[floor.workload])
        for floor in FLOW_FLOORS
        if floor.workload in measured
    ]
    return [*(_table(results, name) for name in WORKLOADS if name in measured), floor_table(floors)]


def _table(results: Results, workload: str) -> Table:
    """Medians of each row, and the ratios to its peers."""
    samples = [sample for sample in results.samples if sample.workload == workload]
    metrics = [name for name in METRICS if any(name in sample.metrics for sample in samples)]
    compared = [name for name in metrics if name != "failed"]
    lines = [
        (
            TITLES[name],
            *(
                number(summarize(values(samples, each, workload, name).values()))
                for each in metrics
            ),
            *(
                "; ".join(
                    f"{spread(found)} of {peer}"
                    for peer in row.peers
                    if (found := summarize(ratios(samples, each, workload, name, peer)))
                )
                for each in compared
            ),
        )
        for name, row in ROWS.items()
        if any(sample.row == name for sample in samples)
    ]
    titles = [f"{METRICS[each].title}, {METRICS[each].unit}".rstrip(", ") for each in metrics]
    columns = ("server", *titles, *(f"{METRICS[each].title}: ratios" for each in compared))
    return Table(WORKLOADS[workload], columns, lines)
