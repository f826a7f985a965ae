"""A device and its interface as others see and change them: netdevice(7) and /proc."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import stat
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

assert sys.platform == "linux"

from aiotun.addresses import Address
from aiotun.config import DeviceConfig
from aiotun.device import Device
from aiotun.platforms.linux import open_device, tun
from aiotun.platforms.linux.interface import LinuxInterface
from aiotun.platforms.linux.netlink import NetlinkSocket
from aiotun.platforms.linux.remedies import NODE
from aiotun.platforms.linux.rtnetlink.addresses import encode_address
from aiotun.platforms.linux.tun import TunQueue
from aiotun.testing.namespace import (
    CLONE_NEWNS,
    MS_PRIVATE,
    MS_REC,
    Namespace,
    mount,
    unshare,
)

# linux/sockios.h
SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8913, 0x8914
SIOCGIFADDR, SIOCGIFDSTADDR, SIOCGIFNETMASK = 0x8915, 0x8917, 0x891B
SIOCSIFDSTADDR, SIOCSIFBRDADDR = 0x8918, 0x891A
SIOCGIFMTU, SIOCSIFMTU = 0x8921, 0x8922
SIOCSIFNAME, SIOCSIFHWADDR, SIOCGIFHWADDR = 0x8923, 0x8924, 0x8927

ARPHRD_ETHER = 1
"""linux/if_arp.h"""

IFF_UP = 0x1

# linux/rtnetlink.h, linux/if_link.h
RTM_NEWLINK, RTM_DELLINK, RTM_SETLINK, RTM_NEWADDR, RTM_DELADDR = 16, 17, 19, 20, 21
IFLA_IFNAME, IFLA_TXQLEN, IFLA_LINKINFO, IFLA_NET_NS_FD, IFLA_CARRIER = 3, 13, 18, 28, 33
IFLA_INFO_KIND = 1
NLM_F_REPLACE, NLM_F_CREATE = 0x100, 0x400


@contextmanager
def opened(namespace: Namespace, /, **settings: Any) -> Iterator[tuple[LinuxInterface, TunQueue]]:
    """A device in the namespace, its two parts usable from anywhere."""
    interface, queue = namespace.run(open_device, DeviceConfig(**settings))
    try:
        yield interface, queue
    finally:
        interface.close()
        queue.close()


def _ioctl(name: str, request: int, value: bytes = b"") -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        return fcntl.ioctl(control, request, struct.pack("16s24s", os.fsencode(name), value))[16:]


def mtu(name: str) -> int:
    return int(struct.unpack_from("i", _ioctl(name, SIOCGIFMTU))[0])


def set_mtu(name: str, value: int) -> None:
    _ioctl(name, SIOCSIFMTU, struct.pack("i", value))


def is_up(name: str) -> bool:
    return bool(struct.unpack_from("H", _ioctl(name, SIOCGIFFLAGS))[0] & IFF_UP)


def set_up(name: str, up: bool) -> None:
    flags = struct.unpack_from("H", _ioctl(name, SIOCGIFFLAGS))[0] & ~IFF_UP
    _ioctl(name, SIOCSIFFLAGS, struct.pack("H", flags | (IFF_UP if up else 0)))


def rename(name: str, new: str) -> None:
    _ioctl(name, SIOCSIFNAME, os.fsencode(new))


def ipv4(name: str) -> tuple[str, str, str]:
    """The first IPv4 address, its destination (itself if it has none) and netmask."""
    found = (_ioctl(name, r) for r in (SIOCGIFADDR, SIOCGIFDSTADDR, SIOCGIFNETMASK))
    address, destination, netmask = (socket.inet_ntoa(answer[4:8]) for answer in found)
    return address, destination, netmask


def ipv6(name: str) -> set[str]:
    """The IPv6 addresses but the link-local ones, with their prefix lengths."""
    found = set()
    for line in Path("/proc/thread-self/net/if_inet6").read_text().splitlines():
        digits, _, prefix, scope, _, owner = line.split()
        if owner == name and scope != "20":
            address = socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))
            found.add(f"{address}/{int(prefix, 16)}")
    return found


def routes(name: str) -> set[str]:
    """Those of IPv4, by what /proc tells of them."""
    found = set()
    for line in Path("/proc/thread-self/net/route").read_text().splitlines()[1:]:
        owner, destination, gateway, _, _, _, _, mask, *_ = line.split()
        if owner == name:
            network, via = (
                socket.inet_ntoa(int(digits, 16).to_bytes(4, sys.byteorder))
                for digits in (destination, gateway)
            )
            prefix = int(mask, 16).bit_count()
            found.add(f"{network}/{prefix}" + (f" via {via}" if via != "0.0.0.0" else ""))
    return found


def mac(name: str) -> str | None:
    """Of an interface of Ethernet."""
    kind, address = struct.unpack_from("H6s", _ioctl(name, SIOCGIFHWADDR))
    return address.hex(":") if kind == ARPHRD_ETHER else None


def set_mac(name: str, mac: str) -> None:
    value = struct.pack("H", ARPHRD_ETHER) + bytes.fromhex(mac.replace(":", ""))
    _ioctl(name, SIOCSIFHWADDR, value)


def set_carrier(name: str, carrier: bool) -> None:
    index = socket.if_nametoindex(name)
    _link(RTM_SETLINK, index, _attribute(IFLA_CARRIER, bytes([carrier])))


def set_tx_queue_len(name: str, packets: int) -> None:
    """By rtnetlink, which takes it in a user namespace too; the ioctl does not."""
    index = socket.if_nametoindex(name)
    _link(RTM_SETLINK, index, _attribute(IFLA_TXQLEN, struct.pack("I", packets)))


def set_ipv4(name: str, request: int, address: str) -> None:
    """Change what belongs to the first IPv4 address (SIOCSIFDSTADDR, SIOCSIFBRDADDR)."""
    _ioctl(name, request, struct.pack("HH4s", socket.AF_INET, 0, socket.inet_aton(address)))


def add_address(name: str, address: Address) -> None:
    """What `ip address add` does; or `replace`, if it is there with another peer."""
    body = encode_address(socket.if_nametoindex(name), address)
    _request(RTM_NEWADDR, body, NLM_F_CREATE | NLM_F_REPLACE)


def remove_address(name: str, address: Address) -> None:
    _request(RTM_DELADDR, encode_address(socket.if_nametoindex(name), address))


def delete(name: str) -> None:
    _link(RTM_DELLINK, socket.if_nametoindex(name))


def move(name: str, namespace: Namespace) -> None:
    target = _attribute(IFLA_NET_NS_FD, struct.pack("i", namespace.fileno()))
    _link(RTM_SETLINK, socket.if_nametoindex(name), target)


def make(name: str, kind: str) -> None:
    """An interface of another kind, such as "bridge"."""
    info = _attribute(IFLA_INFO_KIND, kind.encode() + b"\0")
    attributes = _attribute(IFLA_IFNAME, name.encode() + b"\0") + _attribute(IFLA_LINKINFO, info)
    _link(RTM_NEWLINK, 0, attributes, NLM_F_CREATE)


def set_master(name: str, master: str | None) -> None:
    """Put the interface into a bridge, or take it out (IFLA_MASTER)."""
    index = 0 if master is None else socket.if_nametoindex(master)
    _link(RTM_SETLINK, socket.if_nametoindex(name), _attribute(10, struct.pack("i", index)))


def persistent(name: str, flags: int) -> None:
    """What `ip tuntap add` does."""
    fd = os.open(NODE, os.O_RDWR)
    try:
        fcntl.ioctl(fd, tun.TUNSETIFF, tun.IFREQ.pack(name.encode(), flags | tun.IFF_NO_PI))
        fcntl.ioctl(fd, tun.TUNSETPERSIST, 1)
        if flags & tun.IFF_VNET_HDR:
            fcntl.ioctl(fd, tun.TUNSETOFFLOAD, tun.TCP_OFFLOAD)
            fcntl.ioctl(fd, tun.TUNSETVNETHDRSZ, struct.pack("i", 12))
    finally:
        os.close(fd)


def require_other_users() -> None:
    """Skip the running test in a user namespace with one user: there is nobody to give to."""
    if Path("/proc/self/uid_map").read_text().split()[2] == "1":
        pytest.skip("a user namespace with one user")


def replace_node(make: Callable[[str], object]) -> None:
    """Give the calling thread a /dev/net of its own with the node that `make` makes."""
    unshare(CLONE_NEWNS)
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    mount("tmpfs", "/dev/net", "tmpfs", 0)
    make(NODE)


def make_node(path: str, major: int, minor: int, mode: int = 0o666) -> None:
    os.mknod(path, stat.S_IFCHR, os.makedev(major, minor))
    os.chmod(path, mode)  # whatever the umask


def _link(kind: int, index: int, attributes: bytes = b"", flags: int = 0) -> None:
    _request(kind, struct.pack("BxHiII", 0, 0, index, 0, 0) + attributes, flags)


def _request(kind: int, body: bytes, flags: int = 0) -> None:
    netlink = NetlinkSocket()
    try:
        netlink.request(kind, body, flags)
    finally:
        netlink.close()


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def wait_for_routes(namespace: Namespace, device: Device) -> None:
    """Until Linux takes packets to the device's IPv6 addresses: from when its work queue has made
    the routes to them (addrconf_dad_work in net/ipv6/addrconf.c)."""
    addresses = (each.interface.ip for each in device.addresses())
    own = {each.packed.hex() for each in addresses if each.version == 6}
    table = Path("/proc/thread-self/net/ipv6_route")
    wait_until(
        lambda: own <= {line.split()[0] for line in namespace.run(table.read_text).splitlines()}
    )


def wait_for_listener(namespace: Namespace | None, port: int) -> None:
    """Until a TCP socket listens at all addresses, or at one: proc_net(5), state 0A. In a
    namespace, or in the tests' own."""
    listening = re.compile(rf":{port:04X} 0+:0000 0A")
    tables = [Path("/proc/thread-self/net", name) for name in ("tcp", "tcp6")]

    def listens() -> bool:
        return any(listening.search(table.read_text()) for table in tables)

    wait_until(lambda: namespace.run(listens) if namespace else listens())
