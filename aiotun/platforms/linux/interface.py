"""The interface of a TUN or TAP, asked about and changed through rtnetlink."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import errno

from ...config import Address, DeviceConfig, check_mtu
from ...errors import (
    AddressError,
    ClosedError,
    InterfaceGoneError,
    MTUError,
    NoCapabilityError,
    TunError,
    UnsupportedError,
)
from ..base import EventSource, Interface, InterfaceStatistics
from .events import NetlinkEvents
from .netlink import NetlinkSocket
from .rtnetlink import (
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    RTM_DELADDR,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_NEWADDR,
    RTM_SETLINK,
    Link,
    decode_address,
    decode_link,
    decode_statistics,
    encode_address,
    encode_address_dump,
    encode_link,
)
from .tun import TunQueue

__all__ = ["LinuxInterface"]


class LinuxInterface(Interface):
    """Bound to an interface index in the network namespace in which it was made.

    Usable from any thread, whatever that thread's namespace. While the interface
    is in another namespace its packets still flow, but every method here raises
    `InterfaceGoneError`, until it comes back with the same index.
    """

    def __init__(self, queue: TunQueue, config: DeviceConfig) -> None:
        """Find the queue's interface and make it what `config` says."""
        self._queue = queue
        self._netlink = NetlinkSocket()
        try:
            link = _link(self._request(RTM_GETLINK, encode_link(name=queue.name)))
            self._index = link.index
            self._configure(link, config)
            self._events = NetlinkEvents(queue, self._index, self._state)
        except BaseException:
            self._netlink.close()
            raise

    def _configure(self, link: Link, config: DeviceConfig) -> None:
        # Only what differs: an unprivileged user may attach to an interface that an
        # administrator configured, but not configure it.
        if config.mtu not in (None, link.mtu):
            self.set_mtu(config.mtu)
        if config.addresses:
            present = self.addresses()
            for address in config.addresses:
                if address not in present:
                    self.add_address(address)
        if config.up and not link.up:
            self.set_up(True)

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
        body = encode_address(self._index, address)
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
        try:
            return self._netlink.request(kind, body, flags)
        except OSError as exc:
            self._explain(exc)
            raise

    def _explain(self, exc: OSError) -> None:
        """Raise what the error means, where that does not depend on the request."""
        if exc.errno == errno.ENODEV:
            name = self._queue.name  # raises InterfaceGoneError if it was deleted
            raise InterfaceGoneError(
                errno.EBADFD,
                f"interface {name!r} is in another network namespace: its packets still flow, "
                "but only from there can it be looked at and changed",
            ) from exc
        if exc.errno == errno.EPERM:
            raise NoCapabilityError(
                errno.EPERM,
                "this process may not change the interface: it lacks CAP_NET_ADMIN. Run it with "
                "sudo, or let an administrator configure the interface (ip link, ip address)",
            ) from exc
        if exc.errno == errno.EBADF:
            raise ClosedError from exc


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
            f"{what}; allow IPv6 (sysctl net.ipv6.conf.NAME.disable_ipv6=0)",
        ) from exc
