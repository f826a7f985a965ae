"""WireGuard's metrics for Prometheus, beside what the device and the socket count."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

try:
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.metrics import Histogram
    from prometheus_client.registry import Collector
except ModuleNotFoundError as exc:
    raise ModuleNotFoundError(
        f"{exc.msg}: pip install 'aiotun[service]' brings it", name=exc.name
    ) from None

from .. import metrics
from .keys import encode_key

if TYPE_CHECKING:
    from .server import Server

__all__ = ["Metrics"]

LAG_INTERVAL = 0.5
"""Seconds between two measurements of the loop's lag."""

LAG_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)

HANDSHAKE_FAILURES = (
    "bad_mac1",
    "unproven",
    "flooded",
    "bad_handshake",
    "replayed_handshake",
    "unknown_peer",
)
"""Counters of handshake messages; the others are of packets and datagrams."""

NAMES = {each.name.removeprefix("aiotun_wireguard_"): each for each in metrics.WIREGUARD}


class Metrics(Collector):
    """What a server counts, as text that Prometheus reads. `run` measures the loop's lag."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._passing = metrics.Metrics(self._registry)
        lag = NAMES["loop_lag_seconds"]
        self._lag = Histogram(lag.name, lag.help, buckets=LAG_BUCKETS, registry=self._registry)

    def text(self) -> bytes:
        """In the text format, version 0.0.4."""
        text: bytes = generate_latest(self._registry)
        return text

    async def run(self) -> None:
        """Measure the loop's lag, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_INTERVAL
            await asyncio.sleep(LAG_INTERVAL)
            self._lag.observe(max(0.0, loop.time() - due))

    def describe(self) -> list[Metric]:
        """Nothing: what there is depends on the server, which may not be up yet."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Called by the registry."""
        wireguard = self._server.wireguard
        self._passing.add(wireguard.transport)
        self._passing.add(wireguard.udp, self._server.name)  # a new one, where the port has changed
        if self._server.flows is not None:
            self._passing.add(self._server.flows, self._server.name)
        yield from self._interface()
        yield from self._peers()
        yield from self._store()
        if self._server.member is not None:
            yield from self._cluster(self._server.member)

    def _interface(self) -> Iterator[Metric]:
        name, tunnel = self._server.name, self._server.wireguard.tunnel
        handshakes, dropped = _family("handshakes"), _family("dropped")
        handshakes.add_metric((name, "complete"), tunnel.handshakes)
        for reason, count in dataclasses.asdict(tunnel.counters).items():
            family = handshakes if reason in HANDSHAKE_FAILURES else dropped
            family.add_metric((name, reason), count)
        yield from (handshakes, dropped)

    def _peers(self) -> Iterator[Metric]:
        name, peers = self._server.name, self._server.wireguard.tunnel.peers
        yield self._gauge("peers", len(peers))
        received, sent = _family("received_bytes"), _family("sent_bytes")
        handshake = _family("last_handshake_timestamp_seconds")
        for public_key, peer in peers.items():
            labels = (name, encode_key(public_key), peer.name)
            received.add_metric(labels, peer.rx_bytes)
            sent.add_metric(labels, peer.tx_bytes)
            if peer.last_handshake is not None:
                handshake.add_metric(labels, peer.last_handshake)
        yield from (received, sent, handshake)

    def _store(self) -> Iterator[Metric]:
        reachable = getattr(self._server.store, "reachable", True)
        yield self._gauge("store_reachable", int(reachable))

    def _cluster(self, member: Any) -> Iterator[Metric]:
        held = sum(holding.server == member.link.public_key for holding in member.holdings.values())
        yield self._gauge("servers", len(member.servers))
        yield self._gauge("held_peers", held)
        forwarded = _family("forwarded_packets")
        for direction, count in (
            ("sent", member.link.sent),
            ("received", member.link.received),
            ("dropped", member.link.dropped),
            ("lost", member.lost),
        ):
            forwarded.add_metric((self._server.name, direction), count)
        yield forwarded

    def _gauge(self, name: str, value: float) -> Metric:
        gauge = _family(name)
        gauge.add_metric((self._server.name,), value)
        return gauge


def _family(name: str) -> CounterMetricFamily | GaugeMetricFamily:
    """Without samples yet."""
    told = NAMES[name]
    kind = CounterMetricFamily if told.kind == "counter" else GaugeMetricFamily
    return kind(told.name, told.help, labels=told.labels)
