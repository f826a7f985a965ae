"""Results shown in the terminal, and written to files."""

from __future__ import annotations

from pathlib import Path

import rich.table
from rich.console import Console

from .floors import judge
from .plot import plot
from .results import Results
from .tables import Table, floor_table, forwarding_tables, micro_tables, setting

__all__ = ["report"]


def report(results: Results, output: Path, console: Console) -> None:
    """Show the tables, and write them and the plot beside the results."""
    forwarding = forwarding_tables(results)
    tables = [*forwarding.values(), *micro_tables(results), floor_table(judge(results))]
    for table in tables:
        console.print(_rich(table))
    sections = [f"## {table.title}\n\n{table.markdown()}\n" for table in tables]
    if results.import_seconds is not None:
        sections.append(f"`import aiotun` takes {1000 * results.import_seconds:.0f} ms.\n")
    heading = f"# Benchmark results\n\n{setting(results)}\n"
    output.mkdir(parents=True, exist_ok=True)
    (output / "results.md").write_text("\n".join([heading, *sections]))
    (output / "tcp.svg").unlink(missing_ok=True)  # of an earlier run
    if "tcp" in forwarding:
        plot(results, output / "tcp.svg")


def _rich(table: Table) -> rich.table.Table:
    shown = rich.table.Table(title=table.title, title_justify="left")
    for number, column in enumerate(table.columns):
        shown.add_column(column, justify="right" if number else "left")
    for line in table.lines:
        shown.add_row(*line)
    return shown
