"""The benchmark of flows: every workload gives a number for our own rows."""

from __future__ import annotations

import sys

import pytest

from benchmarks.flows.__main__ import OURS, Row, measure, report
from benchmarks.flows.load import WORKLOADS
from benchmarks.ratios import Sample

pytestmark = pytest.mark.requires("tun", "netns", "ip")


@pytest.mark.parametrize("workload", sorted(WORKLOADS))
def test_a_workload(workload: str, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = measure(Row((sys.executable, *OURS, "asyncio")), workload, 0.2)
    assert all(value > 0 for name, value in metrics.items() if name not in ("cpu", "cpu_per_gbit"))
    report([Sample(0, "aiotun-asyncio", workload, metrics)], workload, "aiotun-asyncio")
    assert "aiotun-asyncio" in capsys.readouterr().out


def test_an_exit() -> None:
    row = Row((sys.executable, *OURS, "asyncio", "exit"), behind=True)
    assert measure(row, "upload", 0.2)["gbit"] > 0
