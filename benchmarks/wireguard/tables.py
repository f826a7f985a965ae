"""The results as tables of text."""

from __future__ import annotations

from ..ratios import ratios, summarize, values
from ..results import Results
from ..tables import Table, number, spread
from . import flows
from .peers import COUNTS, RUNS

__all__ = ["tables"]

PEERS = {"seal": "to a peer", "open": "from a peer"}


def tables(results: Results) -> list[Table]:
    return [_flows(results), _peers(results), _memory(results)]


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
        (
            f"{PEERS[name]}, {run} in a row",
            *(_median(results, f"{name} {run}", "peers", f"{count}") for count in COUNTS),
            *(
                spread(
                    summarize(
                        ratios(
                            results.samples, f"{name} {run}", "peers", f"{count}", f"{COUNTS[0]}"
                        )
                    )
                )
                for count in COUNTS[1:]
            ),
        )
        for name in PEERS
        for run in RUNS
    ]
    columns = (
        "packets",
        *(f"{count} peer{'s' * (count > 1)}, us" for count in COUNTS),
        *(f"{count} peers: ratio to 1" for count in COUNTS[1:]),
    )
    return Table("Time a packet in the core of ours, 1420 bytes", columns, lines)


def _memory(results: Results) -> Table:
    names = ("aiotun", "wireguard-go")
    metrics = ("few", "many", "each")
    lines = [
        (name, *(_median(results, metric, "memory", name) for metric in metrics)) for name in names
    ]
    columns = ("server", f"{COUNTS[0]} peer, MB", f"{COUNTS[-1]} peers, MB", "each peer, KB")
    return Table("Peak memory of a server", columns, lines)


def _median(results: Results, metric: str, workload: str, row: str) -> str:
    return number(summarize(values(results.samples, metric, workload, row).values()))
