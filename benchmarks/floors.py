"""What must hold at least, as data, and whether it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from .ratios import Sample, ratios, summarize, values
from .results import Micro, Results
from .rows import BASELINE, LOOPS, ROWS, TUN_RS_OFFLOAD
from .workloads import METRICS, WORKLOADS, Metric

__all__ = [
    "AEAD_FLOORS",
    "FLOORS",
    "FLOW_FLOORS",
    "WIREGUARD_FLOORS",
    "Floor",
    "Verdict",
    "best_tun_rs",
    "compare",
    "floor_rows",
    "judge",
]

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
        "packet": (BASELINE, 1.3 if loop == "uvloop" else 1.15),
        "batch": ("tun-rs-async-one-thread-offload", 1.0),
        "super": (BEST_TUN_RS, 1.0),
        "relay": (BEST_TUN_RS, 1.0),
        "plain": ("tun-rs-async-plain", 1.15),
        "framed": ("tun-rs-framed-offload", 1.0),
        "framed-plain": ("tun-rs-framed-plain", 1.0),
    }
    for name, (peer, bound) in peers.items():
        yield Floor(f"{name}-{loop}", "tcp", "throughput", bound, peer)
        yield Floor(f"{name}-{loop}", "tcp", "cpu_per_gbit", 1.0, peer)
        yield Floor(f"{name}-{loop}", "tcp", "memory", 40.0)
    for name in ("super", "relay"):
        yield Floor(f"{name}-{loop}", "tcp", "throughput", 0.95, "c-offload")
    yield Floor(f"items-{loop}", "tcp", "throughput", 0.8, "tun-rs-framed-offload")
    yield Floor(f"packet-{loop}", "ping", "p50", 1.1, BASELINE)


FLOORS = [floor for loop in LOOPS for floor in _floors(loop)]

WIREGUARD_FLOORS = [
    Floor("aiotun", "tcp", "throughput", 1.5, "wireguard-go"),
    Floor("aiotun", "tcp", "cpu_per_gbit", 0.65, "wireguard-go"),
    Floor("to-wireguard-go", "tcp", "throughput", 1.2, "wireguard-go"),
    Floor("from-wireguard-go", "tcp", "throughput", 1.2, "wireguard-go"),
    Floor("aiotun", "ping", "p50", 1.0, "wireguard-go"),
    Floor("200", "peers", "seal 1", 1.4, "1"),
    Floor("200", "peers", "open 1", 1.4, "1"),
    Floor("aiotun 200", "crowd", "1", 1.5, "aiotun 1"),
    Floor("10000", "footprint", "memory", 100.0),
]
"""Of `python -m benchmarks.wireguard`."""

FLOW_FLOORS = [
    floor
    for loop in LOOPS
    for floor in (
        *(
            Floor(loop, workload, "throughput", 4.0, "mitmproxy_rs")
            for workload in ("upload", "download", "eight")
        ),
        Floor(loop, "connections", "per_second", 1.0, "mitmproxy_rs"),
        Floor(loop, "paced", "per_second", 950.0),
        *(
            Floor(f"exit-{loop}", workload, metric, bound, peer)
            for workload in ("upload", "download", "eight")
            for peer in ("tun2socks", "sing-tun")
            for metric, bound in (("throughput", 1.0), ("cpu_per_gbit", 1.3))
        ),
    )
]
"""Of `python -m benchmarks.flows`."""

AEAD_FLOORS = {
    "seal / OpenSSL": 1.35,
    "open / OpenSSL": 1.35,
    "two threads": 1.7,
    "two threads, trains": 1.7,
}
"""Of `python -m benchmarks.aead`: ratios to OpenSSL's own speed at most, and of two threads to one
at least."""


def floor_rows() -> list[str]:
    """The rows of which something must hold, and all that they are compared with."""
    named = {name for floor in FLOORS for name in (floor.row, floor.peer)}
    if BEST_TUN_RS in named:
        named.update(TUN_RS_OFFLOAD)
    return [name for name in ROWS if name in named]


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
    if floor.peer == BEST_TUN_RS:
        floor = replace(floor, peer=best_tun_rs(results))
    titles = {name: row.title for name, row in ROWS.items()}
    return compare(
        floor, results.samples, METRICS[floor.metric], titles, WORKLOADS[floor.workload].title
    )


def compare(
    floor: Floor, samples: list[Sample], metric: Metric, titles: Mapping[str, str], workload: str
) -> Verdict:
    """Whether a floor holds; `titles` are those of rows."""
    sign = "≥" if metric.more_is_better else "≤"
    if floor.peer is None:
        numbers = list(values(samples, floor.metric, floor.workload, floor.row).values())
        required = f"{sign} {floor.bound:g} {metric.unit}"
    else:
        numbers = ratios(samples, floor.metric, floor.workload, floor.row, floor.peer)
        required = f"{sign} {floor.bound:g} times {titles[floor.peer]}"
    quantity = f"{metric.title}, {workload}"
    found = summarize(numbers)
    if found is None:
        return Verdict(titles[floor.row], quantity, required, "", None)
    good = found.median >= floor.bound if metric.more_is_better else found.median <= floor.bound
    measured = f"{found.median:.2f} ({found.low:.2f} to {found.high:.2f})"
    return Verdict(titles[floor.row], quantity, required, measured, good)


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
