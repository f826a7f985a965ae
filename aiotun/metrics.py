"""Counters for Prometheus, by prometheus-client: `pip install 'aiotun[metrics]'`.

`TABLE` has all names. Counters are read when somebody asks, so that no packet costs more.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

try:
    from prometheus_client import REGISTRY, CollectorRegistry
    from prometheus_client.core import CounterMetricFamily
    from prometheus_client.registry import Collector
except ModuleNotFoundError as exc:
    raise ModuleNotFoundError(
        f"{exc.name} is not there: pip install 'aiotun[metrics]'", name=exc.name
    ) from exc

from .device import Device
from .errors import TunError
from .flows import Drop, FlowServer
from .framed import Framed
from .streams import PacketStream
from .transports import PacketTransport
from .udp import UdpTransport

__all__ = ["TABLE", "Family", "Metrics", "Source", "Told"]

Source = Device | PacketTransport | PacketStream | UdpTransport | Framed[Any] | FlowServer
"""What has counters."""

_Counted = Device | UdpTransport | Framed[Any] | FlowServer

BOTH = ("received", "sent")
"""Values of the label `direction`, as this program sees it."""


class Family(NamedTuple):
    """A metric: counters of one meaning, told apart by labels."""

    name: str
    """Prometheus adds `_total`."""
    help: str
    label: str
    """What names the source: "device", "endpoint", "end" or "server"."""
    counter: str
    """The attribute that is read, with {} for the value of the other label."""
    values: tuple[str, ...] = BOTH
    other: str = "direction"
    """The other label, which has these values."""

    @property
    def labels(self) -> tuple[str, ...]:
        return self.label, self.other


class Told(NamedTuple):
    """A metric that is no counter of a source: a WireGuard server tells it."""

    name: str
    """Prometheus adds `_total` to a counter's."""
    help: str
    labels: tuple[str, ...]
    kind: Literal["counter", "gauge", "histogram"] = "counter"


DEVICE = (
    Family("aiotun_device_packets", "Packets that passed", "device", "packets_{}"),
    Family("aiotun_device_bytes", "Bytes of packets that passed", "device", "bytes_{}"),
    Family("aiotun_device_frames", "Packets and super-packets", "device", "frames_{}"),
    Family("aiotun_device_super_packets", "Super-packets", "device", "super_packets_{}"),
    Family("aiotun_device_dropped", "Dropped by the program or refused", "device", "dropped_{}"),
)
"""Read from `Counters`."""

KERNEL = (
    Family("aiotun_kernel_packets", "What the system counts as packets", "device", "packets_{}"),
    Family("aiotun_kernel_bytes", "What the system counts as bytes", "device", "bytes_{}"),
    Family("aiotun_kernel_dropped", "Dropped by the system", "device", "dropped_{}"),
    Family(
        "aiotun_kernel_errors", "Found malformed by the system", "device", "errors_{}", ("sent",)
    ),
)
"""Read from `InterfaceStatistics`."""

UDP = (
    Family("aiotun_udp_datagrams", "Datagrams that passed", "endpoint", "datagrams_{}"),
    Family("aiotun_udp_bytes", "Bytes of datagrams that passed", "endpoint", "bytes_{}"),
    Family("aiotun_udp_messages", "Messages of one or more datagrams", "endpoint", "messages_{}"),
    Family("aiotun_udp_dropped", "Datagrams dropped", "endpoint", "dropped_{}"),
)
"""Read from `UdpCounters`."""

FRAMED = (
    Family("aiotun_framed_items", "Items that passed", "end", "{}"),
    Family("aiotun_framed_broken", "Items that cannot be decoded", "end", "broken", ("received",)),
)
"""Read from `FramedCounters`."""

FLOWS = (
    Family(
        "aiotun_flow_events",
        "What became of flows",
        "server",
        "{}",
        (
            *("connections", "established", "conversations"),
            *("refused", "forbidden", "echoes", "errors"),
        ),
        "event",
    ),
    Family(
        "aiotun_flow_dropped",
        "Packets that went nowhere",
        "server",
        "drops",
        tuple(each.value for each in Drop),
        "reason",
    ),
)
"""Read from `FlowCounters`."""

SERVER = ("interface",)
PEER = (*SERVER, "public_key", "peer")
"""What names a WireGuard server and one of its peers."""

WIREGUARD = (
    Told("aiotun_wireguard_peers", "Peers that the interface has", SERVER, "gauge"),
    Told(
        "aiotun_wireguard_handshakes",
        "Handshakes completed, and handshake messages dropped, by reason",
        (*SERVER, "result"),
    ),
    Told(
        "aiotun_wireguard_dropped",
        "Packets and datagrams dropped, by reason",
        (*SERVER, "reason"),
    ),
    Told("aiotun_wireguard_received_bytes", "UDP payloads from the peer, authentic", PEER),
    Told("aiotun_wireguard_sent_bytes", "UDP payloads to the peer", PEER),
    Told(
        "aiotun_wireguard_last_handshake_timestamp_seconds",
        "When the last handshake was completed (unix time)",
        PEER,
        "gauge",
    ),
    Told(
        "aiotun_wireguard_loop_lag_seconds",
        "How late the event loop runs what is due",
        (),
        "histogram",
    ),
    Told(
        "aiotun_wireguard_store_reachable",
        "Whether the store of peers could be read the last time",
        SERVER,
        "gauge",
    ),
    Told("aiotun_wireguard_servers", "Servers of the service that are alive", SERVER, "gauge"),
    Told("aiotun_wireguard_held_peers", "Peers that this server holds", SERVER, "gauge"),
    Told(
        "aiotun_wireguard_forwarded_packets",
        "Packets to and from other servers; dropped: the way there was full; lost: nobody held the "
        "peer",
        (*SERVER, "direction"),
    ),
)
"""What a WireGuard server tells of itself (`aiotun wireguard serve --metrics`)."""

COUNTED = (*DEVICE, *KERNEL, *UDP, *FRAMED, *FLOWS)

TABLE = (*COUNTED, *WIREGUARD)
"""Every metric there is."""


class Metrics(Collector):
    """Tells a registry of prometheus-client (its own one, if none is given) what passes.

    >>> metrics = aiotun.metrics.Metrics()
    >>> metrics.add(tun)
    >>> metrics.add(udp, "wireguard")
    >>> prometheus_client.start_http_server(9101)

    Any thread may ask and add. A source is forgotten with its last other reference.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._lock = threading.Lock()
        self._sources: WeakKeyDictionary[_Counted, str | None]
        self._sources = WeakKeyDictionary()
        (REGISTRY if registry is None else registry).register(self)

    def add(self, source: Source, name: str | None = None) -> None:
        """Count this one too. Those of one name are added up, such as queues of one interface.

        Without a name a device or a flow server has that of its interface, which follows it;
        another source needs one. Raises `TypeError` without it, and for what has no counters.
        """
        if isinstance(source, PacketTransport | PacketStream):
            source = source.device
        if not isinstance(source, Device | UdpTransport | Framed | FlowServer):
            raise TypeError(f"{type(source).__name__} has no counters that are known here")
        if name is None and not isinstance(source, Device | FlowServer):
            raise TypeError(f"name the {type(source).__name__}: it has no name of its own")
        with self._lock:
            self._sources[source] = name

    def describe(self) -> Iterator[CounterMetricFamily]:
        """For the registry, which then knows the names without asking for values."""
        return (_family(each) for each in COUNTED)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """For the registry: the values as they are."""
        with self._lock:
            sources = list(self._sources.items())
        values: dict[Family, dict[tuple[str, str], int]] = {each: {} for each in COUNTED}
        for source, given in sources:
            name = given or _name_of(source)
            for family in _families_of(source):
                for other in family.values:
                    key = name, other
                    value = _read(source.counters, family, other)
                    values[family][key] = values[family].get(key, 0) + value
            if isinstance(source, Device):
                # Not added up: the queues of one interface have these in common. One that is
                # closed or gone has none any more.
                with suppress(TunError):
                    statistics = source.statistics()
                    for family in KERNEL:
                        for other in family.values:
                            values[family][name, other] = _read(statistics, family, other)
        for family, samples in values.items():
            metric = _family(family)
            for labels, value in samples.items():
                metric.add_metric(labels, value)
            yield metric


def _name_of(source: _Counted) -> str:
    """That of its interface."""
    device = source.device if isinstance(source, FlowServer) else source
    return device.logger.subject if isinstance(device, Device) else ""


def _families_of(source: _Counted) -> tuple[Family, ...]:
    """What is read from its own counters."""
    if isinstance(source, Device):
        return DEVICE
    if isinstance(source, FlowServer):
        return FLOWS
    return UDP if isinstance(source, UdpTransport) else FRAMED


def _read(counters: object, family: Family, value: str) -> int:
    found: int | Mapping[Drop, int] = getattr(counters, family.counter.format(value))
    return found.get(Drop(value), 0) if isinstance(found, Mapping) else found


def _family(family: Family) -> CounterMetricFamily:
    return CounterMetricFamily(family.name, family.help, labels=family.labels)
