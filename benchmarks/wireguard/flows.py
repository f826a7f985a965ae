"""One TCP flow from one node to the other, end to end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from aiotun.testing import Namespace

from ..processes import Process
from ..workloads import SETUP, Metric, Metrics, parse_iperf, parse_ping
from .nodes import INSIDE, PORT, Node, address_of, connect, give_address, pair

__all__ = ["METRICS", "PAIRS", "ROWS", "Row", "measure", "measure_ping"]

FLOOD = 5000
"""Handshakes a second."""

PING_INTERVAL = 0.01
"""Seconds."""


@dataclass(frozen=True)
class Row:
    sender: str
    receiver: str
    flooded: bool = False
    """Whether a third party floods the receiver with handshakes meanwhile."""

    @property
    def title(self) -> str:
        return f"{self.sender} to {self.receiver}{', flooded' if self.flooded else ''}"


ROWS = {
    "aiotun": Row("aiotun", "aiotun"),
    "wireguard-go": Row("wireguard-go", "wireguard-go"),
    "to-wireguard-go": Row("aiotun", "wireguard-go"),
    "from-wireguard-go": Row("wireguard-go", "aiotun"),
    "aiotun-flooded": Row("aiotun", "aiotun", flooded=True),
    "wireguard-go-flooded": Row("wireguard-go", "wireguard-go", flooded=True),
}
"""By a name; a pair of one implementation has its name."""

PAIRS = ("aiotun", "wireguard-go")

METRICS = {
    "throughput": Metric("throughput", "Gbit/s", more_is_better=True),
    "retransmissions": Metric("retransmissions", ""),
    "cpu_sender": Metric("CPU of the sender", "%"),
    "cpu_receiver": Metric("CPU of the receiver", "%"),
    "cpu_per_gbit": Metric("CPU of both per Gbit", "ms"),
    "memory": Metric("peak memory of the receiver", "MB"),
}


def measure(row: Row, seconds: float) -> Metrics:
    """Takes about so many seconds. Raises `MeasurementError`."""
    with _started(row) as (sender, receiver):
        address = address_of(INSIDE[1][0])
        if not row.flooded:
            return _transfer(sender, receiver, address, seconds)
        with _flood(receiver):
            return _transfer(sender, receiver, address, seconds)


def measure_ping(row: Row, seconds: float) -> Metrics:
    """Round trips of an idle tunnel, in microseconds. Raises `MeasurementError`."""
    with _started(row) as (sender, _):
        how = ("-n", "-i", f"{PING_INTERVAL}", "-c", f"{seconds / PING_INTERVAL:.0f}")
        with Process(sender.namespace, "ping", *how, address_of(INSIDE[1][0])) as ping:
            return parse_ping(ping.finish(seconds + SETUP))


@contextmanager
def _started(row: Row) -> Iterator[tuple[Node, Node]]:
    """Two nodes that have a session."""
    with pair(row.sender, row.receiver) as (sender, receiver):
        for node in (sender, receiver):
            node.start()
        address = address_of(INSIDE[1][0])
        with Process(sender.namespace, "ping", "-c", "3", "-i", "0.1", "-w", "5", address) as ping:
            ping.finish(10)
        yield sender, receiver


def _transfer(sender: Node, receiver: Node, address: str, seconds: float) -> Metrics:
    nodes = (sender, receiver)
    serve = ("iperf3", "--server", "--one-off", "--forceflush")
    send = ("iperf3", "--client", address, "--json", "--time", f"{seconds:.0f}")
    with Process(receiver.namespace, *serve) as server:
        server.wait_for("listening", timeout=20)
        with Process(sender.namespace, *send) as client:
            before = [node.process.cpu_seconds() for node in nodes]
            metrics = parse_iperf(client.finish(seconds + SETUP))
            after = [node.process.cpu_seconds() for node in nodes]
    first, second = (end - start for start, end in zip(before, after, strict=True))
    return {
        **metrics,
        "cpu_sender": 100 * first / seconds,
        "cpu_receiver": 100 * second / seconds,
        "cpu_per_gbit": 1000 * (first + second) / (metrics["throughput"] * seconds),
        "memory": receiver.process.peak_memory() / 1e6,
    }


@contextmanager
def _flood(victim: Node) -> Iterator[None]:
    with Namespace() as attacker:
        connect(victim.namespace, attacker, ("eth1", "eth0"))
        give_address(victim.namespace, "eth1", "198.51.100.1/24")
        give_address(attacker, "eth0", "198.51.100.2/24")
        where = ("198.51.100.1", f"{PORT}", victim.public_key.hex(), f"{FLOOD}")
        command = (sys.executable, "-m", "benchmarks.wireguard.flood", *where)
        with Process(attacker, *command) as flood:
            flood.wait_for("ready", timeout=20)
            yield
            flood.check()
