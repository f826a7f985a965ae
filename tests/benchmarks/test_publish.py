"""Results kept in the project: files, and a place in the README."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks import publish as module
from benchmarks.publish import BEGIN, BLOCK, END, README, publish
from benchmarks.ratios import Sample
from benchmarks.results import Results
from benchmarks.workloads import Metrics

MACHINE = {
    "date": "2030-01-02T03:04:05",
    "cpu": "a processor",
    "cores": 2,
    "kernel": "6.18",
    "python": "3.13.0",
    "offload": "native",
}
TCP = {"throughput": 5.0, "cpu_per_gbit": 100.0, "memory": 27.0, "retransmissions": 0}


def results(*samples: tuple[str, str, Metrics]) -> Results:
    options = {
        "command": "python -m benchmarks --rounds 1",
        "rounds": 1,
        "seconds": 1,
        "congestion_control": "cubic",
        "rows": [row for row, _, _ in samples],
        "workloads": [workload for _, workload, _ in samples],
    }
    return Results(MACHINE, options, [Sample(0, *sample) for sample in samples])


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder with a README that has a place for results."""
    (tmp_path / "README.md").write_text(f"before\n{BEGIN}\nof last year\n{END}\nafter\n")
    monkeypatch.setattr(module, "README", tmp_path / "README.md")
    monkeypatch.setattr(module, "PUBLISHED", tmp_path / "results")
    return tmp_path


def published_readme(folder: Path, found: Results, *files: str) -> str:
    """The README after publishing results, and files beside them."""
    shutil.rmtree(folder / "output", ignore_errors=True)
    found.save(folder / "output" / "results.json")
    for name in files:
        (folder / "output" / name).write_text(name)
    publish(found, folder / "output")
    return (folder / "README.md").read_text()


def test_published(published: Path) -> None:
    ours, theirs = ("packet-uvloop", "tcp", TCP), ("tun-rs-async-offload", "tcp", TCP)
    found = results(ours, theirs, ("packet-uvloop", "ping", {"p50": 80.0}))
    readme = published_readme(published, found, "results.md", "tcp.svg")
    assert readme.startswith("before\n")
    assert readme.endswith("after\n")
    assert "of last year" not in readme
    assert "python -m benchmarks --rounds 1" in readme
    assert (
        "| aiotun, one call a packet, uvloop | 5 | 100 | 27 | 80 | 1.00 (1.00 to 1.00) |" in readme
    )
    assert "| tun-rs, async, offload | 5 | 100 | 27 |  | 1.00 (1.00 to 1.00) |" in readme
    names = {path.name for path in (published / "results").iterdir()}
    assert names == {"results.json", "results.md", "tcp.svg"}
    assert Results.load(published / "results" / "results.json") == found


def test_published_without_what_the_plot_shows(published: Path) -> None:
    published_readme(published, results(("packet-uvloop", "tcp", TCP)), "tcp.svg")
    readme = published_readme(published, results(("packet-uvloop", "ping", {"p50": 80.0})))
    assert "| aiotun, one call a packet, uvloop | 80 |" in readme
    assert "svg" not in readme
    assert not (published / "results" / "tcp.svg").exists()


def test_the_readme_of_the_project_has_a_place() -> None:
    assert BLOCK.search(README.read_text())
