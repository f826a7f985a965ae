"""What is sent through a forwarder, and what is read off while it runs."""

from __future__ import annotations

import json
import re
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .network import ADDRESS_B, Network
from .processes import MeasurementError, Process

__all__ = ["METRICS", "WORKLOADS", "Metric", "Metrics", "Workload", "parse_iperf", "parse_ping"]

SETUP = 15.0
"""Seconds that iperf3 and ping may take beyond their measurement."""

PING_INTERVAL = 0.01

Metrics = dict[str, float]
"""Values by the keys of `METRICS`."""


@dataclass(frozen=True)
class Metric:
    title: str
    unit: str
    more_is_better: bool = False


METRICS = {
    "throughput": Metric("throughput", "Gbit/s", more_is_better=True),
    "packets": Metric("packets that arrived", "1000/s", more_is_better=True),
    "loss": Metric("loss", "%"),
    "retransmissions": Metric("retransmissions", ""),
    "reordered": Metric("segments out of order", ""),
    "cpu": Metric("CPU of the forwarder", "%"),
    "cpu_per_gbit": Metric("CPU per Gbit", "ms"),
    "memory": Metric("peak memory", "MB"),
    "p50": Metric("round trip, median", "us"),
    "p99": Metric("round trip, 99th percentile", "us"),
}


@dataclass(frozen=True)
class Workload:
    title: str
    measure: Callable[[Network, float], Metrics]
    """Takes about so many seconds. Raises `MeasurementError`."""


def _iperf(*arguments: str) -> Callable[[Network, float], Metrics]:
    def measure(network: Network, seconds: float) -> Metrics:
        forwarder = network.forwarder
        with _server(network), _client(network, seconds, *arguments) as client:
            before = forwarder.cpu_seconds()
            metrics = parse_iperf(client.finish(seconds + SETUP))
            cpu = forwarder.cpu_seconds() - before
        if "retransmissions" in metrics:  # TCP
            metrics["reordered"] = network.counter("TcpExt", "TCPOFOQueue")
        return {
            **metrics,
            "cpu": 100 * cpu / seconds,
            "cpu_per_gbit": 1000 * cpu / (metrics["throughput"] * seconds),
            "memory": forwarder.peak_memory() / 1e6,
        }

    return measure


@contextmanager
def _server(network: Network) -> Iterator[None]:
    with Process(network.b, "iperf3", "--server", "--one-off", "--forceflush") as server:
        server.wait_for("listening", timeout=20)
        yield


def _client(network: Network, seconds: float, *arguments: str) -> Process:
    command = ("iperf3", "--client", ADDRESS_B, "--json", "--time", f"{seconds:.0f}")
    return Process(network.a, *command, *arguments)


def parse_iperf(output: str) -> Metrics:
    """What the receiving ends saw, both directions together. Raises `MeasurementError`."""
    try:
        report = json.loads(output)
        if "error" in report:
            raise MeasurementError(f"iperf3: {report['error']}")
        return _parse_end(report["end"])
    except (ValueError, KeyError) as exc:
        raise MeasurementError(f"iperf3 said what is not understood: {exc!r}") from exc


def _parse_end(end: dict[str, Any]) -> Metrics:
    received, sent = (
        [end[name] for name in (key, f"{key}_bidir_reverse") if name in end]
        for key in ("sum_received", "sum_sent")
    )
    throughput = sum(one["bits_per_second"] for one in received) / 1e9
    if not throughput:
        raise MeasurementError("iperf3: nothing arrived")
    if "lost_packets" not in end["sum_received"]:  # TCP
        retransmissions = sum(one["retransmits"] for one in sent)
        return {"throughput": throughput, "retransmissions": retransmissions}
    packets, lost, seconds = (
        end["sum_received"][key] for key in ("packets", "lost_packets", "seconds")
    )
    return {
        "throughput": throughput,
        "packets": (packets - lost) / seconds / 1000,
        "loss": 100 * lost / packets,
    }


def _ping_idle(network: Network, seconds: float) -> Metrics:
    count = str(int(seconds / PING_INTERVAL))
    interval = str(PING_INTERVAL)
    with Process(network.a, "ping", "-n", "-c", count, "-i", interval, ADDRESS_B) as ping:
        return parse_ping(ping.finish(seconds + SETUP))


def _ping_loaded(network: Network, seconds: float) -> Metrics:
    with _server(network), _client(network, seconds + SETUP) as client:
        time.sleep(0.5)  # the transfer takes up speed
        metrics = _ping_idle(network, seconds)
        client.check()
    return metrics


def parse_ping(output: str) -> Metrics:
    """Round-trip times and loss of iputils' ping. Raises `MeasurementError`."""
    times = [1000 * float(ms) for ms in re.findall(r" time=([\d.]+) ms", output)]
    sent = re.search(r"(\d+) packets transmitted", output)
    if len(times) < 2 or sent is None:
        raise MeasurementError(f"ping: hardly a reply in {output[-200:]!r}")
    percentiles = statistics.quantiles(times, n=100, method="inclusive")
    return {
        "p50": percentiles[49],
        "p99": percentiles[98],
        "loss": 100 * (1 - len(times) / int(sent[1])),
    }


def _udp(size: int) -> Workload:
    return Workload(f"UDP, {size} bytes", _iperf("--udp", "--bitrate", "0", "--length", str(size)))


WORKLOADS = {
    "tcp": Workload("one TCP flow", _iperf()),
    "tcp-8": Workload("8 TCP flows", _iperf("--parallel", "8")),
    "tcp-both": Workload("one TCP flow in each direction", _iperf("--bidir")),
    "udp-64": _udp(64),
    "udp-512": _udp(512),
    "udp-1400": _udp(1400),
    "ping": Workload("ping, idle", _ping_idle),
    "ping-loaded": Workload("ping beside one TCP flow", _ping_loaded),
}
"""By the name that `--workloads` takes."""
