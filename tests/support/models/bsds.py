"""MODELS of tun(4) and tap(4) on FreeBSD, NetBSD and OpenBSD."""

from __future__ import annotations

import ctypes
import errno
from typing import Any

from aiotun.platforms.bsd.freebsd import FreeBSD
from aiotun.platforms.bsd.headers import common, freebsd, netbsd, openbsd
from aiotun.platforms.bsd.netbsd import NetBSD
from aiotun.platforms.bsd.openbsd import OpenBSD

from .kernel import IP, Given, Interface, ModelKernel, fail

OFFLOADS = (
    freebsd.IFCAP_TXCSUM | freebsd.IFCAP_TXCSUM_IPV6 | freebsd.IFCAP_TSO4 | freebsd.IFCAP_TSO6
)

LRO = 0x400


class FreeBSDKernel(ModelKernel):
    """sys/net/if_tuntap.c of FreeBSD 14 and, with `transient`, 15."""

    system = FreeBSD
    route_by_index = True
    embeds_scope = False

    def __init__(self, transient: bool = True) -> None:
        super().__init__()
        self.has_transient = transient
        self.with_header: set[int] = set()
        """TAPs whose frames begin with a virtio_net_hdr."""
        self.capabilities: dict[int, int] = {}
        self.ioctls[freebsd.SIOCGIFCAP] = self.get_capabilities
        self.ioctls[freebsd.SIOCSIFCAP] = self.set_capabilities
        self.transient: set[int] = set()
        self.ioctls[freebsd.SIOCSIFNAME] = self.rename
        self.ioctls[freebsd.SIOCSIFLLADDR] = self.set_mac

    def open_path(self, path: str) -> int:
        unit = path.removeprefix("/dev/")
        kind = unit.rstrip("0123456789")
        name = self.free_unit(unit) if unit == kind else unit
        try:
            interface = self.find(name)
        except OSError:
            if kind not in ("tun", "tap"):
                raise fail(errno.ENOENT) from None
            interface = self.make(name, kind, head=False)
        return self.attach(interface)

    def get_capabilities(self, request: Any) -> None:
        """What there is (the header brings it), and what is in use."""
        index = self.find(request.ifr_name).index
        request.ifr_reqcap = OFFLOADS | LRO if index in self.with_header else 0
        request.ifr_curcap = self.capabilities.get(index, 0)

    def set_capabilities(self, request: Any) -> None:
        index = self.find(request.ifr_name).index
        if request.ifr_reqcap & ~(OFFLOADS | LRO if index in self.with_header else 0):
            raise fail(errno.EINVAL)
        self.capabilities[index] = request.ifr_reqcap

    def framed(self, interface: Interface, packet: bytes) -> bytes:
        header = bytes(10) if interface.index in self.with_header else b""
        return header + super().framed(interface, packet)

    def hand_out(self, name: str, frame: bytes) -> None:
        """The stack sends a super-packet, its virtio_net_hdr in front."""
        interface = self.find(name)
        assert self.capabilities[interface.index] == OFFLOADS
        assert interface.stack is not None
        interface.stack.send(frame)

    def taken(self, name: str, timeout: float = 2.0) -> bytes:
        frame = super().taken(name, timeout)
        return frame[10:] if self.find(name).index in self.with_header else frame

    def closed(self, interface: Interface) -> None:
        interface.head = False
        self.with_header.discard(interface.index)
        self.capabilities.pop(interface.index, None)
        self.clear(interface)
        if interface.index in self.transient:
            self.remove(interface)

    def destroy(self, request: Any) -> None:
        interface = self.find(request.ifr_name)
        assert interface.fd is None, "destroying waits for a close that does not come"
        self.remove(interface)

    def ioctl_device(self, interface: Interface, request: int, argument: Any) -> None:
        if request == freebsd.TUNGIFNAME:
            argument.ifr_name = interface.name.encode()
        elif request == freebsd.TUNSTRANSIENT and self.has_transient:
            change = self.transient.add if argument.value else self.transient.discard
            change(interface.index)
        elif request == freebsd.TAPSVNETHDR and interface.layer == "tap":
            if argument.value not in (0, 10, 12):
                raise fail(errno.EINVAL)
            self.with_header.add(interface.index)
        elif request == freebsd.TUNSIFMODE and interface.layer == "tun":
            set_mode(interface, argument.value)
        elif request == freebsd.TUNSIFHEAD and interface.layer == "tun":
            interface.head = bool(argument.value)
        else:
            raise fail(errno.ENOTTY)

    def rename(self, request: Any) -> None:
        interface = self.find(request.ifr_name)
        new = ctypes.string_at(request.ifr_data).decode()
        if any(each.name == new for each in self.interfaces.values()):
            raise fail(errno.EEXIST)
        self.announce_arrival(interface, 1)
        interface.name = new
        self.announce_arrival(interface, 0)

    def set_mac(self, request: Any) -> None:
        set_mac(self.find(request.ifr_name), request)
        self.announce_link(self.find(request.ifr_name))

    def mtu_range(self, interface: Interface) -> tuple[int, int]:
        return 72, 65535

    def check_ipv4(self, interface: Interface, other: IP | None) -> None:
        if interface.flags & common.IFF_POINTOPOINT and other is None:
            raise fail(errno.EDESTADDRREQ)

    def check_flags(self, flags: int) -> None:
        if flags not in (0, freebsd.IN6_IFF_NODAD):
            raise fail(errno.EINVAL)

    def check_written(self, interface: Interface, data: bytes) -> None:
        if interface.index in self.with_header:
            assert data[:2] == b"\0\0", "no super-packets, and no checksums to be made"
            data = data[10:]
        super().check_written(interface, data)
        if len(data) > 65535 + 18:
            raise fail(errno.EIO)


class NetBSDKernel(ModelKernel):
    """sys/net/if_tun.c and if_tap.c, as a kernel of 2016 behaved and headers of NetBSD 11 say."""

    system = NetBSD
    route_by_index = False

    def __init__(self, units: int = 4) -> None:
        super().__init__()
        self.units = units
        self.cloned: set[int] = set()
        self.ioctls[netbsd.SIOCIFCREATE] = self.create
        self.ioctls[netbsd.SIOCSIFPHYADDR] = self.set_mac

    def create(self, request: Any) -> None:
        name = request.ifr_name.decode()
        if any(each.name == name for each in self.interfaces.values()):
            raise fail(errno.EEXIST)
        self.make(name, name.rstrip("0123456789"), head=False)

    def open_path(self, path: str) -> int:
        unit = path.removeprefix("/dev/")
        if unit == "tap":
            interface = self.make(self.free_unit("tap"), "tap")
            self.cloned.add(interface.index)
            return self.attach(interface)
        if int(unit[3:]) >= self.units:
            raise fail(errno.ENOENT)
        try:
            interface = self.find(unit)
        except OSError:
            if not unit.startswith("tun"):
                raise
            interface = self.make(unit, "tun", head=False, ready=False)
            interface.flags &= ~common.IFF_MULTICAST
        return self.attach(interface)

    def closed(self, interface: Interface) -> None:
        if interface.index in self.cloned:
            self.remove(interface)
        else:
            self.clear(interface)
            interface.ready = interface.layer == "tap"

    def put(self, interface: Interface, given: Given) -> None:
        """TUN_IASET is set from a list of addresses in which a new one is not yet."""
        interface.ready = interface.ready or bool(interface.addresses)
        super().put(interface, given)

    def is_ready(self, interface: Interface) -> bool:
        return interface.ready and (super().is_ready(interface) or interface.layer == "tun")

    def ioctl_device(self, interface: Interface, request: int, argument: Any) -> None:
        if request == netbsd.TAPGIFNAME and interface.layer == "tap":
            argument.ifr_name = interface.name.encode()
        elif request == netbsd.TUNSIFMODE and interface.layer == "tun":
            set_mode(interface, argument.value)
        elif request == netbsd.TUNSIFHEAD and interface.layer == "tun":
            interface.head = bool(argument.value)
        else:
            raise fail(errno.ENOTTY)

    def set_mac(self, request: Any) -> None:
        interface = self.find(request.ifra_name)
        data = bytes(request.ifra_addr)
        if data[:2] != bytes([16, common.AF_LINK]) or interface.layer != "tap":
            raise fail(errno.EINVAL)
        interface.mac = data[2:8]
        self.announce_link(interface)

    def mtu_range(self, interface: Interface) -> tuple[int, int]:
        return (576, 1500) if interface.layer == "tun" else (46, 9000)

    def check_flags(self, flags: int) -> None:
        if flags:
            raise fail(errno.EINVAL)

    def check_written(self, interface: Interface, data: bytes) -> None:
        assert data, "this kernel did not survive an empty write"
        super().check_written(interface, data)
        if interface.layer == "tun" and len(data) > 1504:
            raise fail(errno.EIO)


class OpenBSDKernel(ModelKernel):
    """sys/net/if_tun.c of 2025. The descriptor of what is destroyed is revoked."""

    system = OpenBSD
    route_by_index = False

    def __init__(self, units: int = 4, has_tun_hdr: bool = True) -> None:
        super().__init__()
        self.units = units
        self.has_tun_hdr = has_tun_hdr
        """Since 7.7."""
        self.with_header: dict[int, int] = {}
        """Interfaces whose frames begin with struct tun_hdr, and what they leave to the reader."""
        self.ioctls[openbsd.SIOCIFCREATE] = self.create
        self.ioctls[openbsd.SIOCSIFLLADDR] = self.set_mac

    def create(self, request: Any) -> None:
        name = request.ifr_name.decode()
        if any(each.name == name for each in self.interfaces.values()):
            raise fail(errno.EEXIST)
        self.make(name, name.rstrip("0123456789"), stays=True)

    def open_path(self, path: str) -> int:
        unit = path.removeprefix("/dev/")
        if unit[:3] not in ("tun", "tap") or int(unit[3:]) >= self.units:
            raise fail(errno.ENOENT)
        try:
            interface = self.find(unit)
        except OSError:
            interface = self.make(unit, unit[:3])
        fd = self.attach(interface)
        interface.flags |= common.IFF_UP | common.IFF_RUNNING
        self.announce_link(interface)
        return fd

    def closed(self, interface: Interface) -> None:
        self.with_header.pop(interface.index, None)
        if interface.stays:
            self.clear(interface)
        else:
            self.remove(interface)

    def set_mac(self, request: Any) -> None:
        set_mac(self.find(request.ifr_name), request)
        self.announce_link(self.find(request.ifr_name))

    def mtu_range(self, interface: Interface) -> tuple[int, int]:
        return 1, 16384

    def check_flags(self, flags: int) -> None:
        if flags:
            raise fail(errno.EINVAL)

    def ioctl_device(self, interface: Interface, request: int, argument: Any) -> None:
        if request != openbsd.TUNSCAP or not self.has_tun_hdr:
            raise fail(errno.ENOTTY)
        self.with_header[interface.index] = argument.value

    def framed(self, interface: Interface, packet: bytes) -> bytes:
        """What the stack sends has no offload, but what `hand_out` gives."""
        header = bytes(8) if interface.index in self.with_header else b""
        return header + super().framed(interface, packet)

    def hand_out(self, name: str, flags: int, mss: int, packet: bytes) -> None:
        """The stack sends a packet, and leaves the rest of the work to the reader."""
        interface = self.find(name)
        assert interface.stack is not None
        header = openbsd.tun_hdr(flags, 0, 0, mss)
        interface.stack.send(bytes(header) + super().framed(interface, packet))

    def take_in(self, name: str) -> tuple[int, int, bytes]:
        """The flags, the MSS and the packet of what the program wrote next."""
        frame = self.find(name).stack.recv(1 << 17)  # type: ignore[union-attr]
        header = openbsd.tun_hdr.from_buffer_copy(frame)
        start = 8 if self.find(name).layer == "tap" else 12
        return header.th_flags, header.th_mss, frame[start:]

    def check_written(self, interface: Interface, data: bytes) -> None:
        if interface.index in self.with_header:
            if len(data) > 12 + 65536:
                raise fail(errno.EMSGSIZE)
            flags = openbsd.tun_hdr.from_buffer_copy(data).th_flags
            sums = openbsd.TUN_H_TCP_CSUM, openbsd.TUN_H_UDP_CSUM, openbsd.TUN_H_ICMP_CSUM
            if sum(bool(flags & each) for each in sums) > 1:
                raise fail(errno.EINVAL)
            if flags & openbsd.TUN_H_VTAG and interface.layer == "tun":
                raise fail(errno.EINVAL)
            data = data[8:]
        super().check_written(interface, data)

    def read_device(self, interface: Interface, size: int) -> bytes:
        if interface.gone:
            return b""  # revoked
        if not self.is_ready(interface):
            raise fail(errno.EAGAIN)
        return super().read_device(interface, size)

    def write(self, fd: int, data: bytes) -> int:
        interface = self.of_fd(fd)
        if interface is not None and interface.gone:
            raise fail(errno.EIO)
        return super().write(fd, data)


def set_mode(interface: Interface, mode: int) -> None:
    """TUNSIFMODE: the flags replace those that the interface has."""
    if interface.flags & common.IFF_UP:
        raise fail(errno.EBUSY)
    changed = common.IFF_POINTOPOINT | common.IFF_BROADCAST | common.IFF_MULTICAST
    if mode & ~changed:
        raise fail(errno.EINVAL)
    interface.flags = interface.flags & ~changed | mode


def set_mac(interface: Interface, request: Any) -> None:
    """SIOCSIFLLADDR."""
    address = request.ifr_addr
    if (address.sa_len, address.sa_family) != (6, common.AF_LINK) or interface.layer != "tap":
        raise fail(errno.EINVAL)
    interface.mac = bytes(address.sa_data)[:6]
