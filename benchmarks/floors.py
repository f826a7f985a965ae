"""What must hold at least, as data, and whether it does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .ratios import ratios, summarize, values
from .results import Micro, Results
from .rows import BASELINE, LOOPS, ROWS, TUN_RS_OFFLOAD
from .workloads import METRICS, WORKLOADS

__all__ = ["FLOORS", "Floor", "Verdict", "best_tun_rs", "judge"]

BEST_TUN_RS = "best tun-rs"
"""Stands for the row of `TUN_RS_OFFLOAD` with the highest median throughput of one TCP flow."""

COALESCE_FLOWS = 10_000
COALESCE_BOUND = 1.5
"""Time a packet to coalesce that many flows, by that of one flow."""

FLAT = 1_000_000
"""Bytes by which memory may grow: an allocator's slack, and no packet's."""


@dataclass(frozen=True)
class Floor:
    """The median must be at least (where more is better), else at most, the bound.

    With a peer it is the median of the ratios to that row, round by round.
    """

    row: str
    workload: str
    metric: str
    bound: float
    peer: str | None = None


@dataclass(frozen=True)
class Verdict:
    subject: str
    quantity: str
    required: str
    measured: str
    passed: bool | None
    """None if it was not measured."""


def _floors(loop: str) -> Iterator[Floor]:
    peers = {
        "packet": BASELINE,
        "batch": "tun-rs-async-one-thread-offload",
        "super": BEST_TUN_RS,
        "relay": BEST_TUN_RS,
        "plain": "tun-rs-async-plain",
        "framed": "tun-rs-framed-offload",
        "framed-plain": "tun-rs-framed-plain",
    }
    for name, peer in peers.items():
        yield Floor(f"{name}-{loop}", "tcp", "throughput", 1.0, peer)
        yield Floor(f"{name}-{loop}", "tcp", "cpu_per_gbit", 1.0, peer)
        yield Floor(f"{name}-{loop}", "tcp", "memory", 40.0)
    for name in ("super", "relay"):
        yield Floor(f"{name}-{loop}", "tcp", "throughput", 0.95, "c-offload")
    yield Floor(f"packet-{loop}", "ping", "p50", 1.3, BASELINE)


FLOORS = [floor for loop in LOOPS for floor in _floors(loop)]


def judge(results: Results) -> list[Verdict]:
    """One verdict a floor of the rows and workloads chosen, the micro-benchmarks' last."""
    chosen = results.options
    return [
        *(
            _judge(floor, results)
            for floor in FLOORS
            if floor.row in chosen["rows"] and floor.workload in chosen["workloads"]
        ),
        *(verdict for micro in results.micro for verdict in _judge_micro(micro)),
    ]


def best_tun_rs(results: Results) -> str:
    def speed(row: str) -> float:
        found = summarize(values(results.samples, "throughput", "tcp", row).values())
        return found.median if found else 0.0

    return max(TUN_RS_OFFLOAD, key=speed)


def _judge(floor: Floor, results: Results) -> Verdict:
    metric = METRICS[floor.metric]
    sign = "≥" if metric.more_is_better else "≤"
    if floor.peer is None:
        numbers = list(values(results.samples, floor.metric, floor.workload, floor.row).values())
        required = f"{sign} {floor.bound:g} {metric.unit}"
    else:
        peer = best_tun_rs(results) if floor.peer == BEST_TUN_RS else floor.peer
        numbers = ratios(results.samples, floor.metric, floor.workload, floor.row, peer)
        required = f"{sign} {floor.bound:g} times {ROWS[peer].title}"
    quantity = f"{metric.title}, {WORKLOADS[floor.workload].title}"
    found = summarize(numbers)
    if found is None:
        return Verdict(ROWS[floor.row].title, quantity, required, "", None)
    good = found.median >= floor.bound if metric.more_is_better else found.median <= floor.bound
    measured = f"{found.median:.2f} ({found.low:.2f} to {found.high:.2f})"
    return Verdict(ROWS[floor.row].title, quantity, required, measured, good)


def _judge_micro(micro: Micro) -> Iterator[Verdict]:
    times = {(t.size, t.flows): t.nanoseconds for t in micro.timings if t.operation == "coalesce"}
    for size in sorted({size for size, _ in times}):
        one, many = times.get((size, 1)), times.get((size, COALESCE_FLOWS))
        if one and many:
            yield Verdict(
                f"GROTable, {micro.implementation}",
                f"time to coalesce, {size} bytes, {COALESCE_FLOWS:,} flows",
                f"≤ {COALESCE_BOUND} times one flow",
                f"{many / one:.2f}",
                many <= COALESCE_BOUND * one,
            )
    yield Verdict(
        f"gso_split and GROTable, {micro.implementation}",
        f"memory over {micro.packets:,} packets",
        "flat",
        f"{micro.memory_growth / 1e6:+.1f} MB",
        micro.memory_growth <= FLAT,
    )
