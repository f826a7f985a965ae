"""python -m benchmarks.flows: our connections out of a TUN beside others', in alternating rounds.

mitmproxy_rs takes an interpreter that has it (--mitmproxy PYTHON), tun2socks its program
(--tun2socks FILE, from `go install github.com/xjasonlyu/tun2socks/v2@latest`).
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from typing import NamedTuple

from aiotun.testing import Namespace

from ..processes import MeasurementError, Process, prepare
from ..ratios import Sample, ratios, running_order, summarize, values
from .load import WORKLOADS

OURS = ("-m", "benchmarks.flows.ours")

UDP = ("udp-1400", "udp-64")

TIME_LIMIT = 30.0


class Row(NamedTuple):
    command: tuple[str, ...]
    behind: bool = False
    """Whether connections are made again, to a proxy."""
    prints: str = "ready"


def rows(mitmproxy: str | None, tun2socks: str | None) -> dict[str, Row]:
    found = {
        "aiotun-asyncio": Row((sys.executable, *OURS, "asyncio")),
        "aiotun-uvloop": Row((sys.executable, *OURS, "uvloop")),
    }
    if mitmproxy is not None:
        found["mitmproxy_rs"] = Row((mitmproxy, "benchmarks/flows/mitmproxy_peer.py"))
    if tun2socks is not None:
        command = (tun2socks, "-device", "tun://flow0", "-proxy", "socks5://127.0.0.1:1080")
        found["aiotun-exit-uvloop"] = Row((sys.executable, *OURS, "uvloop", "exit"), behind=True)
        found["tun2socks"] = Row(command, behind=True, prints="[STACK]")
    return found


PEERS = {
    "aiotun-asyncio": "mitmproxy_rs",
    "aiotun-uvloop": "mitmproxy_rs",
    "aiotun-exit-uvloop": "tun2socks",
}


def measure(row: Row, workload: str, seconds: float) -> dict[str, float]:
    """Raises `MeasurementError`."""
    with ExitStack() as stack:
        namespace = stack.enter_context(Namespace())
        if row.behind:
            sink = Process(namespace, sys.executable, "-m", "benchmarks.flows.sink")
            stack.enter_context(sink).wait_for("ready", 10)
        server = stack.enter_context(Process(namespace, *row.command))
        try:
            server.wait_for(row.prints, 10)
        except MeasurementError:
            if row.prints == "ready":
                raise
        if row.command[0].endswith("tun2socks"):
            namespace.command("ip", "address", "add", "10.9.0.1/24", "dev", "flow0")
            namespace.command("ip", "link", "set", "flow0", "up")
            namespace.command("ip", "route", "add", "default", "dev", "flow0")
        before = server.cpu_seconds()
        load = Process(
            namespace, sys.executable, "-m", "benchmarks.flows.load", workload, str(seconds)
        )
        with load:
            metrics: dict[str, float] = json.loads(load.finish(TIME_LIMIT))
        used = server.cpu_seconds() - before
        metrics["cpu"] = used / seconds
        if metrics.get("gbit"):
            metrics["cpu_per_gbit"] = used * 1e3 / (metrics["gbit"] * seconds)
        return metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--mitmproxy", metavar="PYTHON")
    parser.add_argument("--tun2socks", metavar="FILE")
    parser.add_argument("--workloads", default=",".join(WORKLOADS))
    args = parser.parse_args()
    prepare("tun", "netns", "ip")
    found = rows(args.mitmproxy, args.tun2socks)
    workloads = args.workloads.split(",")
    samples: list[Sample] = []
    for number in range(args.rounds):
        for workload in workloads:
            for name in running_order(found, number):
                if found[name].behind and workload in UDP:
                    continue
                try:
                    metrics = measure(found[name], workload, args.seconds)
                except (MeasurementError, ValueError) as exc:
                    print(f"{name} {workload}: {exc}", file=sys.stderr)
                else:
                    samples.append(Sample(number, name, workload, metrics))
    for workload in workloads:
        print(f"\n{workload}")
        for name in found:
            report(samples, workload, name)


def report(samples: list[Sample], workload: str, name: str) -> None:
    """A line for each metric: median, quartiles, and the ratio to the row's peer."""
    metrics = sorted({m for s in samples if s.workload == workload for m in s.metrics})
    for metric in metrics:
        own = summarize(values(samples, metric, workload, name).values())
        if own is None:
            continue
        line = f"  {name:20} {metric:13} {own.median:10.3f} ({own.low:.3f} to {own.high:.3f})"
        peer = PEERS.get(name)
        compared = peer and summarize(ratios(samples, metric, workload, name, peer))
        if compared:
            line += f"  {compared.median:.2f} of {peer} ({compared.low:.2f} to {compared.high:.2f})"
        print(line)


if __name__ == "__main__":
    main()
