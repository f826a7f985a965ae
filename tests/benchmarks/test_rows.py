from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.floors import BEST_TUN_RS, FLOORS, Floor, best_tun_rs, floor_rows, judge
from benchmarks.measure import attempt
from benchmarks.processes import MeasurementError
from benchmarks.programs import PROGRAMS
from benchmarks.ratios import Sample
from benchmarks.results import Failure, Micro, Results, Timing
from benchmarks.rows import BASELINE, ROWS, TUN_RS_OFFLOAD, Row
from benchmarks.tables import floor_table, forwarding_tables, micro_tables
from benchmarks.workloads import METRICS, WORKLOADS


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_row_has_a_program_and_a_peer_that_exist(row: Row) -> None:
    assert row.program in PROGRAMS
    assert row.peer is None or not ROWS[row.peer].ours
    assert row.peer is not None or not row.ours


def test_rows_differ() -> None:
    assert len({row.title for row in ROWS.values()}) == len(ROWS)
    assert len({(row.command, *row.environment) for row in ROWS.values()}) == len(ROWS)


def test_rows_known_by_name() -> None:
    assert BASELINE in TUN_RS_OFFLOAD
    assert len(TUN_RS_OFFLOAD) == 6


@pytest.mark.parametrize("floor", FLOORS, ids=lambda f: f"{f.row}-{f.workload}-{f.metric}-{f.peer}")
def test_a_floor_names_what_exists(floor: Floor) -> None:
    assert ROWS[floor.row].ours
    assert floor.workload in WORKLOADS
    assert floor.metric in METRICS
    assert floor.peer in (None, BEST_TUN_RS, *ROWS)


def test_rows_of_the_floors() -> None:
    chosen = floor_rows()
    assert chosen == [name for name in ROWS if name in chosen]
    assert {floor.row for floor in FLOORS} < set(chosen)
    assert {floor.peer for floor in FLOORS} <= {None, BEST_TUN_RS, *chosen}
    assert set(TUN_RS_OFFLOAD) < set(chosen)
    assert "pure-asyncio" not in chosen


def results(**metrics: dict[str, float]) -> Results:
    """One round of one TCP flow, the rows with a hyphen for each underscore."""
    rows = {name.replace("_", "-"): found for name, found in metrics.items()}
    return Results(
        machine={},
        options={"rows": list(rows), "workloads": ["tcp"]},
        samples=[Sample(0, row, "tcp", found) for row, found in rows.items()],
    )


def verdicts(found: Results) -> dict[tuple[str, str], bool | None]:
    return {(v.quantity.partition(",")[0], v.required): v.passed for v in judge(found)}


def test_verdicts() -> None:
    found = results(
        super_asyncio={"throughput": 10.0, "cpu_per_gbit": 30.0, "memory": 41.0},
        tun_rs_async_offload={"throughput": 5.0, "cpu_per_gbit": 5.0},
        tun_rs_sync_offload={"throughput": 9.0, "cpu_per_gbit": 40.0},
        c_offload={"throughput": 11.0},
    )
    # The best tun-rs row is the fastest one, for CPU too.
    assert best_tun_rs(found) == "tun-rs-sync-offload"
    assert verdicts(found) == {
        ("throughput", "≥ 1 times tun-rs, sync, offload"): True,
        ("CPU per Gbit", "≤ 1 times tun-rs, sync, offload"): True,
        ("peak memory", "≤ 40 MB"): False,
        ("throughput", "≥ 0.95 times C, epoll, super-packets passed through"): False,
    }


def test_a_floor_that_could_not_be_measured_is_neither_passed_nor_missed() -> None:
    found = results(packet_asyncio={"throughput": 10.0})
    assert set(verdicts(found).values()) == {None}


def micro(growth: int, many: float) -> Micro:
    timings = [Timing("coalesce", 1500, 1, 100.0), Timing("coalesce", 1500, 10_000, many)]
    return Micro("native", timings, 1_000_000, growth)


@pytest.mark.parametrize(
    ("found", "passed"),
    [
        pytest.param(micro(0, 150.0), [True, True], id="both"),
        pytest.param(micro(0, 151.0), [False, True], id="slower with many flows"),
        pytest.param(micro(50_000_000, 100.0), [True, False], id="memory grows"),
        pytest.param(micro(-50_000_000, 100.0), [True, True], id="memory shrinks"),
    ],
)
def test_verdicts_of_micro_benchmarks(found: Micro, passed: list[bool]) -> None:
    empty = Results({}, {"rows": [], "workloads": []}, micro=[found])
    assert [verdict.passed for verdict in judge(empty)] == passed


@pytest.mark.parametrize("error", [MeasurementError, OSError, subprocess.SubprocessError])
def test_a_measurement_that_fails_ends_no_run(error: type[Exception]) -> None:
    def fails() -> dict[str, float]:
        raise error("it died")

    found, console = Results({}, {}), Console(file=io.StringIO())
    attempt(fails, "c-plain", "tcp", 0, found, console)
    attempt(lambda: {"throughput": 1.0}, "c-plain", "tcp", 1, found, console)
    assert found.failures == [Failure("c-plain", "it died", "tcp", 0)]
    assert found.samples == [Sample(1, "c-plain", "tcp", {"throughput": 1.0})]


def test_results_come_back_from_a_file(tmp_path: Path) -> None:
    found = results(packet_asyncio={"throughput": 10.0})
    found.failures.append(Failure("c-plain", "no compiler"))
    found.micro.append(micro(0, 100.0))
    found.save(tmp_path / "folder" / "results.json")
    assert Results.load(tmp_path / "folder" / "results.json") == found


def test_tables() -> None:
    found = results(
        packet_asyncio={"throughput": 1234.5, "retransmissions": 0},
        tun_rs_async_offload={"throughput": 2469.0, "retransmissions": 7},
    )
    found.micro.append(micro(0, 100.0))
    (table,) = forwarding_tables(found).values()
    assert [line[:3] for line in table.lines] == [
        ("aiotun, one call a packet, asyncio", "1,234", "0"),
        ("tun-rs, async, offload", "2,469", "7"),
    ]
    assert table.lines[0][-1] == "0.50 (0.50 to 0.50)"
    for each in (table, floor_table(judge(found)), *micro_tables(found)):
        assert {len(line) for line in each.lines} == {len(each.columns)}
        assert each.markdown().count("\n") == len(each.lines) + 1
