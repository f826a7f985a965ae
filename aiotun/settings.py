"""What one asks of an interface, and changes on it while it is open."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address

from .addresses import Address, AddressLike, Route, RouteLike, parse_addresses
from .config import Layer, check_id, check_mtu, check_name, check_tx_queue_len, parse_mac
from .errors import AddressError, NameInvalidError
from .interfaces import InterfaceStatistics
from .logs import NamedLogger
from .platforms.base import Interface, Queue

__all__ = ["InterfaceSettings"]


class InterfaceSettings:
    """The half of a `Device` that is about its interface.

    Calls block for some microseconds; what brings IPv6 addresses blocks until Linux takes
    packets to them: milliseconds, a second at most. Every one raises `InterfaceGoneError` once
    the interface was deleted, and `ClosedError` once the device was closed. Those that change
    something raise `NotPermittedError` when the process may not, and `UnsupportedError` for
    what this system, or this kind of device, does not have.
    """

    interface: Interface
    queue: Queue
    logger: NamedLogger

    @property
    def name(self) -> str:
        """The interface's name as it is now. Set it to rename the interface.

        Setting raises `NameInvalidError`, `NameInUseError`, and `BusyError` where
        the interface has to be down for it (Linux before 6.2).
        """
        return self.interface.name

    @name.setter
    def name(self, name: str) -> None:
        check_name(name)
        if "%" in name:
            raise NameInvalidError(f"{name!r} is a pattern: an interface is renamed to one name")
        self.interface.set_name(name)
        self.logger.subject = name

    @property
    def index(self) -> int:
        """The interface index, which stays while names change."""
        return self.interface.index

    @property
    def layer(self) -> Layer:
        return self.queue.layer

    @property
    def offload(self) -> bool:
        """Whether super-packets are exchanged with the kernel."""
        return self.queue.vnet_hdr

    @property
    def tcp_offload(self) -> bool:
        """Whether that holds for TCP."""
        return self.queue.tcp_offload

    @property
    def udp_offload(self) -> bool:
        """Whether that holds for UDP (on Linux: 6.2 and later)."""
        return self.queue.udp_offload

    @property
    def mtu(self) -> int:
        """Bytes of IP packet, or of Ethernet payload. Set it to change it.

        With less than 1280 bytes there is no IPv6 (RFC 8200). Its addresses and routes come
        back with an MTU that is large enough; those that cannot are logged. Setting raises
        `MTUError` for a value that the device cannot have.
        """
        return self.interface.mtu

    @mtu.setter
    def mtu(self, mtu: int) -> None:
        check_mtu(mtu, self.layer)
        self.interface.set_mtu(mtu)

    @property
    def mtu_v6(self) -> int:
        """Bytes of an IPv6 packet, at most `mtu`. Set it to change it for IPv6 alone.

        A change of `mtu` changes it too, and so does setting the interface up. Setting
        raises `MTUError`.
        """
        return self.interface.mtu_v6()

    @mtu_v6.setter
    def mtu_v6(self, mtu: int) -> None:
        self.interface.set_mtu_v6(mtu)

    @property
    def is_up(self) -> bool:
        """Whether the interface is set up (administratively)."""
        return self.interface.is_up

    def up(self) -> None:
        """Set the interface up. What it lost by `down` comes back."""
        self.interface.set_up(True)

    def down(self) -> None:
        """Set the interface down: the kernel drops its packets and refuses ours.

        Linux drops its IPv6 addresses and all of its routes, too. They come back with `up`, if
        it was this method that dropped them; those that cannot are logged.
        """
        self.interface.set_up(False)

    @property
    def is_running(self) -> bool:
        """Whether packets can pass: up, and with a carrier."""
        return self.interface.details().is_running

    @property
    def carrier(self) -> bool:
        """Whether the link shows a carrier. Set it to tell programs that watch the link."""
        return self.interface.details().carrier

    @carrier.setter
    def carrier(self, carrier: bool) -> None:
        self.interface.set_carrier(bool(carrier))

    @property
    def mac(self) -> str | None:
        """A TAP's MAC address, None for a TUN. Setting raises `MACError`."""
        return self.interface.details().mac

    @mac.setter
    def mac(self, mac: str) -> None:
        self.interface.set_mac(parse_mac(mac))

    @property
    def tx_queue_len(self) -> int:
        """Packets that wait for the program before the kernel drops. Set it to change it."""
        return self.interface.details().tx_queue_len

    @tx_queue_len.setter
    def tx_queue_len(self, length: int) -> None:
        check_tx_queue_len(length)
        self.interface.set_tx_queue_len(length)

    @property
    def persistent(self) -> bool:
        """Whether the interface stays when nobody has it open. Set it to change it."""
        return self.interface.details().persistent

    @persistent.setter
    def persistent(self, persistent: bool) -> None:
        self.interface.set_persistent(bool(persistent))

    @property
    def owner(self) -> int | None:
        """Id of the user who may attach to the interface."""
        return self.interface.details().owner

    @owner.setter
    def owner(self, owner: int) -> None:
        check_id(owner)
        self.interface.set_owner(owner)

    @property
    def group(self) -> int | None:
        """Id of the group that may attach to the interface."""
        return self.interface.details().group

    @group.setter
    def group(self, group: int) -> None:
        check_id(group)
        self.interface.set_group(group)

    @property
    def queues(self) -> int:
        """How many queues the interface has, those of other processes included."""
        return self.interface.details().queues

    def addresses(self) -> list[Address]:
        """All IPv4 and IPv6 addresses, those that the system gave included."""
        return self.interface.addresses()

    def add_address(self, address: AddressLike) -> None:
        """Raises `AddressError` when it is malformed or there already."""
        self.interface.add_address(Address.parse(address))

    def remove_address(self, address: AddressLike) -> None:
        """Raises `AddressError` when it is malformed or not there."""
        self.interface.remove_address(Address.parse(address))

    def set_addresses(self, addresses: AddressLike | Iterable[AddressLike]) -> None:
        """Make these the addresses: add what is missing, then remove all others.

        Link-local IPv6 addresses stay, the system makes them. Raises `AddressError`.
        """
        wanted = parse_addresses(addresses)
        seen = set()
        for address in wanted:
            if address in seen:
                raise AddressError(f"address {address} stands twice")
            seen.add(address)
        self.interface.set_addresses(wanted)

    @property
    def broadcast(self) -> IPv4Address | None:
        """Broadcast address of the first IPv4 address that has one; set it for the first.

        Setting removes that address and adds it again. Raises `AddressError`.
        """
        return self.interface.broadcast()

    @broadcast.setter
    def broadcast(self, broadcast: str | IPv4Address | None) -> None:
        try:
            address = None if broadcast is None else IPv4Address(broadcast)
        except ValueError as exc:
            raise AddressError(f"{broadcast!r} is not an IPv4 address") from exc
        self.interface.set_broadcast(address)

    def routes(self) -> list[Route]:
        """The routes to this interface in the main table, without the system's own."""
        return self.interface.routes()

    def add_route(self, route: RouteLike) -> None:
        """Raises `RouteError` when it is malformed, refused (interface down), or there already."""
        self.interface.add_route(Route.parse(route))

    def remove_route(self, route: RouteLike) -> None:
        """Raises `RouteError` when it is malformed or not there."""
        self.interface.remove_route(Route.parse(route))

    def statistics(self) -> InterfaceStatistics:
        """The kernel's counters; its drops are what `counters` cannot know of."""
        return self.interface.statistics()
