"""The interface of a tun, tap, utun or feth, asked about by sysctl and changed by ioctls."""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import errno
from contextlib import ExitStack, suppress
from ipaddress import IPv4Address, IPv6Address, ip_network

from ...addresses import Address, Route
from ...config import DeviceConfig, check_mtu
from ...errors import (
    AddressError,
    ClosedError,
    InterfaceGoneError,
    MACError,
    MTUError,
    NameInUseError,
    RouteError,
    UnsupportedError,
)
from ...interfaces import InterfaceDetails, InterfaceStatistics
from ..base import Interface
from .base import Control, System
from .events import RouteEvents
from .headers.common import IFF_UP
from .messages import Interfaces, Link
from .queue import BsdQueue
from .routing import Routing
from .sockaddrs import mask, to_sockaddr

__all__ = ["BsdInterface", "open_on"]


def open_on(system: System, config: DeviceConfig) -> tuple[BsdInterface, BsdQueue]:
    """Make the device and configure it; leave nothing on failure."""
    system.check(config)
    with ExitStack() as undo:
        queue = system.open_queue(config, undo)
        interface = BsdInterface(system, queue, config)
        undo.pop_all()
    return interface, queue


class BsdInterface(Interface):
    """Bound to an interface index, which stays while names change."""

    def __init__(self, system: System, queue: BsdQueue, config: DeviceConfig) -> None:
        """Find the queue's interface and make it what `config` says."""
        self._system = system
        self._queue = queue
        self.config = config
        self._closed = False
        self._index = queue.index
        self._control = Control(system)
        self._routing = Routing(system)
        try:
            self._configure()
            self._events = RouteEvents(system, self._routing, self._index, queue.layer)
        except BaseException:
            self._control.close()
            raise

    def _configure(self) -> None:
        config, link = self.config, self._link()
        if config.mtu not in (None, link.mtu):
            self.set_mtu(config.mtu)
        if config.mac not in (None, link.mac):
            self.set_mac(config.mac)
        if config.ipv6_quiet:
            self._system.quieten(self._control, link.name)
        present = self.addresses()
        for address in config.addresses:
            if address not in present:
                self.add_address(address)
        up = self._link().up
        if config.up is not None or up != link.up:  # an address sets the interface up
            self.set_up(link.up if config.up is None else config.up)
        known = self.routes()
        for route in config.routes:
            if route not in known:
                self.add_route(route)
        if config.persistent not in (None, self._queue.persistent):  # last: failures leave nothing
            self.set_persistent(config.persistent)

    @property
    def name(self) -> str:
        return self._link().name

    @property
    def index(self) -> int:
        return self._link().index

    @property
    def mtu(self) -> int:
        return self._link().mtu

    def set_mtu(self, mtu: int) -> None:
        check_mtu(mtu, self._queue.layer)
        self._system.check_mtu(mtu, self._queue.layer)
        try:
            self._system.set_mtu(self._control, self._queue, self.name, mtu)
        except OSError as exc:
            if exc.errno == errno.EINVAL:
                raise MTUError(f"mtu {mtu} was refused: {exc.strerror}") from exc
            raise

    @property
    def is_up(self) -> bool:
        return self._link().up

    def set_up(self, up: bool) -> None:
        request = self._control.request(self.name)
        headers = self._system.headers
        self._control.call(headers.SIOCGIFFLAGS, request)
        request.ifr_flags = request.ifr_flags | IFF_UP if up else request.ifr_flags & ~IFF_UP
        self._control.call(headers.SIOCSIFFLAGS, request)

    def addresses(self) -> list[Address]:
        return self._interfaces().addresses.get(self._index, [])

    def add_address(self, address: Address) -> None:
        if any(address.interface.ip == each.interface.ip for each in self.addresses()):
            raise AddressError(
                f"address {address} cannot be added: the interface has it already", errno.EEXIST
            )
        first = not self.addresses()
        self._add_address(address)
        if first and self._system.counts_present_addresses:
            self._add_address(address)
        route = self._route_of(address)
        if route is not None and self.config.connected_routes:
            self._routing.add(route, self._index)

    def _add_address(self, address: Address, broadcast: IPv4Address | None = None) -> None:
        try:
            if address.interface.version == 4:
                self._add_ipv4(address, broadcast)
            else:
                self._add_ipv6(address)
        except OSError as exc:
            self._explain_address(exc, address, "added")
            raise

    def _add_ipv4(self, address: Address, broadcast: IPv4Address | None) -> None:
        system, link, network = self._system, self._link(), address.interface.network
        request = system.headers.ifaliasreq(ifra_name=link.name.encode())
        request.ifra_addr = to_sockaddr(address.interface.ip, system)
        request.ifra_mask = mask(4, network.prefixlen, system)
        other: IPv4Address | IPv6Address | None = broadcast
        if link.point_to_point:
            own = address.interface.ip if system.wants_peer else None
            other = own if address.peer is None else address.peer
        elif other is None and network.prefixlen < 31:
            other = network.broadcast_address
        if other is not None:
            request.ifra_broadaddr = to_sockaddr(other, system)
        self._control.call(system.headers.SIOCAIFADDR, request)

    def _add_ipv6(self, address: Address) -> None:
        system, headers = self._system, self._system.headers
        if not self.config.connected_routes and address.interface.network.prefixlen < 128:
            raise UnsupportedError(
                errno.EOPNOTSUPP,
                f"{system.name} makes the route to the network of an IPv6 address itself",
                remedies=("leave connected_routes=False out", "give the address a prefix of 128"),
            )
        system.allow_ipv6(self._control, self.name)
        request = headers.in6_aliasreq(ifra_name=self.name.encode())
        request.ifra_addr = to_sockaddr(address.interface.ip, system)
        request.ifra_prefixmask = mask(6, address.interface.network.prefixlen, system)
        if address.peer is not None:
            request.ifra_dstaddr = to_sockaddr(address.peer, system)
        request.ifra_flags = 0 if self.config.dad else system.no_dad
        request.ifra_lifetime.ia6t_vltime = headers.ND6_INFINITE_LIFETIME
        request.ifra_lifetime.ia6t_pltime = headers.ND6_INFINITE_LIFETIME
        self._control.call(headers.SIOCAIFADDR_IN6, request, 6)

    def remove_address(self, address: Address) -> None:
        headers = self._system.headers
        if address not in self.addresses():
            raise AddressError(f"address {address} cannot be removed: the interface lacks it")
        route = self._route_of(address)
        if route is not None:
            with suppress(RouteError):  # it may have been removed before
                self._routing.remove(route, self._index)
        try:
            if address.interface.version == 4:
                request = self._control.request(self.name)
                request.ifr_addr = type(request.ifr_addr).from_buffer_copy(
                    to_sockaddr(address.interface.ip, self._system)
                )
                self._control.call(headers.SIOCDIFADDR, request)
            else:
                request = headers.in6_ifreq(ifr_name=self.name.encode())
                request.ifr_addr = to_sockaddr(address.interface.ip, self._system)
                self._control.call(headers.SIOCDIFADDR_IN6, request, 6)
        except OSError as exc:
            self._explain_address(exc, address, "removed")
            raise

    def _route_of(self, address: Address) -> Route | None:
        """The route to an address' network, where the system makes none: for IPv4 on an
        interface that is point to point."""
        network = address.interface.network
        if network.version == 6 or network.prefixlen == 32 or not self._link().point_to_point:
            return None
        if address.peer is not None:
            network = ip_network(f"{address.peer}/{network.prefixlen}", strict=False)
        return Route(network)

    def _explain_address(self, exc: OSError, address: Address, done: str) -> None:
        what = f"address {address} cannot be {done}: {exc.strerror}"
        if exc.errno in (errno.EEXIST, errno.EADDRNOTAVAIL, errno.EINVAL):
            raise AddressError(what, exc.errno) from exc
        if exc.errno in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT):
            raise UnsupportedError(errno.EOPNOTSUPP, what) from exc

    def broadcast(self) -> IPv4Address | None:
        return self._interfaces().broadcasts.get(self._index)

    def set_broadcast(self, broadcast: IPv4Address | None) -> None:
        if self._link().point_to_point:
            raise UnsupportedError(errno.EOPNOTSUPP, "a tun has no broadcast addresses")
        for address in self.addresses():
            if address.interface.version == 4:
                self.remove_address(address)
                self._add_address(address, broadcast)
                return
        raise AddressError("without an IPv4 address there is no broadcast address: add one first")

    def routes(self) -> list[Route]:
        made = [self._route_of(address) for address in self.addresses()]
        return [route for route in self._routing.routes(self._index) if route not in made]

    def add_route(self, route: Route) -> None:
        if route.metric is not None:
            raise UnsupportedError(
                errno.EOPNOTSUPP,
                f"routes have no metric on {self._system.name}",
                remedies=("leave the metric out",),
            )
        self._link()  # that it is gone would be the reason
        self._routing.add(route, self._index)

    def remove_route(self, route: Route) -> None:
        self._link()
        self._routing.remove(route, self._index)

    def details(self) -> InterfaceDetails:
        link = self._link()
        return InterfaceDetails(
            mac=link.mac if self._queue.layer == "tap" else None,
            tx_queue_len=0,
            is_running=link.up and link.running,
            carrier=link.carrier,
            persistent=self._queue.persistent,
            owner=None,
            group=None,
            queues=1,
            packet_information=False,
        )

    def set_name(self, name: str) -> None:
        try:
            self._system.set_name(self._control, self.name, name)
        except OSError as exc:
            if exc.errno == errno.EEXIST:
                raise NameInUseError(exc.errno, f"there is an interface {name!r} already") from exc
            raise

    def set_mac(self, mac: str) -> None:
        if self._queue.layer == "tun":
            raise MACError("a TUN has no MAC address")
        try:
            self._system.set_mac(self._control, self.name, bytes.fromhex(mac.replace(":", "")))
        except OSError as exc:
            if exc.errno == errno.EINVAL:
                raise MACError(f"MAC address {mac} was refused: {exc.strerror}") from exc
            raise

    def set_persistent(self, persistent: bool) -> None:
        self._system.set_persistent(self._queue, persistent)

    def statistics(self) -> InterfaceStatistics:
        return self._link().statistics

    def events(self) -> RouteEvents:
        return self._events

    def close(self) -> None:
        self._closed = True
        self._events.close()
        self._control.close()

    def _interfaces(self) -> Interfaces:
        if self._closed:
            raise ClosedError
        found = self._routing.interfaces(self._index)
        if self._index not in found.links:
            raise InterfaceGoneError(errno.ENXIO, "the interface was deleted")
        return found

    def _link(self) -> Link:
        return self._interfaces().links[self._index]
