"""Counters for Prometheus, by prometheus-client: `pip install 'aiotun[metrics]'`.

`TABLE` has all names. Counters are read when somebody asks, so that no packet costs more.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple
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
from .framed import Framed
from .streams import PacketStream
from .transports import PacketTransport
from .udp import UdpTransport

__all__ = ["TABLE", "Family", "Metrics", "Source"]

Source = Device | PacketTransport | PacketStream | UdpTransport | Framed[Any]
"""What has counters."""

BOTH = ("received", "sent")
"""Values of the label `direction`, as this program sees it."""


class Family(NamedTuple):
    """A metric: counters of one meaning, told apart by labels."""

    name: str
    """Prometheus adds `_total`."""
    help: str
    label: str
    """What names the source: "device", "endpoint" or "end". The other label is `direction`."""
    counter: str
    """The attribute that is read, with {} for the direction."""
    directions: tuple[str, ...] = BOTH


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

TABLE = (*DEVICE, *KERNEL, *UDP, *FRAMED)
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
        self._sources: WeakKeyDictionary[Device | UdpTransport | Framed[Any], str | None]
        self._sources = WeakKeyDictionary()
        (REGISTRY if registry is None else registry).register(self)

    def add(self, source: Source, name: str | None = None) -> None:
        """Count this one too. Those of one name are added up, such as queues of one interface.

        Without a name a device has that of its interface, which follows it; another source needs
        one. Raises `TypeError` without it, and for what has no counters.
        """
        if isinstance(source, PacketTransport | PacketStream):
            source = source.device
        if not isinstance(source, Device | UdpTransport | Framed):
            raise TypeError(f"{type(source).__name__} has no counters that are known here")
        if name is None and not isinstance(source, Device):
            raise TypeError(f"name the {type(source).__name__}: it has no name of its own")
        with self._lock:
            self._sources[source] = name

    def describe(self) -> Iterator[CounterMetricFamily]:
        """For the registry, which then knows the names without asking for values."""
        return (_family(each) for each in TABLE)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """For the registry: the values as they are."""
        with self._lock:
            sources = list(self._sources.items())
        values: dict[Family, dict[tuple[str, str], int]] = {each: {} for each in TABLE}
        for source, given in sources:
            name = given or (source.logger.subject if isinstance(source, Device) else "")
            families = _families_of(source)
            for family in families:
                for direction in family.directions:
                    key = name, direction
                    value = getattr(source.counters, family.counter.format(direction))
                    values[family][key] = values[family].get(key, 0) + value
            if isinstance(source, Device):
                # Not added up: the queues of one interface have these in common. One that is
                # closed or gone has none any more.
                with suppress(TunError):
                    statistics = source.statistics()
                    for family in KERNEL:
                        for direction in family.directions:
                            value = getattr(statistics, family.counter.format(direction))
                            values[family][name, direction] = value
        for family, samples in values.items():
            metric = _family(family)
            for labels, value in samples.items():
                metric.add_metric(labels, value)
            yield metric


def _families_of(source: Device | UdpTransport | Framed[Any]) -> tuple[Family, ...]:
    """What is read from its own counters."""
    if isinstance(source, Device):
        return DEVICE
    return UDP if isinstance(source, UdpTransport) else FRAMED


def _family(family: Family) -> CounterMetricFamily:
    return CounterMetricFamily(family.name, family.help, labels=[family.label, "direction"])
