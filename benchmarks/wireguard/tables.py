"""The results as tables of text."""

from __future__ import annotations

from ..floors import WIREGUARD_FLOORS, compare
from ..ratios import ratios, summarize, values
from ..results import Results
from ..tables import Table, floor_table, number, spread
from ..workloads import Metric
from . import flows, footprint, keepalives
from .peers import COUNTS, RUNS

__all__ = ["SERVERS", "tables"]

SERVERS = ("aiotun", "wireguard-go")

PEERS = {"seal": "to a peer", "open": "from a peer", "cipher": "ChaCha20-Poly1305 alone"}


METRICS = {
    **flows.METRICS,
    "p50": Metric("round trip, median", "us"),
    "memory": Metric("peak memory", "MB"),
    "seal 1": Metric("time a packet, each to another", "us"),
    "open 1": Metric("time a packet, each from another", "us"),
    "1": Metric("processor time a packet, each to another", "us"),
}

WORKLOADS = {
    "tcp": "one TCP flow",
    "ping": "ping, idle",
    "peers": "core of ours",
    "crowd": "a whole server",
    "footprint": "one session each",
}

TITLES = {
    **{name: row.title for name, row in flows.ROWS.items()},
    **{f"{count}": f"{count} peer{'s' * (count > 1)}" for count in (*COUNTS, footprint.COUNT)},
    **{f"{name} {count}": f"{name}, {count} peers" for name in SERVERS for count in COUNTS},
}


def tables(results: Results) -> list[Table]:
    chosen = {sample.workload for sample in results.samples}
    judged = [floor for floor in WIREGUARD_FLOORS if floor.workload in chosen]
    return [
        _flows(results),
        _peers(results),
        _crowd(results),
        _keepalives(results),
        _memory(results),
        floor_table(
            [
                compare(
                    floor,
                    results.samples,
                    METRICS[floor.metric],
                    TITLES,
                    WORKLOADS[floor.workload],
                )
                for floor in judged
            ]
        ),
    ]


def _flows(results: Results) -> Table:
    def ratio(metric: str, row: str, peer: str) -> str:
        return spread(summarize(ratios(results.samples, metric, "tcp", row, peer)))

    titles = [f"{each.title}, {each.unit}".rstrip(", ") for each in flows.METRICS.values()]
    lines = [
        (
            row.title,
            *(_median(results, metric, "tcp", name) for metric in flows.METRICS),
            ratio("throughput", name, "wireguard-go"),
            ratio("cpu_per_gbit", name, "wireguard-go"),
            ratio("throughput", name, row.receiver) if row.flooded else "",
        )
        for name, row in flows.ROWS.items()
    ]
    last = (
        "throughput: ratio to a pair of wireguard-go",
        "CPU per Gbit: ratio to it",
        "throughput: ratio to itself without the flood",
    )
    return Table("One TCP flow", ("sender to receiver", *titles, *last), lines)


def _peers(results: Results) -> Table:
    lines = [
        _by_count(results, f"{title}, {run} in a row", f"{name} {run}", "peers", "{}")
        for name, title in PEERS.items()
        for run in RUNS
    ]
    return Table("Time a packet in the core of ours, 1420 bytes", _count_columns("packets"), lines)


def _crowd(results: Results) -> Table:
    lines = [
        _by_count(results, f"{name}, {run} in a row", f"{run}", "crowd", f"{name} {{}}")
        for name in SERVERS
        for run in RUNS
    ]
    title = "Processor time a packet of a server that sends, device and socket included, 1420 bytes"
    return Table(title, _count_columns("server"), lines)


def _count_columns(first: str) -> tuple[str, ...]:
    return (
        first,
        *(f"{count} peer{'s' * (count > 1)}, us" for count in COUNTS),
        *(f"{count} peers: ratio to 1" for count in COUNTS[1:]),
    )


def _by_count(
    results: Results, title: str, metric: str, workload: str, row: str
) -> tuple[str, ...]:
    """A line for `_count_columns`; the row is a pattern for the count."""
    few, *more = (row.format(count) for count in COUNTS)
    return (
        title,
        *(_median(results, metric, workload, each) for each in (few, *more)),
        *(spread(summarize(ratios(results.samples, metric, workload, each, few))) for each in more),
    )


def _keepalives(results: Results) -> Table:
    lines = [
        (
            f"{count}",
            *(_median(results, metric, "keepalives", f"{count}") for metric in ("sent", "core")),
        )
        for count in keepalives.COUNTS
    ]
    columns = ("peers", "datagrams a second", "processor time, % of a core")
    return Table(
        f"An interface that sends keep-alives every {keepalives.INTERVAL} s", columns, lines
    )


def _memory(results: Results) -> Table:
    metrics = ("few", "many", "each")
    lines = [
        (name, *(_median(results, metric, "memory", name) for metric in metrics))
        for name in SERVERS
    ]
    columns = ("server", f"{COUNTS[0]} peer, MB", f"{COUNTS[-1]} peers, MB", "each peer, KB")
    return Table("Peak memory of a server", columns, lines)


def _median(results: Results, metric: str, workload: str, row: str) -> str:
    return number(summarize(values(results.samples, metric, workload, row).values()))
