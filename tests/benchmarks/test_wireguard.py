"""The WireGuard benchmark: what it times is what it says, and its tables."""

from __future__ import annotations

from benchmarks.ratios import Sample
from benchmarks.results import Results
from benchmarks.wireguard.flows import METRICS
from benchmarks.wireguard.footprint import measure as footprint
from benchmarks.wireguard.keepalives import COUNTS, measure
from benchmarks.wireguard.peers import RUNS, Star
from benchmarks.wireguard.tables import PEERS, tables


def test_time_a_packet() -> None:
    for run in RUNS:
        times = Star(3).time_a_packet(run)
        assert set(times) == set(PEERS)
        assert all(0.1 < microseconds < 1000 for microseconds in times.values())


def test_keepalives_are_counted_and_spread() -> None:
    found = measure(100, 1.0)
    assert 2 <= found["sent"] <= 6
    assert 0 < found["core"] < 100


def test_memory_grows_with_peers() -> None:
    few, many = (footprint(count)["memory"] for count in (1, 301))
    assert 0.3 < many - few < 6


def test_tables() -> None:
    results = Results({}, {})
    for number in range(3):
        for row, value in (("aiotun", 2.0), ("wireguard-go", 4.0), ("aiotun-flooded", 1.0)):
            metrics = dict.fromkeys(METRICS, value)
            results.samples.append(Sample(number, row, "tcp", metrics))
        for count in ("1", "200"):
            metrics = {f"{name} {run}": float(count) for name in PEERS for run in RUNS}
            results.samples.append(Sample(number, count, "peers", metrics))
            times = {f"{run}": 3 * float(count) for run in RUNS}
            results.samples.append(Sample(number, f"aiotun {count}", "crowd", times))
        for count in map(str, COUNTS):
            metrics = {"core": 0.5, "sent": float(count) / 25}
            results.samples.append(Sample(number, count, "keepalives", metrics))
    flows, peers, crowd, timers, memory, floors = tables(results)
    by_name = {line[0]: line for line in flows.lines}
    assert by_name["aiotun to aiotun"][-3:] == ("0.50 (0.50 to 0.50)", "0.50 (0.50 to 0.50)", "")
    assert by_name["aiotun to aiotun, flooded"][-1] == "0.50 (0.50 to 0.50)"
    assert by_name["aiotun to wireguard-go"][1:] == ("",) * (len(flows.columns) - 1)
    assert peers.lines[0][-1] == "200.00 (200.00 to 200.00)"
    assert crowd.lines[0][-1] == "200.00 (200.00 to 200.00)"
    assert crowd.lines[-1][1:] == ("",) * (len(crowd.columns) - 1)
    assert timers.lines == [("80", "3.2", "0.5"), ("8000", "320", "0.5")]
    verdicts = {(line[0], line[1]): line[2:] for line in floors.lines}
    assert verdicts["aiotun to aiotun", "throughput, one TCP flow"] == (
        "≥ 1.5 times wireguard-go to wireguard-go",
        "0.50 (0.50 to 0.50)",
        "MISS",
    )
    assert verdicts["aiotun to aiotun", "CPU of both per Gbit, one TCP flow"][-1] == "pass"
    assert verdicts["200 peers", "time a packet, each to another, core of ours"][-1] == "MISS"
    assert verdicts["aiotun to wireguard-go", "throughput, one TCP flow"][-1] == "not measured"
    for table in (flows, peers, crowd, timers, memory, floors):
        assert all(len(line) == len(table.columns) for line in table.lines)
