from __future__ import annotations

from pathlib import Path

import pytest

import benchmarks.tls_vpn
from benchmarks.network import congestion_control
from benchmarks.ratios import Sample
from benchmarks.results import Results
from benchmarks.tables import setting
from benchmarks.tls_vpn import DIRECTIONS, VPNS, measure, run, table


@pytest.mark.interop
@pytest.mark.requires("tun", "netns", "ip", "ping", "iperf3")
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_our_tunnel(direction: str) -> None:
    assert measure(VPNS["aiotun"], direction, 1)["throughput"] > 0


def test_a_run_says_how_it_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks.tls_vpn, "measure", lambda *_: {"throughput": 1.0})
    results = run(2, 3, tmp_path / "results.json")
    assert len(results.samples) == 2 * len(DIRECTIONS) * len(VPNS)
    assert f"TCP with {congestion_control()}: medians of 2 rounds of 3 s" in setting(results)


def test_table() -> None:
    samples = [
        Sample(number, name, direction, {"throughput": speed, "cpu_per_gbit": 1000.0})
        for number in range(3)
        for direction in DIRECTIONS
        for name, speed in (("aiotun", 3.0 + number), ("openvpn", 1.0 + number))
    ]
    found = table(Results({}, {}, samples))
    assert [line[1] for line in found.lines] == ["4", "2"] * 2
    assert [line[-1] for line in found.lines] == [
        "2.00 (1.83 to 2.50)",
        "1.00 (1.00 to 1.00)",
    ] * 2
