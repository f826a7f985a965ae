"""MODEL of what the BSDs and macOS have in common: interfaces, ioctls, routes, sysctl's tables."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from aiotun.platforms.bsd.base import System
from aiotun.platforms.bsd.headers import common
from aiotun.platforms.bsd.kernel import Argument, Kernel

IP = IPv4Address | IPv6Address


def fail(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@dataclass
class Given:
    """An address of an interface."""

    ip: IP
    prefix: int
    other: IP | None
    """The peer, or the broadcast address."""
    flags: int = 0


@dataclass
class Interface:
    name: str
    index: int
    layer: str
    flags: int
    mtu: int = 1500
    mac: bytes = b""
    stays: bool = False
    head: bool = True
    """Whether the family stands in front."""
    ready: bool = True
    """Whether reads do anything but fail with EHOSTDOWN."""
    addresses: list[Given] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)
    nd_flags: int = 0x1 | 0x8 | 0x20
    """ND6_IFF_PERFORMNUD, IFDISABLED, AUTO_LINKLOCAL"""
    stack: socket.socket | None = None
    """The kernel's end of an open descriptor."""
    fd: int | None = None
    gone: bool = False

    def count(self, packets: str, octets: str, size: int) -> None:
        self.counters[packets] = self.counters.get(packets, 0) + 1
        self.counters[octets] = self.counters.get(octets, 0) + size


@dataclass
class Route:
    destination: IP
    prefix: int
    gateway: IP | None
    index: int
    flags: int


class ModelKernel(Kernel):
    """Answers the system calls. A subclass has what one system's drivers do."""

    system: type[System]
    route_by_index: bool
    embeds_scope = True
    """Whether a link-local gateway has its index within the address; otherwise as its scope."""

    def __init__(self) -> None:
        self.headers = self.system.headers
        self.interfaces: dict[int, Interface] = {}
        self.dead: list[Interface] = []
        """Those that were destroyed while they were open."""
        self.routes: list[Route] = []
        self.routing = threading.RLock()
        """Held while routes change or are read, which threads do."""
        self.privileged = True
        self.listeners: dict[int, socket.socket] = {}
        """Routing sockets: the kernel's end of each."""
        self.lost: set[int] = set()
        """Routing sockets that lost messages, and have not been told."""
        self.rerror: set[int] = set()
        self.refusals: dict[str, list[int]] = {"read": [], "write": []}
        """Errnos that the next reads and writes of a device fail with."""
        self._sockets: dict[int, int] = {}  # descriptor: family
        self._last = 10  # index
        h = self.headers
        self.ioctls: dict[int, Callable[[Any], None]] = {
            h.SIOCIFDESTROY: self.destroy,
            h.SIOCGIFFLAGS: self.get_flags,
            h.SIOCSIFFLAGS: self.set_flags,
            h.SIOCSIFMTU: self.set_mtu,
            h.SIOCAIFADDR: self.add_ipv4,
            h.SIOCDIFADDR: self.remove_ipv4,
        }
        self.ioctls6: dict[int, Callable[[Any], None]] = {
            h.SIOCAIFADDR_IN6: self.add_ipv6,
            h.SIOCDIFADDR_IN6: self.remove_ipv6,
        }
        if hasattr(h, "SIOCSIFINFO_FLAGS"):
            self.ioctls6[h.SIOCGIFINFO_IN6] = self.get_nd_flags
            self.ioctls6[h.SIOCSIFINFO_FLAGS] = self.set_nd_flags

    # Interfaces.

    def make(self, name: str, layer: str, **state: Any) -> Interface:
        """A new interface."""
        assert not any(each.name == name for each in self.interfaces.values())
        self._last += 1
        flags = common.IFF_MULTICAST | (
            common.IFF_POINTOPOINT if layer == "tun" else common.IFF_BROADCAST
        )
        mac = bytes([2, 0, 0, 0, 0, self._last]) if layer == "tap" else b""
        made = Interface(name, self._last, layer, flags, mac=mac)
        for key, value in state.items():
            setattr(made, key, value)
        self.interfaces[made.index] = made
        self.announce_arrival(made, 0)
        return made

    def find(self, name: str | bytes) -> Interface:
        name = name.decode() if isinstance(name, bytes) else name
        for each in self.interfaces.values():
            if each.name == name:
                return each
        raise fail(errno.ENXIO)

    def free_unit(self, kind: str) -> str:
        names = {each.name for each in self.interfaces.values()}
        return next(f"{kind}{n}" for n in range(1000) if f"{kind}{n}" not in names)

    def attach(self, interface: Interface) -> int:
        """A descriptor of it."""
        if interface.fd is not None:
            raise fail(errno.EBUSY)
        ours, interface.stack = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        interface.stack.setblocking(False)
        interface.fd = ours.detach()
        return interface.fd

    def of_fd(self, fd: int) -> Interface | None:
        return next(
            (each for each in [*self.interfaces.values(), *self.dead] if each.fd == fd), None
        )

    def remove(self, interface: Interface) -> None:
        """It is destroyed, its descriptor or not being open."""
        self.interfaces.pop(interface.index, None)
        self.routes = [each for each in self.routes if each.index != interface.index]
        interface.gone = True
        if interface.fd is not None:
            self.dead.append(interface)
        if interface.stack is not None:
            interface.stack.close()
            interface.stack = None
        self.announce_arrival(interface, 1)

    def clear(self, interface: Interface) -> None:
        """Down, without addresses and routes."""
        interface.flags &= ~(common.IFF_UP | common.IFF_RUNNING)
        for each in interface.addresses[:]:
            self._drop(interface, each)
        self.routes = [each for each in self.routes if each.index != interface.index]
        self.announce_link(interface)

    def closed(self, interface: Interface) -> None:
        """What the last close does."""
        raise NotImplementedError

    # System calls.

    def open(self, path: str) -> int:
        if not self.privileged:
            raise fail(errno.EACCES)
        return self.open_path(path)

    def open_path(self, path: str) -> int:
        raise NotImplementedError

    def socket(self, family: int, kind: int, protocol: int = 0) -> int:
        if family == self.headers.AF_ROUTE and kind == socket.SOCK_RAW:
            ours, listener = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            ours.setblocking(False)
            listener.setblocking(False)
            fd = ours.detach()
            self.listeners[fd] = listener
        elif family in (common.AF_INET, self.headers.AF_INET6) and kind == socket.SOCK_DGRAM:
            fd = os.open(os.devnull, os.O_RDWR)
        else:
            raise fail(errno.EAFNOSUPPORT)
        self._sockets[fd] = family
        return fd

    def setsockopt(self, fd: int, level: int, option: int, value: int) -> None:
        if (level, option) != (0xFFFF, getattr(self.headers, "SO_RERROR", None)):
            raise fail(errno.ENOPROTOOPT)
        self.rerror.add(fd)

    def close(self, fd: int) -> None:
        self._sockets.pop(fd, None)
        listener = self.listeners.pop(fd, None)
        os.close(fd)
        if listener is not None:
            listener.close()
        interface = self.of_fd(fd)
        if interface is not None:
            interface.fd = None
            if interface.stack is not None:
                interface.stack.close()
                interface.stack = None
            if interface.gone:
                self.dead.remove(interface)
            else:
                self.closed(interface)

    def read(self, fd: int, size: int) -> bytes:
        interface = self.of_fd(fd)
        if interface is None:
            if fd in self.lost:
                self.lost.discard(fd)
                if fd in self.rerror:
                    raise fail(errno.ENOBUFS)
            return os.read(fd, size)
        if self.refusals["read"]:
            raise fail(self.refusals["read"].pop(0))
        return self.read_device(interface, size)

    def read_device(self, interface: Interface, size: int) -> bytes:
        if interface.gone:
            raise fail(errno.ENXIO)
        if not self.is_ready(interface):
            raise fail(errno.EHOSTDOWN)
        assert interface.fd is not None
        return os.read(interface.fd, size)

    def is_ready(self, interface: Interface) -> bool:
        return bool(interface.flags & common.IFF_UP)

    def write(self, fd: int, data: bytes) -> int:
        if fd in self.listeners:
            with self.routing:
                self.change_route(data)
            return len(data)
        interface = self.of_fd(fd)
        assert interface is not None
        if self.refusals["write"]:
            raise fail(self.refusals["write"].pop(0))
        if interface.gone:
            raise fail(errno.ENXIO)
        self.check_written(interface, data)
        return os.write(fd, data)

    def check_written(self, interface: Interface, data: bytes) -> None:
        """Raise what the driver raises for a frame that it refuses."""
        if interface.layer == "tun":
            if len(data) < 4:
                raise fail(errno.EIO)
            if int.from_bytes(data[:4], "big") not in (common.AF_INET, self.headers.AF_INET6):
                raise fail(errno.EAFNOSUPPORT)

    def ioctl(self, fd: int, request: int, argument: Argument = 0) -> None:
        size = request >> 16 & 0x1FFF
        given = 0 if isinstance(argument, int) else ctypes.sizeof(argument)
        assert size == given, f"ioctl {request:#x} takes {size} bytes, not {given}"
        if fd in self._sockets:
            table = self.ioctls6 if self._sockets[fd] == self.headers.AF_INET6 else self.ioctls
            if request not in table:
                raise fail(errno.ENOTTY)
            if request & 0x8000_0000 and not self.privileged:
                raise fail(errno.EPERM)
            table[request](argument)
            return
        interface = self.of_fd(fd)
        assert interface is not None
        if interface.gone:
            raise fail(errno.ENXIO)
        self.ioctl_device(interface, request, argument)

    def ioctl_device(self, interface: Interface, request: int, argument: Any) -> None:
        raise fail(errno.ENOTTY)

    def index(self, name: str) -> int:
        return self.find(name).index

    def name(self, index: int) -> str:
        if index not in self.interfaces:
            raise fail(errno.ENXIO)
        return self.interfaces[index].name

    # ioctls of sockets.

    def destroy(self, request: Any) -> None:
        self.remove(self.find(request.ifr_name))

    def get_flags(self, request: Any) -> None:
        request.ifr_flags = self.find(request.ifr_name).flags & 0xFFFF

    def set_flags(self, request: Any) -> None:
        interface = self.find(request.ifr_name)
        changeable = common.IFF_UP
        interface.flags = interface.flags & ~changeable | request.ifr_flags & changeable
        self.set_running(interface)
        self.announce_link(interface)

    def set_running(self, interface: Interface) -> None:
        if interface.flags & common.IFF_UP:
            interface.flags |= common.IFF_RUNNING
        else:
            interface.flags &= ~common.IFF_RUNNING

    def set_mtu(self, request: Any) -> None:
        interface = self.find(request.ifr_name)
        least, most = self.mtu_range(interface)
        if not least <= request.ifr_mtu <= most:
            raise fail(errno.EINVAL)
        interface.mtu = request.ifr_mtu
        self.announce_link(interface)

    def mtu_range(self, interface: Interface) -> tuple[int, int]:
        raise NotImplementedError

    def add_ipv4(self, request: Any) -> None:
        interface = self.find(request.ifra_name)
        ip, mask = self.ip_of(request.ifra_addr), self.ip_of(request.ifra_mask)
        if not isinstance(ip, IPv4Address) or mask is None:
            raise fail(errno.EINVAL)
        other = self.ip_of(request.ifra_broadaddr)
        self.check_ipv4(interface, other)
        self.put(interface, Given(ip, int(mask).bit_count(), other))

    def check_ipv4(self, interface: Interface, other: IP | None) -> None:
        """Raise what the system raises for a peer or broadcast address."""

    def put(self, interface: Interface, given: Given) -> None:
        """Give it the address, in the place of the same one; that sets the interface up."""
        interface.addresses = [each for each in interface.addresses if each.ip != given.ip]
        interface.addresses.append(given)
        interface.flags |= common.IFF_UP
        self.set_running(interface)
        self.announce_address(interface, given, self.headers.RTM_NEWADDR)

    def remove_ipv4(self, request: Any) -> None:
        data = bytes(request.ifr_addr)
        self.drop(self.find(request.ifr_name), ip_address(data[4:8]))

    def add_ipv6(self, request: Any) -> None:
        interface = self.find(request.ifra_name)
        ip, mask = self.ip_of(request.ifra_addr), self.ip_of(request.ifra_prefixmask)
        peer = self.ip_of(request.ifra_dstaddr)
        if not isinstance(ip, IPv6Address) or mask is None:
            raise fail(errno.EINVAL)
        prefix = int(mask).bit_count()
        if peer is not None and prefix != 128:
            raise fail(errno.EINVAL)
        if request.ifra_lifetime.ia6t_vltime == 0:
            raise fail(errno.EINVAL)
        if hasattr(self.headers, "ND6_IFF_IFDISABLED"):
            assert not interface.nd_flags & self.headers.ND6_IFF_IFDISABLED
        self.check_flags(request.ifra_flags)
        self.put(interface, Given(ip, prefix, peer, request.ifra_flags))

    def check_flags(self, flags: int) -> None:
        """Raise what the system raises for flags of an IPv6 address."""

    def remove_ipv6(self, request: Any) -> None:
        ip = self.ip_of(request.ifr_addr)
        assert ip is not None
        self.drop(self.find(request.ifr_name), ip)

    def drop(self, interface: Interface, ip: IP) -> None:
        for each in interface.addresses:
            if each.ip == ip:
                self._drop(interface, each)
                return
        raise fail(errno.EADDRNOTAVAIL)

    def _drop(self, interface: Interface, given: Given) -> None:
        interface.addresses.remove(given)
        self.announce_address(interface, given, self.headers.RTM_DELADDR)

    def get_nd_flags(self, request: Any) -> None:
        request.ndi.flags = self.find(request.ifname).nd_flags

    def set_nd_flags(self, request: Any) -> None:
        assert request.ndi.flags & 0x1, "the other flags went"
        self.find(request.ifname).nd_flags = request.ndi.flags

    def ip_of(self, sockaddr: Any) -> IP | None:
        """What a sockaddr says; None if it is zeroed."""
        data = bytes(sockaddr)
        if data[:2] == bytes([16, common.AF_INET]):
            return ip_address(data[4:8])
        if data[:2] == bytes([28, self.headers.AF_INET6]):
            ip = ip_address(data[8:24])
            return ip_address(data[8:10] + bytes(2) + data[12:24]) if ip.is_link_local else ip
        if any(data):
            raise fail(errno.EAFNOSUPPORT)
        return None

    # The routing socket.

    def change_route(self, message: bytes) -> None:
        h = self.headers
        if not self.privileged:
            raise fail(errno.EACCES)
        head = h.rt_msghdr.from_buffer_copy(message)
        if head.rtm_version != h.RTM_VERSION:
            raise fail(errno.EPROTONOSUPPORT)
        if head.rtm_msglen != len(message):
            raise fail(errno.EINVAL)
        parts = dict(self.sockaddrs(message[ctypes.sizeof(head) :], head.rtm_addrs))
        destination = self.ip_of(parts[common.RTA_DST])
        assert destination is not None
        full = destination.max_prefixlen
        mask = self.ip_of(parts[common.RTA_NETMASK]) if common.RTA_NETMASK in parts else None
        prefix = full if head.rtm_flags & common.RTF_HOST else int(mask or 0).bit_count()
        same = [r for r in self.routes if (r.destination, r.prefix) == (destination, prefix)]
        if head.rtm_type == common.RTM_ADD:
            if same:
                raise fail(errno.EEXIST)
            gateway, index = self.resolve(head, parts[common.RTA_GATEWAY])
            self.routes.append(Route(destination, prefix, gateway, index, head.rtm_flags))
        elif head.rtm_type == common.RTM_DELETE:
            if not same:
                raise fail(errno.ESRCH)
            self.routes.remove(same[0])
        else:
            raise fail(errno.EOPNOTSUPP)
        self.announce(message)

    def resolve(self, head: Any, gateway: bytes) -> tuple[IP | None, int]:
        """The gateway and the interface of a route that is added."""
        if head.rtm_flags & common.RTF_GATEWAY:
            ip, scope = self.ip_of(gateway), self.scope_of(gateway)
            for each in self.interfaces.values():
                near = any(ip in (a.ip, a.other) or self.is_near(a, ip) for a in each.addresses)
                if near and scope in (None, each.index):
                    return ip, each.index
            raise fail(errno.ENETUNREACH)
        if self.route_by_index:
            if gateway[1] != common.AF_LINK:
                raise fail(errno.EINVAL)
            index = int.from_bytes(gateway[2:4], "little")
            if index not in self.interfaces:
                raise fail(errno.ENETUNREACH)
            return None, index
        ip = self.ip_of(gateway)
        for each in self.interfaces.values():
            if any(a.ip == ip for a in each.addresses):
                return None, each.index
        raise fail(errno.ENETUNREACH)

    def scope_of(self, gateway: bytes) -> int | None:
        """The index that a link-local gateway has to name: within the address as KAME had it, but
        on FreeBSD as its scope. None for any other gateway."""
        if gateway[1] == common.AF_INET or not IPv6Address(gateway[8:24]).is_link_local:
            return None
        if self.embeds_scope:
            return int.from_bytes(gateway[10:12], "big")
        return int.from_bytes(gateway[24:28], "little")

    def is_near(self, given: Given, ip: IP | None) -> bool:
        if ip is None or given.ip.version != ip.version:
            return False
        shift = given.ip.max_prefixlen - given.prefix
        return int(given.ip) >> shift == int(ip) >> shift

    def sockaddrs(self, data: bytes, bits: int) -> Iterator[tuple[int, bytes]]:
        for bit in (1 << n for n in range(self.headers.RTAX_MAX)):
            if bits & bit:
                size = data[0]
                step = max(size + -size % self.system.rounding, self.system.rounding)
                assert len(data) >= step, "a sockaddr is cut short"
                yield bit, data[:size]
                data = data[step:]
        assert not data, "bytes behind the sockaddrs"

    def announce(self, message: bytes) -> None:
        for fd, listener in list(self.listeners.items()):
            try:
                listener.send(message)
            except BlockingIOError:
                self.lost.add(fd)
            except OSError:  # another thread is closing it
                continue

    def announce_link(self, interface: Interface) -> None:
        if not interface.gone:
            self.announce(self.link_message(interface, self.headers.if_msghdr, "RTM_IFINFO"))

    def announce_address(self, interface: Interface, given: Given, kind: int) -> None:
        self.announce(self.address_message(interface, given, kind))

    def announce_arrival(self, interface: Interface, what: int) -> None:
        if not hasattr(self.headers, "if_announcemsghdr"):
            return
        head = self.headers.if_announcemsghdr(
            ifan_index=interface.index, ifan_name=interface.name.encode(), ifan_what=what
        )
        self.announce(self.message(head, "ifan", self.headers.RTM_IFANNOUNCE, b""))

    # sysctl's tables.

    def sysctl(self, path: Sequence[int]) -> bytes:
        net, family, protocol, of, which, argument = path
        assert (net, family, protocol, of) == (4, self.headers.AF_ROUTE, 0, 0)
        if which == common.NET_RT_DUMP:
            with self.routing:
                return b"".join(map(self.route_message, self.routes))
        assert which == self.system.interface_list
        return b"".join(
            self.table_of(each) for each in self.interfaces.values() if argument in (0, each.index)
        )

    def table_of(self, interface: Interface) -> bytes:
        kind = "RTM_IFINFO2" if hasattr(self.headers, "RTM_IFINFO2") else "RTM_IFINFO"
        table = self.link_message(interface, self.system.link_message, kind)
        for given in interface.addresses:
            table += self.address_message(interface, given, self.headers.RTM_NEWADDR)
        return table

    def link_message(self, interface: Interface, struct: type[Any], kind: str) -> bytes:
        h = self.headers
        head = struct(
            ifm_addrs=common.RTA_IFP, ifm_flags=interface.flags, ifm_index=interface.index
        )
        if hasattr(head, "ifm_data"):
            head.ifm_data.ifi_mtu = interface.mtu
            for counter, value in interface.counters.items():
                if hasattr(head.ifm_data, counter):
                    setattr(head.ifm_data, counter, value)
        name = interface.name.encode()
        size = max(ctypes.sizeof(h.sockaddr_dl), 8 + len(name) + len(interface.mac))
        body = bytes([size, common.AF_LINK])
        body += interface.index.to_bytes(2, "little")
        body += bytes([6, len(name), len(interface.mac), 0]) + name + interface.mac
        return self.message(head, "ifm", getattr(h, kind), self.padded(body.ljust(size, b"\0")))

    def address_message(self, interface: Interface, given: Given, kind: int) -> bytes:
        """NETMASK, IFP, IFA and BRD, the netmask without the zeros at its end."""
        h, version = self.headers, given.ip.version
        ones = (1 << given.prefix) - 1 << given.ip.max_prefixlen - given.prefix
        packed = ones.to_bytes(given.ip.max_prefixlen // 8, "big").rstrip(b"\0")
        mask = bytes(2) + bytes(2 if version == 4 else 6) + packed
        mask = bytes([len(mask) if packed else 0]) + mask[1:]
        parts = {
            common.RTA_NETMASK: mask,
            common.RTA_IFP: bytes([8, common.AF_LINK, *bytes(6)]),
            common.RTA_IFA: self.sockaddr(given.ip, interface.index),
        }
        if given.other is not None:
            parts[common.RTA_BRD] = self.sockaddr(given.other, interface.index)
        head = h.ifa_msghdr(ifam_addrs=sum(parts), ifam_index=interface.index)
        return self.message(head, "ifam", kind, b"".join(map(self.padded, parts.values())))

    def route_message(self, route: Route) -> bytes:
        h = self.headers
        ones = (1 << route.prefix) - 1 << route.destination.max_prefixlen - route.prefix
        gateway = (
            bytes([20, common.AF_LINK]) + route.index.to_bytes(2, "little") + bytes(16)
            if route.gateway is None
            else self.sockaddr(route.gateway, route.index)
        )
        parts = {
            common.RTA_DST: self.sockaddr(route.destination, 0),
            common.RTA_GATEWAY: gateway,
        }
        if not route.flags & common.RTF_HOST:
            parts[common.RTA_NETMASK] = self.sockaddr(type(route.destination)(ones), 0)
        head = h.rt_msghdr(rtm_addrs=sum(parts), rtm_index=route.index, rtm_flags=route.flags)
        return self.message(head, "rtm", common.RTM_GET, b"".join(map(self.padded, parts.values())))

    def sockaddr(self, ip: IP, index: int) -> bytes:
        if ip.version == 4:
            return bytes([16, common.AF_INET, 0, 0]) + ip.packed + bytes(8)
        packed = ip.packed
        if ip.is_link_local:  # as KAME has it
            packed = packed[:2] + index.to_bytes(2, "big") + packed[4:]
        return bytes([28, self.headers.AF_INET6]) + bytes(6) + packed + bytes(4)

    def padded(self, part: bytes) -> bytes:
        return part.ljust(
            max(len(part) + -len(part) % self.system.rounding, self.system.rounding), b"\0"
        )

    def message(self, head: Any, prefix: str, kind: int, body: bytes) -> bytes:
        setattr(head, f"{prefix}_msglen", ctypes.sizeof(head) + len(body))
        setattr(head, f"{prefix}_version", self.headers.RTM_VERSION)
        setattr(head, f"{prefix}_type", kind)
        if hasattr(head, f"{prefix}_hdrlen"):
            setattr(head, f"{prefix}_hdrlen", ctypes.sizeof(head))
        return bytes(head) + body

    # What the kernel's stack does with an open device.

    def emit(self, name: str, packet: bytes) -> bool:
        """The stack sends a packet out of the interface; False if the interface drops it."""
        interface = self.find(name)
        if not self.is_ready(interface) or interface.stack is None:
            interface.counters["ifi_oqdrops"] = interface.counters.get("ifi_oqdrops", 0) + 1
            return False
        interface.count("ifi_opackets", "ifi_obytes", len(packet))
        interface.stack.send(self.framed(interface, packet))
        return True

    def framed(self, interface: Interface, packet: bytes) -> bytes:
        if interface.layer == "tap":
            return packet
        assert interface.head, "without the family only IPv4 comes out: the package wants both"
        family = self.headers.AF_INET6 if packet[0] >> 4 == 6 else common.AF_INET
        return family.to_bytes(4, "big") + packet

    def taken(self, name: str, timeout: float = 2.0) -> bytes:
        """The next packet that the program wrote and the stack takes. Raises `TimeoutError`."""
        interface = self.find(name)
        stack = interface.stack
        assert stack is not None
        if not select.select([stack], [], [], timeout)[0]:
            raise TimeoutError
        frame = stack.recv(1 << 17)
        self.check_written(interface, frame)
        packet = frame if interface.layer == "tap" else frame[4:]
        interface.count("ifi_ipackets", "ifi_ibytes", len(packet))
        return packet

    @contextmanager
    def unprivileged(self) -> Iterator[None]:
        self.privileged = False
        try:
            yield
        finally:
            self.privileged = True
