"""The benchmark of UDP endpoints: each of our servers gives back what it gets."""

from __future__ import annotations

import pytest

from benchmarks.ratios import Sample
from benchmarks.udp import BASELINE, ROWS, WORKLOADS, measure, table


@pytest.mark.requires("netns")
@pytest.mark.parametrize("row", ["aiotun batch, asyncio", BASELINE])
def test_an_echo_is_measured(row: str) -> None:
    metrics = measure(ROWS[row], "1452 bytes", 0.1)
    assert metrics["rate"] > 100
    assert metrics["cpu"] >= 0


def test_the_table_compares_within_rounds() -> None:
    samples = [
        Sample(number, row, "64 bytes", {"rate": rate * factor, "cpu": 1000 / rate})
        for number, factor in enumerate([1, 10])
        for row, rate in ((BASELINE, 2000), (next(iter(ROWS)), 8000))
    ]
    assert "64 bytes" in WORKLOADS
    first, *others = table(samples, "64 bytes").lines
    assert first[0] == next(iter(ROWS))
    assert first[2] == "4.00 (4.00-4.00)"
    assert first[4] == "0.25 (0.25-0.25)"
    assert others[0][1:] == ("-", "-", "-", "-")
