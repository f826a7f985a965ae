"""Routes of the system to what the peers may send from, as wg-quick makes them."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import subprocess
from collections.abc import Iterable
from typing import NamedTuple

import aiotun

from .config import InterfaceConfig
from .core.allowed_ips import Network

__all__ = ["Routes", "with_mark"]

FIRST_TABLE = 51820
"""wg-quick's first choice."""


def with_mark(config: InterfaceConfig, present: int = 0) -> InterfaceConfig:
    """With a mark on our datagrams if a default route leads to a peer.

    The datagrams to that peer must go another way than what is in them: by the
    table of that number, the first that is empty. A mark that is `present` stays.
    Blocks for some milliseconds. Raises `OSError`.
    """
    default = any(network.prefixlen == 0 for network in _allowed_ips(config))
    if config.table != "auto" or config.fwmark or not default:
        return config
    return dataclasses.replace(config, fwmark=present or _empty_table())


def _empty_table() -> int:
    return next(table for table in itertools.count(FIRST_TABLE) if not _has_routes(table))


def _has_routes(table: int) -> bool:
    for version in (4, 6):
        with contextlib.suppress(OSError):  # there is no such table
            if _ip(version, "route", "show", "table", table):
                return True
    return False


class Place(NamedTuple):
    """Where a route stands: in the main table, or in another (`table`)."""

    table: int | None = None
    ruled: bool = False
    """Whether what is not marked goes by that table."""


class Routes:
    """One interface's routes. Its methods block for some milliseconds."""

    def __init__(self, device: aiotun.Device) -> None:
        self._device = device
        self._present: dict[Network, Place] = {}

    def update(self, config: InterfaceConfig) -> None:
        """Make the routes those that the configuration wants. Raises `OSError`."""
        wanted = _wanted(config)
        for network, place in list(self._present.items()):
            if wanted.get(network) != place:
                self._remove(network)
        for network, place in wanted.items():
            if network not in self._present:
                self._add(network, place)

    def close(self) -> None:
        """Take the rules away; the routes go with the interface."""
        for network, place in self._present.items():
            _delete_rules(network, place)

    def _add(self, network: Network, place: Place) -> None:
        if place.table is None:
            self._device.add_route(network)
        else:
            self._route("add", network, place.table)
        self._present[network] = place
        _delete_rules(network, place)  # those that a killed program left behind
        for rule in _rules(place):
            _ip(network.version, "rule", "add", *rule)

    def _remove(self, network: Network) -> None:
        place = self._present.pop(network)
        _delete_rules(network, place)
        if place.table is None:
            self._device.remove_route(network)
        else:
            self._route("delete", network, place.table)

    def _route(self, verb: str, network: Network, table: int) -> None:
        _ip(network.version, "route", verb, network, "dev", self._device.name, "table", table)


def _wanted(config: InterfaceConfig) -> dict[Network, Place]:
    if config.table == "off":
        return {}
    if config.table != "auto":
        return dict.fromkeys(_allowed_ips(config), Place(config.table))
    connected = [address.network for address in config.addresses]
    return {
        network: Place() if network.prefixlen else Place(config.fwmark, ruled=True)
        for network in _allowed_ips(config)
        if not any(_covers(other, network) for other in connected)
    }


def _rules(place: Place) -> list[list[object]]:
    """What is not marked goes by the table, unless the main one knows more of its destination
    than a default route. The system puts the second rule before the first."""
    if not place.ruled:
        return []
    return [
        ["not", "fwmark", place.table, "table", place.table],
        ["table", "main", "suppress_prefixlength", 0],
    ]


def _delete_rules(network: Network, place: Place) -> None:
    """By preference: other interfaces have the second rule too, each before its own first."""
    rules = _rules(place)
    if not rules:
        return
    shown = _ip(network.version, "-json", "rule", "show", "table", place.table)
    for found in json.loads(shown or "[]"):
        with contextlib.suppress(OSError):  # of others: by that table, but not what is not marked
            for back, rule in enumerate(rules):
                _ip(network.version, "rule", "delete", "pref", found["priority"] - back, *rule)


def _allowed_ips(config: InterfaceConfig) -> Iterable[Network]:
    return dict.fromkeys(network for peer in config.peers for network in peer.allowed_ips)


def _covers(network: Network, other: Network) -> bool:
    return network.version == other.version and other.subnet_of(network)  # type: ignore[arg-type]


def _ip(version: int, *words: object) -> str:
    """Run ip(8), and return what it prints. Raises `OSError`."""
    command = ["ip", f"-{version}", *map(str, words)]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=10)
    except FileNotFoundError as exc:
        raise FileNotFoundError(
            exc.errno, "routing tables take the program ip: install iproute2, or set Table = off"
        ) from exc
    except subprocess.CalledProcessError as exc:
        raise OSError(f"{' '.join(command)}: {exc.stderr.strip()}") from exc
    return done.stdout
