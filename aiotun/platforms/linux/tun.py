"""The queue of a TUN or TAP: a descriptor of /dev/net/tun (drivers/net/tun.c)."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import errno
import fcntl
import os
import socket
import struct

from ...config import DeviceConfig
from ...errors import (
    ClosedError,
    DeviceForbiddenError,
    InterfaceDownError,
    InterfaceGoneError,
    NameInUseError,
    NoCapabilityError,
    NoDriverError,
    NoTunNodeError,
    TunError,
)
from ..descriptor import DescriptorQueue

__all__ = ["TunQueue"]

NODE = "/dev/net/tun"

# Direction bits of ioctl numbers: asm-generic/ioctl.h, and arch/*/include/uapi/asm/ioctl.h
# of the architectures that have others.
_WRITE, _READ = (
    (0x8000_0000, 0x4000_0000)
    if os.uname().machine.startswith(("alpha", "mips", "ppc", "sparc"))
    else (0x4000_0000, 0x8000_0000)
)

# linux/if_tun.h; each takes an int, whatever it really points to
_INT = 4 << 16 | ord("T") << 8
TUNSETIFF = _WRITE | _INT | 202
TUNGETFEATURES = _READ | _INT | 207
TUNSETOFFLOAD = _WRITE | _INT | 208
TUNGETIFF = _READ | _INT | 210
TUNSETVNETHDRSZ = _WRITE | _INT | 216

IFF_TUN = 0x0001
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000

TUN_F_CSUM = 0x01
TUN_F_TSO4 = 0x02
TUN_F_TSO6 = 0x04
TUN_F_TSO_ECN = 0x08
TUN_F_USO4 = 0x20
TUN_F_USO6 = 0x40

TCP_OFFLOAD = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN
UDP_OFFLOAD = TUN_F_CSUM | TUN_F_USO4 | TUN_F_USO6
"""Linux 6.2 and later; the kernel takes USO4 and USO6 only together."""

IFREQ = struct.Struct("=16sH22x")
"""struct ifreq (linux/if.h) with its ifr_flags."""

VNET_HDR_SIZE = 10
"""struct virtio_net_hdr (linux/virtio_net.h), without the field for mergeable buffers."""

FRAME_MAX = VNET_HDR_SIZE + 14 + 4 + 65535
"""The largest frame: virtio_net_hdr, Ethernet header, VLAN tag, IP packet."""


class TunQueue(DescriptorQueue):
    """The descriptor of a TUN or TAP, non-blocking and closed on exec."""

    direct = True

    def __init__(self, config: DeviceConfig) -> None:
        """Make the interface, or attach to the persistent one of that name."""
        super().__init__(_open_node())
        try:
            self.layer = config.layer
            features = _features(self._fd)
            self.vnet_hdr = config.offload and bool(features & IFF_VNET_HDR)
            _set_interface(self._fd, config.name or "", self.layer, self.vnet_hdr)
            if self.vnet_hdr:
                fcntl.ioctl(self._fd, TUNSETVNETHDRSZ, struct.pack("=i", VNET_HDR_SIZE))
            # A persistent interface keeps the offloads of its last user: always set them.
            offload = _set_offload(self._fd, self.vnet_hdr)
        except BaseException:
            self.close()
            raise
        self.tcp_offload = bool(offload & TUN_F_TSO4)
        self.udp_offload = bool(offload & TUN_F_USO4)

    @property
    def name(self) -> str:
        """The interface's name as it is now, in whatever network namespace.

        Raises `InterfaceGoneError` once the interface was deleted, `ClosedError`
        once the queue is closed.
        """
        try:
            request = fcntl.ioctl(self._fd, TUNGETIFF, bytes(IFREQ.size))
        except ValueError:  # a negative descriptor
            raise ClosedError from None
        except OSError as exc:
            _explain(exc)
            raise
        return os.fsdecode(request[:16].rstrip(b"\0"))

    def read(self) -> bytes:
        try:
            return os.read(self._fd, FRAME_MAX)
        except OSError as exc:
            _explain(exc)
            raise

    def write(self, frame: bytes) -> None:
        try:
            os.write(self._fd, frame)
        except OSError as exc:
            _explain(exc)
            raise


def _explain(exc: OSError) -> None:
    """Raise what an error of the queue's descriptor means, if the errno does not say it."""
    if exc.errno == errno.EBADFD:
        raise InterfaceGoneError(exc.errno, "the interface was deleted") from exc
    if exc.errno == errno.EIO:
        raise InterfaceDownError(
            exc.errno, "the interface is down: set it up first (ip link set NAME up)"
        ) from exc
    if exc.errno == errno.EBADF:
        raise ClosedError from exc


def _open_node() -> int:
    try:
        return os.open(NODE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as exc:
        raise NoTunNodeError(
            errno.ENOENT,
            "there is no TUN device node: load the driver (modprobe tun); "
            "in a container pass the node in (docker run --device /dev/net/tun), or make it "
            "(mkdir -p /dev/net && mknod /dev/net/tun c 10 200)",
            NODE,
        ) from exc
    except PermissionError as exc:
        if exc.errno == errno.EACCES:
            remedy = "its file mode keeps this user out: chmod 0666 /dev/net/tun, or run as root"
        else:
            remedy = (
                "a device cgroup forbids it: give the container the device "
                "(docker run --device /dev/net/tun, systemd DeviceAllow=/dev/net/tun rw)"
            )
        raise DeviceForbiddenError(
            exc.errno, f"the TUN device node cannot be opened; {remedy}", NODE
        ) from exc
    except OSError as exc:
        if exc.errno in (errno.ENODEV, errno.ENXIO):
            raise _no_driver(exc) from exc
        raise


def _no_driver(exc: OSError) -> NoDriverError:
    return NoDriverError(
        exc.errno,
        "the kernel has no TUN driver behind the node: load it (modprobe tun), "
        "or use a kernel built with CONFIG_TUN",
        NODE,
    )


def _features(fd: int) -> int:
    """The IFF_ flags that this kernel's driver knows."""
    try:
        answer = fcntl.ioctl(fd, TUNGETFEATURES, bytes(4))
    except OSError as exc:
        if exc.errno == errno.ENOTTY:  # some other file stands in the node's place
            raise _no_driver(exc) from exc
        raise
    return int.from_bytes(answer, sys.byteorder)


def _set_interface(fd: int, name: str, layer: str, vnet_hdr: bool) -> None:
    flags = IFF_NO_PI | (IFF_TUN if layer == "tun" else IFF_TAP)
    if vnet_hdr:
        flags |= IFF_VNET_HDR
    try:
        fcntl.ioctl(fd, TUNSETIFF, IFREQ.pack(os.fsencode(name), flags))
    except PermissionError as exc:
        raise NoCapabilityError(
            errno.EPERM,
            f"this process may not make or use the interface {name!r}: it lacks CAP_NET_ADMIN. "
            "Run it with sudo; or give the interpreter the capability "
            "(setcap cap_net_admin+ep on the python binary); or let an administrator make a "
            f"persistent interface (ip tuntap add dev NAME mode {layer} user USER) and open it by "
            "name; or use namespaces of your own (unshare --user --map-root-user --net)",
        ) from exc
    except OSError as exc:
        if exc.errno in (errno.EBUSY, errno.EEXIST):
            raise NameInUseError(
                exc.errno,
                f"interface {name!r} is open elsewhere: close it there, or take another name "
                '("tun%d" lets the system choose the number)',
            ) from exc
        if exc.errno == errno.EINVAL and _exists(name):
            raise NameInUseError(
                errno.EEXIST,
                f"interface {name!r} exists and is not a {layer} with a single queue: "
                "take another name, or delete it first (ip link del)",
            ) from exc
        raise TunError(exc.errno, f"interface {name!r} cannot be made: {exc.strerror}") from exc


def _exists(name: str) -> bool:
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


def _set_offload(fd: int, vnet_hdr: bool) -> int:
    """Ask for as much as the kernel grants; return the TUN_F_ flags in force."""
    wishes = (TCP_OFFLOAD | UDP_OFFLOAD, TCP_OFFLOAD, TUN_F_CSUM) if vnet_hdr else ()
    for offload in wishes:
        try:
            fcntl.ioctl(fd, TUNSETOFFLOAD, offload)
        except OSError as exc:
            if exc.errno != errno.EINVAL:
                raise
        else:
            return offload
    fcntl.ioctl(fd, TUNSETOFFLOAD, 0)
    return 0
