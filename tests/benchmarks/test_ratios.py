from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.ratios import Sample, Summary, ratios, running_order, summarize, values

SAMPLES = [
    Sample(0, "ours", "tcp", {"throughput": 10.0}),
    Sample(0, "peer", "tcp", {"throughput": 20.0}),
    Sample(1, "peer", "tcp", {"throughput": 5.0}),
    Sample(1, "ours", "tcp", {"throughput": 10.0}),
    Sample(2, "ours", "tcp", {"throughput": 10.0}),  # the peer failed
    Sample(3, "peer", "tcp", {"throughput": 10.0}),  # ours failed
    Sample(4, "ours", "tcp", {"throughput": 10.0}),
    Sample(4, "peer", "tcp", {"throughput": 0.0}),
    Sample(0, "ours", "ping", {"p50": 100.0}),
    Sample(0, "peer", "ping", {"p50": 50.0}),
]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        pytest.param([], None, id="nothing"),
        pytest.param([3.0], Summary(3.0, 3.0, 3.0), id="one"),
        pytest.param([2.0, 1.0], Summary(1.5, 1.25, 1.75), id="two"),
        pytest.param([5.0, 1.0, 4.0, 2.0, 3.0], Summary(3.0, 2.0, 4.0), id="unsorted"),
        pytest.param([1.0, 1.0, 1.0, 1.0, 99.0], Summary(1.0, 1.0, 1.0), id="outlier"),
    ],
)
def test_summary(numbers: list[float], expected: Summary | None) -> None:
    assert summarize(numbers) == expected


@given(st.lists(st.floats(0, 1e9), min_size=1))
def test_summary_is_ordered_and_within_the_values(numbers: list[float]) -> None:
    found = summarize(numbers)
    assert found is not None
    slack = 1e-9 * max(numbers)  # quantiles interpolate
    assert min(numbers) - slack <= found.low <= found.median + slack
    assert found.median <= found.high + slack <= max(numbers) + 2 * slack


def test_values_are_those_of_one_row_and_workload() -> None:
    assert values(SAMPLES, "p50", "ping", "ours") == {0: 100.0}
    assert values(SAMPLES, "throughput", "ping", "ours") == {}


def test_ratios_pair_only_what_one_round_measured() -> None:
    assert ratios(SAMPLES, "throughput", "tcp", "ours", "peer") == [0.5, 2.0]
    assert ratios(SAMPLES, "p50", "ping", "ours", "peer") == [2.0]
    assert ratios(SAMPLES, "throughput", "tcp", "ours", "unknown") == []


def test_a_row_by_itself_is_one() -> None:
    assert set(ratios(SAMPLES, "throughput", "tcp", "ours", "ours")) == {1.0}


def test_the_median_of_ratios_is_not_the_ratio_of_medians() -> None:
    # Both rows slow down tenfold together: that must not count.
    samples = [
        Sample(number, row, "tcp", {"throughput": speed * drift})
        for number, drift in enumerate([1.0, 10.0, 10.0])
        for row, speed in [("ours", 3.0), ("peer", 2.0)]
    ]
    assert ratios(samples, "throughput", "tcp", "ours", "peer") == pytest.approx([1.5] * 3)


def test_running_order_alternates() -> None:
    assert running_order("abc", 0) == ["a", "b", "c"]
    assert running_order("abc", 1) == ["c", "b", "a"]
    assert running_order("abc", 2) == ["a", "b", "c"]
