"""The benchmark of flows: every workload gives a number for our own rows, and its tables."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.flows.measure import measure
from benchmarks.flows.rows import ROWS
from benchmarks.flows.tables import METRICS, WORKLOADS, tables
from benchmarks.processes import MeasurementError
from benchmarks.ratios import Sample
from benchmarks.results import Results


@pytest.mark.requires("tun", "netns", "ip")
@pytest.mark.parametrize("workload", sorted(WORKLOADS))
@pytest.mark.parametrize("row", ["asyncio", "exit-asyncio"])
def test_a_workload(row: str, workload: str) -> None:
    metrics = measure(ROWS[row], workload, 0.2)
    assert set(metrics) <= set(METRICS)
    idle = {"cpu", "cpu_per_gbit", "failed"}
    assert all(value > 0 for name, value in metrics.items() if name not in idle)
    assert not metrics.get("failed")


@pytest.mark.requires("tun", "netns", "ip")
def test_a_server_without_a_device() -> None:
    program = replace(ROWS["asyncio"].program, command=("true",))
    with pytest.raises(MeasurementError, match="true ended"):
        measure(replace(ROWS["asyncio"], program=program, prints=None), "upload", 0.2)


def test_tables() -> None:
    results = Results({}, {})
    for number in range(3):
        for row, value in (("uvloop", 9.0), ("mitmproxy_rs", 3.0), ("exit-uvloop", 1.0)):
            metrics = {"throughput": value, "cpu_per_gbit": 1 / value}
            results.samples.append(Sample(number, row, "upload", metrics))
    upload, floors = tables(results)
    assert [line[0] for line in upload.lines] == [
        "aiotun, uvloop",
        "mitmproxy_rs",
        "aiotun as an exit, uvloop",
    ]
    assert upload.lines[0][-2:] == (
        "3.00 (3.00 to 3.00) of mitmproxy_rs",
        "0.33 (0.33 to 0.33) of mitmproxy_rs",
    )
    assert upload.lines[2][-2:] == ("", "")
    verdicts = {(line[0], line[2]): line[3:] for line in floors.lines}
    assert verdicts["aiotun, uvloop", "≥ 4 times mitmproxy_rs"] == ("3.00 (3.00 to 3.00)", "MISS")
    assert verdicts["aiotun as an exit, uvloop", "≥ 1 times tun2socks"] == ("", "not measured")
