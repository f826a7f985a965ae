"""The interface of an adapter, asked about and changed through iphlpapi."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes
import errno
import ipaddress
import logging
import os
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from ctypes import byref
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from uuid import UUID

from ...addresses import Address, Route
from ...config import MTU_MIN_IPV6, DeviceConfig, check_mtu, check_mtu_v6, check_name
from ...errors import (
    AddressError,
    ClosedError,
    InterfaceGoneError,
    MTUError,
    NameInUseError,
    NotPermittedError,
    RouteError,
    TunError,
    UnsupportedError,
)
from ...interfaces import InterfaceDetails, InterfaceStatistics
from ...options import WindowsOptions, check_domains, parse_dns
from ..base import Interface
from .events import State, WindowsEvents
from .iphlpapi import (
    ERROR_ACCESS_DENIED,
    ERROR_FILE_NOT_FOUND,
    ERROR_INVALID_PARAMETER,
    ERROR_NOT_FOUND,
    ERROR_OBJECT_ALREADY_EXISTS,
    IpHelper,
)
from .queue import EventQueue
from .remedies import ADMINISTRATOR, IPV6
from .structs import (
    AF_INET,
    AF_INET6,
    DNS_INTERFACE_SETTINGS,
    IF_OPER_STATUS_UP,
    MIB_IF_ROW2,
    MIB_IPFORWARD_ROW2,
    MIB_IPINTERFACE_ROW,
    MIB_UNICASTIPADDRESS_ROW,
)

__all__ = ["WindowsInterface"]

logger = logging.getLogger("aiotun")

DUPLICATE, PREFERRED = 2, 4
"""IpDadStateDuplicate, IpDadStatePreferred (nldef.h): somebody else has it; it is usable."""

NETMGMT = 3
"""MIB_IPPROTO_NETMGMT (nldef.h): a route that somebody set."""

PATIENCE = 5.0
"""Seconds for a new interface to be known to IP, and for an address to become usable."""

PAUSE = 0.01

# DNS_INTERFACE_SETTINGS (netioapi.h)
DNS_SETTINGS_VERSION = 1
DNS_SETTING_IPV6, DNS_SETTING_NAMESERVER, DNS_SETTING_SEARCHLIST = 1, 2, 4


class WindowsInterface(Interface):
    """Bound to a LUID, which stays while names change. Usable from any thread."""

    def __init__(
        self,
        ip: IpHelper,
        luid: int,
        queue: EventQueue,
        config: DeviceConfig,
        options: WindowsOptions,
    ) -> None:
        """Wait until the interface is there, and make it what `config` says."""
        self.config = config
        self._ip = ip
        self.luid = luid
        """Its NET_LUID, by which the functions of iphlpapi know it."""
        self._queue = queue
        self._closed = False
        self._wait_for_family(AF_INET)
        if config.mtu_v6 is not None or any(a.interface.version == 6 for a in config.addresses):
            self._wait_for_family(AF_INET6)
        if config.ipv6_quiet:
            self._quieten()
        if config.metric is not None:
            self.set_metric(config.metric)
        self.set_mtu(config.mtu or 1500)  # Wintun's own is 65535, which no path carries
        if config.mtu_v6 is not None:
            self.set_mtu_v6(config.mtu_v6)
        if config.up is not False:
            queue.set_up(True)
        for address in config.addresses:
            self.add_address(address)
        for route in config.routes:
            self.add_route(route)
        if options.dns or options.dns_search:
            try:
                self.set_dns(options.dns, options.dns_search)
            except TunError as exc:  # some products that watch a machine forbid it to everybody
                logger.warning("%s: %s", self.name, exc)
        self._events = WindowsEvents(ip, self._state)

    def _wait_for_family(self, family: int) -> None:
        """A new interface takes a moment until IP knows it; where IPv6 is off it never does."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self._ip_interface(family)
                return
            except UnsupportedError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(PAUSE)

    # Its settings.

    @property
    def driver_version(self) -> tuple[int, int] | None:
        """Of Wintun's driver, or the TAP's, that runs; None if none does."""
        return self._queue.driver_version()

    @property
    def guid(self) -> UUID:
        """By which Windows knows its network again."""
        with self._asking():
            return UUID(bytes_le=bytes(self._ip.guid(self.luid)))

    @property
    def name(self) -> str:
        with self._asking():
            return self._ip.alias(self.luid)

    def set_name(self, name: str) -> None:
        """By netsh: there is no documented function for it."""
        check_name(name)
        if self._ip.luid(name) not in (None, self.luid):
            raise NameInUseError(
                errno.EEXIST, f"interface {name!r} exists", remedies=("take another name",)
            )
        said = netsh("interface", "set", "interface", f"name={self.name}", f"newname={name}")
        if self.name != name:
            raise TunError(errno.EINVAL, f"netsh refuses the name {name!r}: {said}")
        self._events.tell()

    @property
    def index(self) -> int:
        with self._asking():
            return self._ip.index(self.luid)

    @property
    def mtu(self) -> int:
        return self._ip_interface(AF_INET).NlMtu

    def set_mtu(self, mtu: int) -> None:
        """Of both families; IPv6 keeps at least its 1280 bytes."""
        check_mtu(mtu, self._queue.layer)
        self._change(AF_INET, NlMtu=mtu)
        with suppress(UnsupportedError):  # there is no IPv6
            self._change(AF_INET6, NlMtu=max(mtu, MTU_MIN_IPV6))

    def mtu_v6(self) -> int:
        return self._ip_interface(AF_INET6).NlMtu

    def set_mtu_v6(self, mtu: int) -> None:
        check_mtu_v6(mtu, self._queue.layer)
        if mtu > self.mtu:
            raise MTUError(f"mtu_v6 {mtu} is larger than the mtu, {self.mtu}")
        self._change(AF_INET6, NlMtu=mtu)

    def metric(self, version: int = 4) -> int:
        """The interface's own metric, to which those of its routes are added."""
        return self._ip_interface(AF_INET if version == 4 else AF_INET6).Metric

    def set_metric(self, metric: int | None) -> None:
        """Of both families; None leaves it to the system."""
        values = (
            {"UseAutomaticMetric": 1}
            if metric is None
            else {"UseAutomaticMetric": 0, "Metric": metric}
        )
        self._change(AF_INET, **values)
        with suppress(UnsupportedError):  # there is no IPv6
            self._change(AF_INET6, **values)

    def _quieten(self) -> None:
        """No router solicitations, no link-local address (nldef.h: both 0)."""
        with suppress(UnsupportedError):  # there is no IPv6
            self._change(AF_INET6, RouterDiscoveryBehavior=0, LinkLocalAddressBehavior=0)

    @property
    def is_up(self) -> bool:
        self._check_open()
        return self._queue.is_up

    def set_up(self, up: bool) -> None:
        """Let packets pass or not: while none pass the link has no carrier."""
        self._check_open()
        self._queue.set_up(up)
        self._events.tell()

    # Its addresses.

    def addresses(self) -> list[Address]:
        with self._asking():
            rows = self._ip.table("GetUnicastIpAddressTable", MIB_UNICASTIPADDRESS_ROW)
            found = [
                Address(ipaddress.ip_interface((row.Address.get(), row.OnLinkPrefixLength)))
                for row in rows
                if row.InterfaceLuid == self.luid
            ]
            if not found:
                self._row()  # raises if it is gone
            return found

    def add_address(self, address: Address) -> None:
        dad = self.config.dad
        if address.peer is not None:
            raise AddressError(
                f"{address}: an interface of Windows has no peer: "
                "give the address a prefix length, or add a route to the peer"
            )
        row = self._address_row(address)
        if not dad:
            row.DadState = PREFERRED
        with self._asking(f"address {address}"):
            try:
                self._ip.call("CreateUnicastIpAddressEntry", byref(row))
            except OSError as exc:
                if exc.winerror == ERROR_OBJECT_ALREADY_EXISTS:
                    raise AddressError(
                        f"the interface has address {address} already", errno.EEXIST
                    ) from exc
                if exc.winerror == ERROR_NOT_FOUND and address.interface.version == 6:
                    raise _no_ipv6() from exc
                if exc.winerror == ERROR_INVALID_PARAMETER:
                    raise AddressError(f"Windows refuses address {address}") from exc
                raise
        if not dad:
            self._wait_until_usable(address)

    def _wait_until_usable(self, address: Address) -> None:
        """Until then it can be bound to by nobody. One that somebody else has is removed."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            row = self._address_row(address)
            with self._asking():
                self._ip.call("GetUnicastIpAddressEntry", byref(row))
            if row.DadState == PREFERRED:
                return
            if row.DadState == DUPLICATE:
                self.remove_address(address)
                raise AddressError(f"another host has the address {address}")
            time.sleep(PAUSE)
        logger.warning("%s: address %s is not usable yet", self.name, address)

    def remove_address(self, address: Address) -> None:
        row = self._address_row(address)
        with self._asking():
            try:
                if address not in self.addresses():
                    raise AddressError(f"the interface has no address {address}")
                self._ip.call("DeleteUnicastIpAddressEntry", byref(row))
            except OSError as exc:
                if exc.winerror == ERROR_NOT_FOUND:
                    raise AddressError(f"the interface has no address {address}") from exc
                raise

    def _address_row(self, address: Address) -> MIB_UNICASTIPADDRESS_ROW:
        row = self._ip.initialized(MIB_UNICASTIPADDRESS_ROW(), "InitializeUnicastIpAddressEntry")
        row.InterfaceLuid = self.luid
        row.Address.put(address.interface.ip)
        row.OnLinkPrefixLength = address.interface.network.prefixlen
        return row

    # Its routes.

    def routes(self) -> list[Route]:
        """Those that somebody set; not those that came with an address."""
        with self._asking():
            rows = self._ip.table("GetIpForwardTable2", MIB_IPFORWARD_ROW2)
            return [
                _route(row)
                for row in rows
                if row.InterfaceLuid == self.luid and row.Protocol == NETMGMT
            ]

    def add_route(self, route: Route) -> None:
        with self._asking(f"route {route}"):
            try:
                self._ip.call("CreateIpForwardEntry2", byref(self._route_row(route)))
            except OSError as exc:
                if exc.winerror == ERROR_OBJECT_ALREADY_EXISTS:
                    raise RouteError(
                        f"route {route} exists already, if with another metric",
                        errno.EEXIST,
                        remedies=("remove that one first",),
                    ) from exc
                if exc.winerror == ERROR_NOT_FOUND and route.destination.version == 6:
                    raise _no_ipv6() from exc
                if exc.winerror in (ERROR_INVALID_PARAMETER, ERROR_NOT_FOUND):
                    raise RouteError(f"Windows refuses the route {route}") from exc
                raise

    def remove_route(self, route: Route) -> None:
        """The metric plays no part: Windows has one route to a network and gateway."""
        with self._asking():
            try:
                self._ip.call("DeleteIpForwardEntry2", byref(self._route_row(route)))
            except OSError as exc:
                if exc.winerror in (ERROR_NOT_FOUND, ERROR_FILE_NOT_FOUND):
                    raise RouteError(f"there is no route {route}") from exc
                raise

    def _route_row(self, route: Route) -> MIB_IPFORWARD_ROW2:
        destination = route.destination
        gateway = route.gateway
        if gateway is not None and gateway.version != destination.version:
            raise RouteError(f"route {route}: on Windows a gateway is of its network's IP version")
        row = self._ip.initialized(MIB_IPFORWARD_ROW2(), "InitializeIpForwardEntry")
        row.InterfaceLuid = self.luid
        row.DestinationPrefix.Prefix.put(destination.network_address)
        row.DestinationPrefix.PrefixLength = destination.prefixlen
        row.NextHop.put(gateway or type(destination.network_address)(0))
        row.SitePrefixLength = 0  # the function leaves 255 there, which is refused
        row.Metric = route.metric or 0
        row.Protocol = NETMGMT
        return row

    # DNS.

    def set_dns(
        self,
        servers: Iterable[str | IPv4Address | IPv6Address],
        search: Iterable[str] = (),
    ) -> None:
        """Make these the interface's DNS servers and search domains; nothing clears them.

        Windows 10 2004 and later, else `UnsupportedError`. Raises `NotPermittedError`, also
        where a security product forbids it to administrators.
        """
        parsed, domains = parse_dns(servers), check_domains(search)
        for family, flag in ((4, 0), (6, DNS_SETTING_IPV6)):
            names = ctypes.create_unicode_buffer(
                ",".join(str(each) for each in parsed if each.version == family)
            )
            suffixes = ctypes.create_unicode_buffer(",".join(domains))
            settings = DNS_INTERFACE_SETTINGS(
                Version=DNS_SETTINGS_VERSION,
                Flags=flag | DNS_SETTING_NAMESERVER | DNS_SETTING_SEARCHLIST,
                NameServer=ctypes.addressof(names),
                SearchList=ctypes.addressof(suffixes),
            )
            with self._asking("its DNS servers"):
                guid = self._ip.guid(self.luid)
                self._ip.call("SetInterfaceDnsSettings", guid, byref(settings))

    # What there is to know.

    def statistics(self) -> InterfaceStatistics:
        """The system counts what it sends out of the interface, which we receive, and the other
        way round."""
        row = self._row()
        return InterfaceStatistics(
            packets_received=row.OutUcastPkts + row.OutNUcastPkts,
            bytes_received=row.OutOctets,
            dropped_received=row.OutDiscards,
            packets_sent=row.InUcastPkts + row.InNUcastPkts,
            bytes_sent=row.InOctets,
            dropped_sent=row.InDiscards,
            errors_sent=row.InErrors,
        )

    def details(self) -> InterfaceDetails:
        row = self._row()
        return InterfaceDetails(
            mac=bytes(row.PhysicalAddress[: row.PhysicalAddressLength]).hex(":") or None,
            tx_queue_len=0,
            is_running=row.OperStatus == IF_OPER_STATUS_UP,
            carrier=row.MediaConnectState == 1,  # MediaConnectStateConnected (ifdef.h)
            persistent=self._queue.persistent,
            owner=None,
            group=None,
            queues=1,
            packet_information=False,
        )

    def set_persistent(self, persistent: bool) -> None:
        """Of a TAP. An adapter of Wintun ends with its program."""
        self._check_open()
        if self._queue.layer == "tun":
            super().set_persistent(persistent)
        self._queue.persistent = persistent

    def events(self) -> WindowsEvents:
        return self._events

    def _state(self) -> State | None:
        try:
            return State(self.name, self.mtu, self._queue.is_up, tuple(self.addresses()))
        except (InterfaceGoneError, ClosedError, UnsupportedError):
            return None

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._events.close()

    # Asking.

    def _exists(self) -> bool:
        try:
            self._ip.call("GetIfEntry2", byref(MIB_IF_ROW2(InterfaceLuid=self.luid)))
        except OSError as exc:
            return exc.winerror != ERROR_FILE_NOT_FOUND
        return True

    def _row(self) -> MIB_IF_ROW2:
        row = MIB_IF_ROW2(InterfaceLuid=self.luid)
        with self._asking():
            self._ip.call("GetIfEntry2", byref(row))
        return row

    def _ip_interface(self, family: int) -> MIB_IPINTERFACE_ROW:
        """Raises `UnsupportedError` where the interface has no such IP."""
        row = self._ip.initialized(MIB_IPINTERFACE_ROW(), "InitializeIpInterfaceEntry")
        row.Family, row.InterfaceLuid = family, self.luid
        with self._asking():
            try:
                self._ip.call("GetIpInterfaceEntry", byref(row))
            except OSError as exc:
                if exc.winerror != ERROR_NOT_FOUND:
                    raise
                self._row()  # raises if it is gone as a whole
                raise _no_ipv6() if family == AF_INET6 else _no_ipv4() from exc
        return row

    def _change(self, family: int, **values: int) -> None:
        row = self._ip_interface(family)
        for name, value in values.items():
            setattr(row, name, value)
        row.SitePrefixLength = 0  # of IPv4 it comes with a value that is refused
        with self._asking():
            self._ip.call("SetIpInterfaceEntry", byref(row))

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError

    @contextmanager
    def _asking(self, what: str = "it") -> Iterator[None]:
        """Raise what an error means that every function may return."""
        self._check_open()
        try:
            yield
        except TunError:
            raise
        except OSError as exc:
            if exc.winerror == ERROR_ACCESS_DENIED:
                raise NotPermittedError(
                    errno.EPERM,
                    f"this process may not change {what} on the interface",
                    remedies=ADMINISTRATOR,
                ) from exc
            if not self._exists():
                raise InterfaceGoneError(errno.ENODEV, "the adapter was removed") from exc
            raise TunError(exc.errno or errno.EINVAL, f"{what} was refused: {exc}") from exc


def netsh(*words: str) -> str:
    """Have the system's program do what there is no documented function for."""
    program = os.path.join(os.environ["SYSTEMROOT"], "System32", "netsh.exe")
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _route(row: MIB_IPFORWARD_ROW2) -> Route:
    network = row.DestinationPrefix.Prefix.get()
    gateway = row.NextHop.get()
    kind = IPv4Network if network.version == 4 else IPv6Network
    return Route(
        kind((network.packed, row.DestinationPrefix.PrefixLength)),
        None if gateway.is_unspecified else gateway,
        row.Metric,
    )


def _no_ipv4() -> UnsupportedError:
    return UnsupportedError(errno.EOPNOTSUPP, "IPv4 does not know the interface")


def _no_ipv6() -> UnsupportedError:
    return UnsupportedError(errno.EOPNOTSUPP, "there is no IPv6 on the interface", remedies=IPV6)
