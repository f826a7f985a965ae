"""The interface of a TUN or TAP, asked about and changed through rtnetlink."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import errno
import grp
import os
import pwd
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, TypeVar

from ...config import Address, DeviceConfig, Offload, Route, check_mtu, check_mtu_v6
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
from ..base import EventSource, Interface, InterfaceDetails, InterfaceStatistics
from .events import NetlinkEvents
from .namespace import enter_and_call
from .netlink import NetlinkSocket
from .routing import Routing
from .rtnetlink.addresses import (
    RTM_DELADDR,
    RTM_GETADDR,
    RTM_NEWADDR,
    decode_address,
    decode_broadcast,
    encode_address,
    encode_address_dump,
)
from .rtnetlink.links import (
    RTM_GETLINK,
    RTM_SETLINK,
    Link,
    decode_details,
    decode_link,
    decode_statistics,
    encode_link,
)
from .rtnetlink.messages import NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL
from .tun import TunQueue

__all__ = ["AS_FOUND", "LinuxInterface", "in_namespace_of", "open_here"]

T = TypeVar("T")


AS_FOUND: dict[str, Any] = {
    "addresses": (),
    "mtu": None,
    "mtu_v6": None,
    "up": None,
    "mac": None,
    "tx_queue_len": None,
    "persistent": None,
    "owner": None,
    "group": None,
    "carrier": None,
    "ipv6_quiet": False,
    "routes": (),
    "namespace": None,
}
"""What a further queue of an interface leaves as it is."""


def open_here(config: DeviceConfig) -> tuple[LinuxInterface, TunQueue]:
    """Make the device in the namespace of the calling thread; leave nothing on failure."""
    with ExitStack() as undo:
        queue = TunQueue(config)
        undo.callback(queue.close)
        interface = LinuxInterface(queue, config)
        undo.pop_all()
    return interface, queue


def in_namespace_of(queue: TunQueue, function: Callable[[], T]) -> T:
    """Call the function in the network namespace in which the queue's interface is."""
    try:
        namespace = queue.open_namespace()
    except PermissionError:  # unprivileged, and so where the interface was attached to
        return function()
    try:
        return enter_and_call(namespace, function)
    finally:
        os.close(namespace)


class LinuxInterface(Interface):
    """Bound to an interface index in the network namespace in which it was made.

    Usable from any thread, whatever that thread's namespace. While the interface
    is in another namespace its packets still flow, but every method here raises
    `InterfaceGoneError`, until it comes back with the same index.
    """

    def __init__(self, queue: TunQueue, config: DeviceConfig) -> None:
        """Find the queue's interface and make it what `config` says."""
        self._queue = queue
        self._config = config
        self._netlink = NetlinkSocket()
        self._routing = Routing(self._netlink)
        try:
            answers = self._request(RTM_GETLINK, encode_link(name=queue.name))
            self._index = _link(answers).index
            self._configure(_link(answers), decode_details(answers[0]))
            self._events = NetlinkEvents(queue, self._index, self._state)
        except BaseException:
            self._netlink.close()
            raise

    def _configure(self, link: Link, details: InterfaceDetails) -> None:
        # Only what differs: an unprivileged user may attach to an interface that an
        # administrator configured, but not configure it.
        config = self._config
        if config.ipv6_quiet:
            self._request(RTM_SETLINK, encode_link(self._index, ipv6_quiet=True))
        if config.mac not in (None, details.mac):
            self.set_mac(config.mac)
        if config.mtu not in (None, link.mtu):
            self.set_mtu(config.mtu)
        if config.tx_queue_len not in (None, details.tx_queue_len):
            self.set_tx_queue_len(config.tx_queue_len)
        if config.owner is not None:
            self.set_owner(config.owner)
        if config.group is not None:
            self.set_group(config.group)
        if config.addresses:
            present = self.addresses()
            for address in config.addresses:
                if address not in present:
                    self.add_address(address)
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
                if route not in known:
                    self.add_route(route)
        if config.persistent not in (None, details.persistent):  # last: what fails shall not stay
            self.set_persistent(config.persistent)

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
        try:
            self._request(RTM_SETLINK, encode_link(self._index, mtu=mtu))
        except OSError as exc:
            if exc.errno == errno.EINVAL:
                raise MTUError(f"mtu {mtu} was refused: {exc.strerror}") from exc
            raise

    @property
    def is_up(self) -> bool:
        return self._get_link().up

    def set_up(self, up: bool) -> None:
        self._request(RTM_SETLINK, encode_link(self._index, up=up))

    def addresses(self) -> list[Address]:
        answers = self._request(RTM_GETADDR, encode_address_dump(self._index), NLM_F_DUMP)
        found = [decode_address(body) for body in answers]
        return [entry[1] for entry in found if entry is not None and entry[0] == self._index]

    def add_address(self, address: Address) -> None:
        self._add_address(address, None)

    def _add_address(self, address: Address, broadcast: IPv4Address | None) -> None:
        config = self._config
        body = encode_address(
            self._index,
            address,
            dad=config.dad,
            connected_route=config.connected_routes,
            metric=config.metric,
            broadcast=broadcast,
        )
        try:
            self._request(RTM_NEWADDR, body, NLM_F_CREATE | NLM_F_EXCL)
        except OSError as exc:
            _explain_address(exc, address, "added")
            raise

    def remove_address(self, address: Address) -> None:
        try:
            self._request(RTM_DELADDR, encode_address(self._index, address))
        except OSError as exc:
            _explain_address(exc, address, "removed")
            raise

    def broadcast(self) -> IPv4Address | None:
        for _, broadcast in self._ipv4_addresses():
            if broadcast is not None:
                return broadcast
        return None

    def set_broadcast(self, broadcast: IPv4Address | None) -> None:
        for address, present in self._ipv4_addresses():
            if broadcast != present:
                # The kernel takes an address away and adds it again for this, too
                # (SIOCSIFBRDADDR in net/ipv4/devinet.c). With an interface's last
                # IPv4 address its IPv4 routes go.
                routes = self.routes()
                self.remove_address(address)
                self._add_address(address, broadcast)
                for route in set(routes) - set(self.routes()):
                    self.add_route(route)
            return
        raise AddressError("without an IPv4 address there is no broadcast address: add one first")

    def _ipv4_addresses(self) -> list[tuple[Address, IPv4Address | None]]:
        answers = self._request(RTM_GETADDR, encode_address_dump(self._index), NLM_F_DUMP)
        found = [(decode_address(body), decode_broadcast(body)) for body in answers]
        return [
            (entry[1], broadcast)
            for entry, broadcast in found
            if entry is not None and entry[0] == self._index and entry[1].interface.version == 4
        ]

    def routes(self) -> list[Route]:
        with self._explained():
            entries = self._routing.routes(index=self._index)
        return [entry.route for entry in entries if entry.is_configured]

    def add_route(self, route: Route) -> None:
        with self._explained():
            self._routing.add_route(route, self._index)

    def remove_route(self, route: Route) -> None:
        try:
            with self._explained():
                self._routing.remove_route(route, self._index)
        except RouteError:
            self._get_link()  # with the interface its routes went, and that is the reason then
            raise

    def details(self) -> InterfaceDetails:
        return decode_details(self._request(RTM_GETLINK, encode_link(self._index))[0])

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
                raise MACError(f"MAC address {mac} was refused: {exc.strerror}") from exc
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
            return in_namespace_of(self._queue, lambda: act(path))
        except FileNotFoundError as exc:
            raise UnsupportedError(
                errno.EOPNOTSUPP, f"there is no IPv6 on interface {self._queue.name!r}"
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
        self._request(RTM_SETLINK, encode_link(self._index, tx_queue_len=length))

    def set_carrier(self, carrier: bool) -> None:
        self._queue.set_carrier(carrier)

    def set_persistent(self, persistent: bool) -> None:
        self._queue.set_persistent(persistent)

    def set_owner(self, owner: int | str) -> None:
        self._queue.set_owner(_user_id(owner))

    def set_group(self, group: int | str) -> None:
        self._queue.set_group(_group_id(group))

    def open_queue(self) -> tuple[LinuxInterface, TunQueue]:
        queue = self._queue
        if not queue.multi_queue:
            raise UnsupportedError(
                errno.EOPNOTSUPP,
                "the device was made for one queue",
                remedies=("make it with multi_queue=True",),
            )
        offload: Offload = queue.vnet_hdr
        if queue.tcp_offload != queue.udp_offload:
            offload = "tcp" if queue.tcp_offload else "udp"
        config = replace(
            self._config, name=queue.name, offload=offload, exclusive=False, **AS_FOUND
        )

        return in_namespace_of(queue, lambda: open_here(config))

    def statistics(self) -> InterfaceStatistics:
        return decode_statistics(self._request(RTM_GETLINK, encode_link(self._index))[0])

    def events(self) -> EventSource:
        return self._events

    def close(self) -> None:
        self._events.close()
        self._netlink.close()

    def _get_link(self) -> Link:
        return _link(self._request(RTM_GETLINK, encode_link(self._index)))

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


def _link(answers: list[bytes]) -> Link:
    for body in answers:
        link = decode_link(body)
        if link is not None:
            return link
    raise TunError(errno.EBADMSG, "the kernel answered without a link")


def _explain_address(exc: OSError, address: Address, done: str) -> None:
    """Raise what the error means for an address that was to be added or removed."""
    what = f"address {address} cannot be {done}: {exc.strerror}"
    if exc.errno in (errno.EEXIST, errno.EADDRNOTAVAIL):
        raise AddressError(what) from exc
    if exc.errno == errno.EINVAL:
        hint = " (IPv6 needs an MTU of 1280 or more)" if address.interface.version == 6 else ""
        raise AddressError(what + hint) from exc
    if exc.errno in (errno.EACCES, errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
        raise UnsupportedError(
            errno.EOPNOTSUPP,
            what,
            remedies=("allow IPv6 (sysctl net.ipv6.conf.NAME.disable_ipv6=0)",),
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
