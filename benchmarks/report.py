"""Results shown in the terminal, written to files, and put into the README."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import rich.table
from rich.console import Console

from .floors import judge
from .plot import plot
from .programs import ROOT
from .results import Results
from .tables import Table, floor_table, forwarding_tables, micro_tables

__all__ = ["has_place", "publish", "report"]

PUBLISHED = Path(__file__).parent / "results"
README = ROOT / "README.md"
BEGIN, END = "<!-- benchmark: begin -->", "<!-- benchmark: end -->"
BLOCK = re.compile(f"{BEGIN}.*?{END}", re.DOTALL)


def report(results: Results, output: Path, console: Console) -> None:
    """Show the tables, and write them and the plot beside the results."""
    forwarding = forwarding_tables(results)
    tables = [*forwarding.values(), *micro_tables(results), floor_table(judge(results))]
    for table in tables:
        console.print(_rich(table))
    sections = [f"## {table.title}\n\n{table.markdown()}\n" for table in tables]
    if results.import_seconds is not None:
        sections.append(f"`import aiotun` takes {1000 * results.import_seconds:.0f} ms.\n")
    heading = f"# Benchmark results\n\n{_setting(results)}\n"
    output.mkdir(parents=True, exist_ok=True)
    (output / "results.md").write_text("\n".join([heading, *sections]))
    if "tcp" in forwarding:
        plot(results, output / "tcp.svg")
        (output / "readme.md").write_text(
            f"{BEGIN}\n{_setting(results)}\n\n{forwarding['tcp'].markdown()}\n\n"
            "![one TCP flow](benchmarks/results/tcp.svg)\n"
            f"{END}"
        )


def _rich(table: Table) -> rich.table.Table:
    shown = rich.table.Table(title=table.title, title_justify="left")
    for number, column in enumerate(table.columns):
        shown.add_column(column, justify="right" if number else "left")
    for line in table.lines:
        shown.add_row(*line)
    return shown


def _setting(results: Results) -> str:
    machine, options = results.machine, results.options
    return (
        f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, Python "
        f"{machine['python']}, {machine['offload']} offload: medians of {options['rounds']} rounds "
        f"of {options['seconds']:g} s; ratios are taken within a round, with their quartiles."
    )


def has_place() -> bool:
    """Whether the README says where the results go."""
    return README.exists() and BLOCK.search(README.read_text()) is not None


def publish(output: Path) -> None:
    """Keep what `report` wrote in the project."""
    PUBLISHED.mkdir(exist_ok=True)
    for name in ("results.json", "results.md", "tcp.svg"):
        shutil.copyfile(output / name, PUBLISHED / name)
    block = (output / "readme.md").read_text()
    README.write_text(BLOCK.sub(lambda _: block, README.read_text()))
