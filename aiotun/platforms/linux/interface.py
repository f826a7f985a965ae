"""The interface of a TUN or TAP, asked about and changed through rtnetlink."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import errno
import grp
import pwd
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from socket import AF_INET, AF_INET6
from typing import TypeVar

from ...addresses import Address, Route
from ...config import AS_FOUND, MTU_MIN_IPV6, DeviceConfig, check_mtu, check_mtu_v6
from ...errors import (
    AddressError,
    BusyError,
    ClosedError,
    ConfigError,
    InterfaceGoneError,
    MACError,
    MTUError,
    NameInUseError,
    NotPermittedError,
    RouteError,
    TunError,
    UnsupportedError,
)
from ...interfaces import InterfaceDetails, InterfaceStatistics
from ..base import EventSource, Interface
from .events import NetlinkEvents
from .namespace import in_namespace_of
from .netlink import NetlinkSocket
from .remedies import NO_IPV6
from .restoring import Losses
from .routing import Routing
from .rtnetlink.addresses import (
    RTM_DELADDR,
    RTM_GETADDR,
    RTM_NEWADDR,
    decode_address,
    decode_broadcast,
    encode_address,
    encode_address_dump,
    encode_broadcast,
    is_unchecked,
)
from .rtnetlink.links import (
    RTM_GETLINK,
    RTM_SETLINK,
    Link,
    decode_details,
    decode_ipv6_quiet,
    decode_link,
    decode_statistics,
    encode_link,
)
from .rtnetlink.messages import NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL
from .rtnetlink.routes import (
    RTM_GETROUTE,
    RTN_LOCAL,
    as_kept,
    decode_route,
    encode_route_dump,
)
from .tun import TunQueue

__all__ = ["LinuxInterface", "open_here"]

T = TypeVar("T")

HEARD_WITHIN = 1.0
"""Seconds to wait at most for the kernel to take packets to new IPv6 addresses."""


def open_here(config: DeviceConfig) -> tuple[LinuxInterface, TunQueue]:
    """Make the device in the namespace of the calling thread; leave nothing on failure."""
    with ExitStack() as undo:
        queue = TunQueue(config)
        undo.callback(queue.close)
        interface = LinuxInterface(queue, config)
        undo.pop_all()
    return interface, queue


class LinuxInterface(Interface):
    """Bound to an interface index in the network namespace in which it was made.

    Usable from any thread, whatever that thread's namespace. While the interface
    is in another namespace its packets still flow, but every method here raises
    `InterfaceGoneError`, until it comes back with the same index.
    """

    takes_once = (6,)

    def __init__(self, queue: TunQueue, config: DeviceConfig) -> None:
        """Find the queue's interface and make it what `config` says."""
        self._queue = queue
        self.config = config
        self._netlink = NetlinkSocket()
        self._routing = Routing(self._netlink)
        try:
            (answer,) = self._request(RTM_GETLINK, encode_link(name=queue.name))
            link, details = _link(answer), decode_details(answer)
            if details.packet_information:  # for which TUNGETIFF has no bit that can be trusted
                raise UnsupportedError(
                    errno.EOPNOTSUPP,
                    f"interface {link.name!r} was opened with packet information",
                    remedies=(
                        "open it with IFF_NO_PI",
                        'do without all but the packets of its descriptor (framing="pi")',
                    ),
                )
            queue.agree_on_frames(config.offload, alone=details.queues == 1)
            self._index = link.index
            self._losses = Losses(self._request, self._index)
            self._configure(link, details)
            self._events = NetlinkEvents(queue, self._index, self._state)
        except BaseException:
            self._netlink.close()
            raise

    def _configure(self, link: Link, details: InterfaceDetails) -> None:
        # Only what differs: an unprivileged user may attach to an interface that an
        # administrator configured, but not configure it.
        config = self.config
        if config.mtu not in (None, link.mtu):  # first: with a small one there is no IPv6
            self.set_mtu(config.mtu)
        self._quieten()
        if config.mac not in (None, details.mac):
            self.set_mac(config.mac)
        if config.tx_queue_len not in (None, details.tx_queue_len):
            self.set_tx_queue_len(config.tx_queue_len)
        if config.owner is not None:
            self.set_owner(config.owner)
        if config.group is not None:
            self.set_group(config.group)
        if config.addresses:
            self._add_missing(config.addresses)
        if config.carrier not in (None, details.carrier):
            self.set_carrier(config.carrier)
        if config.up not in (None, link.up):
            self.set_up(config.up)
        if config.mtu_v6 is not None:  # setting the interface up sets it to the other MTU
            self.set_mtu_v6(config.mtu_v6)
        if config.routes:
            known = self.routes()
            for route in config.routes:
                if route.metric is None:
                    route = route._replace(metric=config.metric)
                if as_kept(route) not in known:
                    self.add_route(route)
        if config.persistent not in (None, details.persistent):  # last: what fails shall not stay
            self.set_persistent(config.persistent)

    def _quieten(self) -> None:
        """Let the kernel make no IPv6 address of its own, if that is wanted and not so yet."""
        if self.config.ipv6_quiet and decode_ipv6_quiet(self._ask()) is False:
            self._request(RTM_SETLINK, encode_link(self._index, ipv6_quiet=True))

    @property
    def name(self) -> str:
        return self._get_link().name

    @property
    def index(self) -> int:
        return self._get_link().index

    @property
    def mtu(self) -> int:
        return self._get_link().mtu

    def set_mtu(self, mtu: int) -> None:
        check_mtu(mtu, self._queue.layer)
        link = self._get_link()
        had_ipv6, has_ipv6 = link.mtu >= MTU_MIN_IPV6, mtu >= MTU_MIN_IPV6
        if had_ipv6 and not has_ipv6:
            self._losses.expect(addresses=(AF_INET6,), routes=(AF_INET6,))
        dormant = has_ipv6 and not had_ipv6 and link.up and self.config.ipv6_quiet
        try:
            if dormant:  # the kernel makes its address only once the link is operational
                self._request(RTM_SETLINK, encode_link(self._index, operational=False))
            self._request(RTM_SETLINK, encode_link(self._index, mtu=mtu))
            self._quieten()
        except OSError as exc:
            if exc.errno == errno.EINVAL:
                raise MTUError(f"mtu {mtu} was refused: {exc.strerror}") from exc
            raise
        finally:
            if dormant:
                self._request(RTM_SETLINK, encode_link(self._index, operational=True))
        self._losses.put_back(self._get_link())
        if not had_ipv6:
            self._wait_until_heard()

    @property
    def is_up(self) -> bool:
        return self._get_link().up

    def set_up(self, up: bool) -> None:
        if up:
            self._quieten()
        else:
            self._losses.expect(addresses=(AF_INET6,), routes=(AF_INET, AF_INET6))
        self._request(RTM_SETLINK, encode_link(self._index, up=up))
        self._losses.put_back(self._get_link())
        self._wait_until_heard()

    def addresses(self) -> list[Address]:
        answers = self._request(RTM_GETADDR, encode_address_dump(self._index), NLM_F_DUMP)
        found = [decode_address(body) for body in answers]
        return [entry[1] for entry in found if entry is not None and entry[0] == self._index]

    def add_address(self, address: Address) -> None:
        self._add_addresses([address])

    def _add_missing(self, addresses: Sequence[Address]) -> None:
        present = self.addresses()
        self._add_addresses([each for each in addresses if each not in present])

    def _add_addresses(self, addresses: Sequence[Address]) -> None:
        config = self.config
        for address in addresses:
            body = encode_address(
                self._index,
                address,
                dad=config.dad,
                connected_route=config.connected_routes,
                metric=config.metric,
            )
            try:
                self._request(RTM_NEWADDR, body, NLM_F_CREATE | NLM_F_EXCL)
            except OSError as exc:
                _explain_address(exc, address, "added")
                raise
        if any(address.interface.version == 6 for address in addresses):
            self._wait_until_heard()

    def _wait_until_heard(self) -> None:
        """Wait until IPv6 addresses that need no check have their local routes.

        The kernel adds these later, in a thread of its own (addrconf_dad_work in
        net/ipv6/addrconf.c), and drops what comes for the addresses before.
        """
        link = self._get_link()
        end = time.monotonic() + HEARD_WITHIN
        while link.up and self._unheard() and time.monotonic() < end:
            time.sleep(0.001)

    def _unheard(self) -> set[IPv4Address | IPv6Address]:
        dump = encode_address_dump(self._index)
        bodies = filter(is_unchecked, self._request(RTM_GETADDR, dump, NLM_F_DUMP))
        found = [entry for entry in map(decode_address, bodies) if entry is not None]
        unheard = {address.interface.ip for index, address in found if index == self._index}
        if unheard:
            dump = encode_route_dump(index=self._index)
            for entry in map(decode_route, self._request(RTM_GETROUTE, dump, NLM_F_DUMP)):
                if entry is not None and (entry.kind, entry.index) == (RTN_LOCAL, self._index):
                    unheard.discard(entry.route.destination.network_address)
        return unheard

    def remove_address(self, address: Address) -> None:
        lost = self._losses.forget(address)
        try:
            self._request(RTM_DELADDR, encode_address(self._index, address))
        except OSError as exc:
            if lost and exc.errno in (errno.EADDRNOTAVAIL, errno.ENXIO):
                return
            _explain_address(exc, address, "removed")
            raise

    def set_addresses(self, addresses: Sequence[Address]) -> None:
        self._losses.forget_addresses()
        # With the last IPv4 address go the routes, and for a moment there may be none: with the
        # first of a network go the others.
        self._losses.expect(addresses=(), routes=(AF_INET,))
        try:
            super().set_addresses(addresses)
        finally:
            self._losses.put_back(self._get_link())

    def broadcast(self) -> IPv4Address | None:
        found = (decode_broadcast(body) for body, _ in self._ipv4_addresses())
        return next((broadcast for broadcast in found if broadcast is not None), None)

    def set_broadcast(self, broadcast: IPv4Address | None) -> None:
        for body, address in self._ipv4_addresses():
            if broadcast != decode_broadcast(body):
                # The kernel takes an address away and adds it again for this, too
                # (SIOCSIFBRDADDR in net/ipv4/devinet.c). With it go others of its network,
                # and routes.
                self._losses.expect(addresses=(AF_INET,), routes=(AF_INET,))
                self.remove_address(address)
                body = encode_broadcast(body, broadcast)
                self._request(RTM_NEWADDR, body, NLM_F_CREATE | NLM_F_EXCL)
                self._losses.put_back(self._get_link())
            return
        raise AddressError("without an IPv4 address there is no broadcast address: add one first")

    def _ipv4_addresses(self) -> list[tuple[bytes, Address]]:
        """The kernel's messages about them, and what these say."""
        answers = self._request(RTM_GETADDR, encode_address_dump(self._index), NLM_F_DUMP)
        found = [(body, decode_address(body)) for body in answers]
        return [
            (body, entry[1])
            for body, entry in found
            if entry is not None and entry[0] == self._index and entry[1].interface.version == 4
        ]

    def routes(self) -> list[Route]:
        with self._explained():
            entries = self._routing.routes(index=self._index)
        return [entry.route for entry in entries if entry.is_configured]

    def add_route(self, route: Route) -> None:
        with self._explained():
            try:
                self._routing.add_route(route, self._index)
            except OSError as exc:
                if exc.errno == errno.ENODEV and route.destination.version == 6:
                    self._get_link()  # that it is not here would be the reason
                    raise UnsupportedError(
                        errno.EOPNOTSUPP,
                        f"route {route} cannot be added: {NO_IPV6.what}",
                        remedies=NO_IPV6.remedies,
                    ) from exc
                raise

    def remove_route(self, route: Route) -> None:
        lost = self._losses.forget(route)
        try:
            with self._explained():
                self._routing.remove_route(route, self._index)
        except RouteError:
            self._get_link()  # with the interface its routes went, and that is the reason then
            if not lost:
                raise

    def details(self) -> InterfaceDetails:
        return decode_details(self._ask())

    def set_name(self, name: str) -> None:
        try:
            self._request(RTM_SETLINK, encode_link(self._index, name=name))
        except OSError as exc:
            if exc.errno == errno.EEXIST:
                raise NameInUseError(exc.errno, f"there is an interface {name!r} already") from exc
            if exc.errno == errno.EBUSY:  # before Linux 6.2
                raise BusyError(
                    exc.errno,
                    "this kernel renames only an interface that is down",
                    remedies=("set it down first (Device.down)",),
                ) from exc
            raise

    def set_mac(self, mac: str) -> None:
        if self._queue.layer == "tun":
            raise MACError("a TUN has no MAC address")
        try:
            self._request(RTM_SETLINK, encode_link(self._index, mac=mac))
        except OSError as exc:
            if exc.errno == errno.EADDRNOTAVAIL:
                raise MACError(f"MAC address {mac} was refused: {exc.strerror}", exc.errno) from exc
            raise

    def mtu_v6(self) -> int:
        return int(self._sysctl(lambda path: path.read_text(), "mtu"))

    def set_mtu_v6(self, mtu: int) -> None:
        check_mtu_v6(mtu, self._queue.layer)
        try:
            self._sysctl(lambda path: path.write_text(str(mtu)), "mtu")
        except OSError as exc:
            if exc.errno == errno.EINVAL:
                raise MTUError(f"mtu_v6 {mtu} is more than the interface's mtu") from exc
            raise

    def _sysctl(self, act: Callable[[Path], T], variable: str) -> T:
        """Read or write a variable of the interface's IPv6, which rtnetlink cannot."""
        path = Path("/proc/sys/net/ipv6/conf", self._queue.name, variable)
        try:
            return in_namespace_of(self._queue.open_namespace, lambda: act(path))
        except FileNotFoundError as exc:
            raise UnsupportedError(
                errno.EOPNOTSUPP,
                f"there is no IPv6 on interface {self._queue.name!r}",
                remedies=NO_IPV6.remedies,
            ) from exc
        except OSError as exc:
            if exc.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise NotPermittedError(
                    errno.EPERM,
                    f"{path} cannot be written here ({exc.strerror})",
                    remedies=("mount /proc/sys read-write", "in a container: --privileged"),
                ) from exc
            raise

    def set_tx_queue_len(self, length: int) -> None:
        try:
            self._request(RTM_SETLINK, encode_link(self._index, tx_queue_len=length))
        except NotPermittedError as exc:
            # EPERM also means that the driver found no memory (the NOTIFY_BAD of
            # tun_device_event in drivers/net/tun.c). Who may not set it may not leave it, either.
            present = self.details().tx_queue_len
            self._request(RTM_SETLINK, encode_link(self._index, tx_queue_len=present))
            raise ConfigError(
                f"tx_queue_len {length}: the system has no memory for it", errno.ENOMEM
            ) from exc

    def set_carrier(self, carrier: bool) -> None:
        self._queue.set_carrier(carrier)

    def set_persistent(self, persistent: bool) -> None:
        self._queue.set_persistent(persistent)

    def set_owner(self, owner: int | str) -> None:
        self._queue.set_owner(_user_id(owner))

    def set_group(self, group: int | str) -> None:
        self._queue.set_group(_group_id(group))

    def call_beside(self, function: Callable[[], T]) -> T:
        return in_namespace_of(self._queue.open_namespace, function)

    def open_queue(self) -> tuple[LinuxInterface, TunQueue]:
        queue = self._queue
        if not queue.multi_queue:
            raise UnsupportedError(
                errno.EOPNOTSUPP,
                "the device was made for one queue",
                remedies=("make it with multi_queue=True",),
            )
        config = replace(
            self.config, name=queue.name, offload=queue.vnet_hdr, exclusive=False, **AS_FOUND
        )
        return in_namespace_of(queue.open_namespace, lambda: open_here(config))

    def statistics(self) -> InterfaceStatistics:
        return decode_statistics(self._ask())

    def events(self) -> EventSource:
        return self._events

    def close(self) -> None:
        self._events.close()
        self._netlink.close()

    def _get_link(self) -> Link:
        return _link(self._ask())

    def _ask(self) -> bytes:
        """What the kernel tells of the link."""
        (answer,) = self._request(RTM_GETLINK, encode_link(self._index))
        return answer

    def _state(self) -> tuple[Link, list[Address]]:
        return self._get_link(), self.addresses()

    def _request(self, kind: int, body: bytes, flags: int = 0) -> list[bytes]:
        with self._explained():
            return self._netlink.request(kind, body, flags)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Raise what an error means, where that does not depend on the request."""
        try:
            yield
        except OSError as exc:
            if exc.errno == errno.ENODEV:
                name = self._queue.name  # raises InterfaceGoneError if it was deleted
                raise InterfaceGoneError(
                    errno.EBADFD,
                    f"interface {name!r} is in another network namespace: its packets still "
                    "flow, but only from there can it be looked at and changed",
                ) from exc
            if exc.errno == errno.EBADF:
                raise ClosedError from exc
            raise


def _link(answer: bytes) -> Link:
    link = decode_link(answer)
    if link is None:
        raise TunError(errno.EBADMSG, "the kernel answered without a link")
    return link


def _explain_address(exc: OSError, address: Address, done: str) -> None:
    """Raise what the error means for an address that was to be added or removed."""
    what = f"address {address} cannot be {done}"
    if exc.errno == errno.EEXIST:
        raise AddressError(f"{what}: the interface has it already", exc.errno) from exc
    if exc.errno in (errno.EADDRNOTAVAIL, errno.ENXIO):  # ENXIO: without IPv6
        reason = "no interface can have it" if done == "added" else "the interface lacks it"
        raise AddressError(f"{what}: {reason} ({exc.strerror})", exc.errno) from exc
    what += f": {exc.strerror}"
    if exc.errno == errno.EINVAL:
        hint = " (IPv6 needs an MTU of 1280 or more)" if address.interface.version == 6 else ""
        raise AddressError(what + hint, exc.errno) from exc
    if exc.errno in (errno.EACCES, errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
        raise UnsupportedError(
            errno.EOPNOTSUPP,
            what,
            remedies=NO_IPV6.remedies,
        ) from exc


def _user_id(owner: int | str) -> int:
    if isinstance(owner, int):
        return owner
    try:
        return pwd.getpwnam(owner).pw_uid
    except KeyError:
        raise ConfigError(f"there is no user {owner!r}") from None


def _group_id(group: int | str) -> int:
    if isinstance(group, int):
        return group
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ConfigError(f"there is no group {group!r}") from None
