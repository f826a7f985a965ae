"""What there is to know about an interface: its details, its counters, what happens to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .addresses import Address

__all__ = [
    "AddressAdded",
    "AddressRemoved",
    "Event",
    "InterfaceDetails",
    "InterfaceGone",
    "InterfaceStatistics",
    "LinkChanged",
]


@dataclass(frozen=True)
class InterfaceStatistics:
    """The kernel's own counters, named from the program's side of the device.

    `received` is what the kernel handed out to the program (the interface's tx),
    `sent` what the program wrote (the interface's rx).
    """

    packets_received: int
    bytes_received: int
    dropped_received: int
    """Packets the kernel dropped because the program did not read fast enough."""
    packets_sent: int
    bytes_sent: int
    dropped_sent: int
    """Packets the program wrote and the kernel dropped."""
    errors_sent: int
    """Packets the program wrote and the kernel found malformed."""


@dataclass(frozen=True)
class InterfaceDetails:
    """Further properties of an interface, as they were at one moment."""

    mac: str | None
    """None for a TUN."""
    tx_queue_len: int
    """Packets; 0 where the system does not tell (Windows, macOS, the BSDs)."""
    is_running: bool
    """Whether packets can pass: the interface is up and has a carrier."""
    carrier: bool
    persistent: bool
    owner: int | None
    """User id. A user without CAP_NET_ADMIN may attach if he is the owner and in the group.
    An owner or group that was not set excludes nobody."""
    group: int | None
    queues: int
    """How many are open, in all processes."""
    packet_information: bool
    """Whether the kernel puts a header of its own in front of each frame; never in our devices."""


@dataclass(frozen=True)
class Event:
    """Something about the interface was changed, by this program or by another."""


@dataclass(frozen=True)
class LinkChanged(Event):
    """Name, MTU, state, carrier or MAC address; the values after the change."""

    name: str
    mtu: int
    up: bool
    carrier: bool = True
    mac: str | None = None
    """None for a TUN."""


@dataclass(frozen=True)
class AddressAdded(Event):
    address: Address


@dataclass(frozen=True)
class AddressRemoved(Event):
    address: Address


@dataclass(frozen=True)
class InterfaceGone(Event):
    """The interface was deleted. (Moved to another namespace, it still carries packets.)"""
