"""The results of one TCP flow as a picture."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from .ratios import summarize, values
from .results import Results
from .rows import ROWS
from .workloads import METRICS

__all__ = ["plot"]

OURS, PEERS = "#2a6fbb", "#b4b4b4"
PANELS = {"throughput": "linear", "cpu_per_gbit": "log"}
"""Metric and scale; pure Python's CPU would leave no room for the others'."""


def plot(results: Results, path: Path) -> None:
    """Write an SVG: medians as bars, quartiles as whiskers, the fastest on top."""
    found = {
        row: [summarize(values(results.samples, metric, "tcp", row).values()) for metric in PANELS]
        for row in ROWS
    }
    bars = [
        (row, [summary for summary in summaries if summary])
        for row, summaries in found.items()
        if all(summaries)
    ]
    bars.sort(key=lambda bar: bar[1][0].median)
    with mpl.rc_context({"svg.hashsalt": "aiotun", "font.size": 9}):  # the same file every time
        figure = Figure(figsize=(11, 1.2 + 0.28 * len(bars)), layout="constrained")
        panels = figure.subplots(1, len(PANELS), sharey=True)
        for number, (axes, (metric, scale)) in enumerate(zip(panels, PANELS.items(), strict=True)):
            summaries = [found[number] for _, found in bars]
            axes.barh(
                [ROWS[row].title for row, _ in bars],
                [summary.median for summary in summaries],
                xerr=[
                    [summary.median - summary.low for summary in summaries],
                    [summary.high - summary.median for summary in summaries],
                ],
                color=[OURS if ROWS[row].ours else PEERS for row, _ in bars],
                error_kw={"elinewidth": 0.8, "ecolor": "#444444"},
            )
            axes.set_xscale(scale)
            axes.set_xlabel(f"{METRICS[metric].title}, {METRICS[metric].unit} ({scale})")
            axes.spines[["top", "right"]].set_visible(False)
        figure.suptitle("Forwarding one TCP flow between two TUN devices")
        figure.savefig(path, format="svg", metadata={"Date": None})
