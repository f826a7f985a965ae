"""Results kept in the project."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from .programs import ROOT
from .results import Results
from .tables import setting, summary_table

__all__ = ["publish"]

PUBLISHED = Path(__file__).parent / "results"
README = ROOT / "README.md"
BEGIN, END = "<!-- benchmark: begin -->", "<!-- benchmark: end -->"
BLOCK = re.compile(f"{BEGIN}.*?{END}", re.DOTALL)


def publish(results: Results, output: Path) -> None:
    """Keep what `report` wrote in the project: in `results/`, and the summary in the README."""
    PUBLISHED.mkdir(exist_ok=True)
    for name in ("results.json", "results.md", "tcp.svg"):
        (PUBLISHED / name).unlink(missing_ok=True)
        if (output / name).exists():
            shutil.copyfile(output / name, PUBLISHED / name)
    parts = [BEGIN, f"    {results.options['command']}", setting(results)]
    if (PUBLISHED / "tcp.svg").exists():
        parts.append("![Forwarding one TCP flow](benchmarks/results/tcp.svg)")
    parts += [
        summary_table(results).markdown(),
        "[All tables](benchmarks/results/results.md), with quartiles and what must hold.",
        END,
    ]
    block = "\n\n".join(parts)
    README.write_text(BLOCK.sub(lambda _: block, README.read_text()))
