"""Statistics over rounds: what is compared was measured in the same round.

A machine's speed drifts by more than the differences that matter, so values of
different rounds are never set against each other.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Sample", "Summary", "ratios", "running_order", "summarize", "values"]


@dataclass(frozen=True)
class Sample:
    """One measurement."""

    round: int
    row: str
    workload: str
    metrics: Mapping[str, float]


class Summary(NamedTuple):
    """Median and quartiles (inclusive method)."""

    median: float
    low: float
    high: float


def summarize(values: Iterable[float]) -> Summary | None:
    """None of no values."""
    numbers = sorted(values)
    if not numbers:
        return None
    if len(numbers) == 1:
        return Summary(numbers[0], numbers[0], numbers[0])
    low, median, high = statistics.quantiles(numbers, n=4, method="inclusive")
    return Summary(median, low, high)


def values(samples: Iterable[Sample], metric: str, workload: str, row: str) -> dict[int, float]:
    """A row's values by round."""
    return {
        sample.round: sample.metrics[metric]
        for sample in samples
        if sample.row == row and sample.workload == workload and metric in sample.metrics
    }


def ratios(
    samples: Iterable[Sample], metric: str, workload: str, row: str, peer: str
) -> list[float]:
    """Row by peer, of each round in which both were measured and the peer's value is not 0."""
    samples = list(samples)
    own, others = (values(samples, metric, workload, name) for name in (row, peer))
    return [own[number] / others[number] for number in sorted(own) if others.get(number)]


def running_order(names: Iterable[str], number: int) -> list[str]:
    """Forwards in round 0, 2, ..., backwards in between: a steady drift hits all rows alike."""
    return list(names)[:: -1 if number % 2 else 1]
