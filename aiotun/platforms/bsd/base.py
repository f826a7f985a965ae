"""System: what tells FreeBSD, NetBSD, OpenBSD and macOS from each other.

All four have the ioctls of 4.4BSD, a routing socket and the tables of sysctl. What is alike stands
beside this file; each system's own file has its numbers, and how it makes devices.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import errno
import itertools
from abc import ABC, abstractmethod
from contextlib import ExitStack, closing, suppress
from ctypes import Structure, c_int
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from ...config import DeviceConfig, Layer
from ...errors import (
    InterfaceGoneError,
    MTUError,
    NameInUseError,
    NameInvalidError,
    NoDriverError,
    NotPermittedError,
    UnsupportedError,
)
from .headers.common import AF_INET, AF_LINK, SOCK_DGRAM
from .kernel import Argument, Kernel

if TYPE_CHECKING:
    from .queue import BsdQueue

__all__ = ["Control", "System", "is_unit"]


class System(ABC):
    """One of the systems, as far as it differs from the others. Stateless but for its kernel."""

    name: ClassVar[str]
    headers: ModuleType
    rounding: ClassVar[int] = 8
    """To how many bytes the sockaddrs in a routing message are rounded up."""
    interface_list: ClassVar[int]
    """Which of sysctl's tables lists interfaces,"""
    link_kind: ClassVar[int]
    """the type of its messages about an interface,"""
    link_message: ClassVar[type[Structure]]
    """and their struct."""
    kinds: ClassVar[dict[Layer, str]] = {"tun": "tun", "tap": "tap"}
    """What the names of interfaces begin with."""
    gone: ClassVar[frozenset[int]] = frozenset({errno.ENXIO})
    """What a descriptor says whose interface was deleted."""
    tun_mtu: ClassVar[tuple[int, int]]
    tap_mtu: ClassVar[tuple[int, int]]
    """The smallest and the largest MTU."""
    names_routes_by_index: ClassVar[bool]
    """Whether a route to an interface names its index; otherwise it names its address."""
    wants_peer: ClassVar[bool]
    """Whether an IPv4 address of a point-to-point interface needs a peer: its own then."""
    counts_present_addresses: ClassVar[bool] = False
    """Whether a tun is ready only once an address is set while it has one."""
    no_dad: ClassVar[int] = 0
    """The flag of an IPv6 address that is used without duplicate address detection."""
    embeds_scope: ClassVar[bool] = True
    """Whether a link-local gateway has its interface's index within the address, as KAME had it;
    otherwise as its scope."""
    overflow_option: ClassVar[int | None] = None
    """The option of a socket after which it tells that it lost messages."""
    missing: ClassVar[frozenset[str]] = frozenset(
        {"mtu_v6", "tx_queue_len", "owner", "group", "carrier", "metric", "namespace"}
    )
    """The fields of `DeviceConfig` that no such system has."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    @abstractmethod
    def open_queue(self, config: DeviceConfig, undo: ExitStack) -> BsdQueue:
        """Make the interface, or attach to it; `undo` takes it back until all has succeeded."""

    def check(self, config: DeviceConfig) -> None:
        """Raise `UnsupportedError`, `NameInvalidError` or `MTUError` for what there is not here."""
        for field in sorted(self.missing):
            if getattr(config, field) is not None:
                raise UnsupportedError(
                    errno.EOPNOTSUPP,
                    f"{self.name} has no {field} for devices",
                    remedies=(f"leave {field} out",),
                )
        if config.multi_queue:
            raise UnsupportedError(
                errno.EOPNOTSUPP,
                f"a device has one queue on {self.name}",
                remedies=("leave multi_queue out",),
            )
        self.check_name(config.name, config.layer)
        if config.mtu is not None:
            self.check_mtu(config.mtu, config.layer)

    def check_name(self, name: str | None, layer: Layer) -> None:
        """Raise `NameInvalidError` unless an interface can have that name."""
        kind = self.kinds[layer]
        if name not in (None, f"{kind}%d") and not is_unit(name, kind):
            raise NameInvalidError(
                f"on {self.name} a {layer} cannot be called {name!r}: "
                f'only "{kind}" and a number, or "{kind}%d" for any'
            )

    def check_mtu(self, mtu: int, layer: Layer) -> None:
        least, most = self.tun_mtu if layer == "tun" else self.tap_mtu
        if not least <= mtu <= most:
            raise MTUError(
                f"mtu {mtu} is out of range: {least} to {most} for a {layer} on {self.name}"
            )

    def set_mac(self, control: Control, name: str, mac: bytes) -> None:
        request = control.request(name)
        request.ifr_addr.sa_len = len(mac)
        request.ifr_addr.sa_family = AF_LINK
        request.ifr_addr.sa_data[: len(mac)] = mac
        control.call(self.headers.SIOCSIFLLADDR, request)

    def set_name(self, control: Control, name: str, new: str) -> None:
        raise UnsupportedError(errno.EOPNOTSUPP, f"{self.name} renames no interfaces")

    def set_mtu(self, control: Control, queue: BsdQueue, name: str, mtu: int) -> None:
        request = control.request(name)
        request.ifr_mtu = mtu
        control.call(self.headers.SIOCSIFMTU, request)

    def set_persistent(self, queue: BsdQueue, persistent: bool) -> None:
        if persistent and not queue.stays:
            raise UnsupportedError(
                errno.EOPNOTSUPP,
                f"on {self.name} this device ends with its descriptor",
                remedies=("make it with persistent=True, where the system can",),
            )
        queue.destroys = queue.stays and not persistent

    def destroy(self, index: int) -> None:
        """Destroy an interface, if it is still there."""
        with suppress(OSError), closing(Control(self)) as control:
            control.call(self.headers.SIOCIFDESTROY, control.request(self.kernel.name(index)))

    def create(self, name: str) -> str:
        """Make an interface as ifconfig(8) does, so that it stays; return its name."""
        with closing(Control(self)) as control:
            request = control.request(name)
            control.call(self.headers.SIOCIFCREATE, request)
            return bytes(request.ifr_name).decode()

    def quieten(self, control: Control, name: str) -> None:
        """Let the interface get no link-local IPv6 address of its own, where it gets one."""
        if hasattr(self.headers, "ND6_IFF_AUTO_LINKLOCAL"):
            self.clear_nd_flag(control, name, self.headers.ND6_IFF_AUTO_LINKLOCAL)

    def allow_ipv6(self, control: Control, name: str) -> None:
        """Let the interface have IPv6 addresses, where they are disabled on new ones."""
        if hasattr(self.headers, "ND6_IFF_IFDISABLED"):
            self.clear_nd_flag(control, name, self.headers.ND6_IFF_IFDISABLED)

    def clear_nd_flag(self, control: Control, name: str, flag: int) -> None:
        request = self.headers.in6_ndireq(ifname=name.encode())
        control.call(self.headers.SIOCGIFINFO_IN6, request, 6)
        if request.ndi.flags & flag:
            request.ndi.flags &= ~flag
            control.call(self.headers.SIOCSIFINFO_FLAGS, request, 6)

    def exists(self, name: str) -> bool:
        try:
            self.kernel.index(name)
        except OSError:
            return False
        return True

    def open_node(self, path: str, layer: Layer) -> int:
        """The descriptor of a device node, or the error that says what to do."""
        try:
            return self.kernel.open(path)
        except OSError as exc:
            self.explain_node(exc, path, layer)
            raise

    def explain_node(self, exc: OSError, path: str, layer: Layer) -> None:
        if exc.errno == errno.EBUSY:
            raise NameInUseError(
                exc.errno,
                f"{path} is open elsewhere",
                remedies=(
                    "close it there",
                    f'take another name ("{self.kinds[layer]}%d" lets the system choose)',
                ),
            ) from exc
        if exc.errno in (errno.EPERM, errno.EACCES):
            raise NotPermittedError(
                exc.errno,
                f"this process may not open {path}",
                remedies=("run as root", "let its user open the node (chown, chmod)"),
            ) from exc
        if exc.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
            raise NoDriverError(
                exc.errno,
                f"there is no device behind {path}",
                remedies=self.node_remedies(path, layer),
            ) from exc

    def node_remedies(self, path: str, layer: Layer) -> tuple[str, ...]:
        unit = path.rpartition("/")[2]
        return (f"make the node: cd /dev && sh MAKEDEV {unit}",)

    def open_unit(self, config: DeviceConfig, *, create: bool) -> tuple[int, str, bool]:
        """The descriptor and name of a numbered node, and whether its interface was there before.

        It is the node that is asked for, or the first whose interface is not there. With
        `create` the interface is made first, so that it stays.
        """
        layer = config.layer
        if is_unit(config.name, self.kinds[layer]):
            name = config.name or ""
            self.check_exclusive(name, config.exclusive)
            found = self.exists(name)
            return self._open_unit(name, layer, create=create and not found), name, found
        for number in itertools.count():
            name = f"{self.kinds[layer]}{number}"
            if not self.exists(name):
                with suppress(NameInUseError):  # another program was faster
                    return self._open_unit(name, layer, create=create), name, False
        raise AssertionError("unreachable")

    def _open_unit(self, name: str, layer: Layer, *, create: bool) -> int:
        if create:
            self.create(name)
        try:
            return self.open_node(f"/dev/{name}", layer)
        except OSError:
            if create:
                self.destroy(self.kernel.index(name))
            raise

    def check_exclusive(self, name: str, exclusive: bool) -> None:
        if exclusive and self.exists(name):
            raise NameInUseError(
                errno.EEXIST,
                f"interface {name!r} exists",
                remedies=(
                    "take another name",
                    f"destroy it first (ifconfig {name} destroy)",
                    "attach to it (exclusive=False)",
                ),
            )

    def set_int(self, fd: int, request: int, value: int) -> None:
        self.kernel.ioctl(fd, request, c_int(value))


def is_unit(name: str | None, kind: str) -> bool:
    """Whether it is the kind and a number as the system writes it."""
    number = (name or "").removeprefix(kind)
    return name == f"{kind}{number}" and number.isdecimal() and str(int(number)) == number


class Control:
    """The sockets to which ioctls about an interface go. Raises `OSError`s that explain."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._sockets: dict[int, int] = {}

    def request(self, name: str) -> Any:
        """A struct ifreq about an interface."""
        return self._system.headers.ifreq(ifr_name=name.encode())

    def call(self, request: int, argument: Argument, version: int = 4) -> None:
        """An ioctl. Those about IPv6 addresses want a socket of IPv6.

        Raises `InterfaceGoneError`, `NotPermittedError` and plain `OSError`s.
        """
        family = AF_INET if version == 4 else self._system.headers.AF_INET6
        kernel = self._system.kernel
        if family not in self._sockets:
            self._sockets[family] = kernel.socket(family, SOCK_DGRAM)
        try:
            kernel.ioctl(self._sockets[family], request, argument)
        except PermissionError as exc:
            raise NotPermittedError(
                exc.errno or errno.EPERM,
                "this process may not configure interfaces",
                remedies=("run as root",),
            ) from exc
        except OSError as exc:
            if exc.errno == errno.ENXIO:
                raise InterfaceGoneError(exc.errno, "the interface was deleted") from exc
            raise

    def close(self) -> None:
        while self._sockets:
            self._system.kernel.close(self._sockets.popitem()[1])
