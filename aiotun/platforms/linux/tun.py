"""The queue of a TUN or TAP: a descriptor of /dev/net/tun (drivers/net/tun.c)."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import errno
import fcntl
import os
import socket
import struct
from contextlib import suppress
from typing import Any

from ...config import DeviceConfig, Offload
from ...errors import (
    ClosedError,
    ConfigError,
    InterfaceDownError,
    InterfaceGoneError,
    NameInUseError,
    NameInvalidError,
    NoDriverError,
    NotPermittedError,
    QueueLimitError,
    TunError,
    UnsupportedError,
)
from ..descriptor import FRAME_MAX, DescriptorQueue
from .ethtool import TCP_SEGMENTATION, UDP_SEGMENTATION, active_features
from .holders import describe
from .namespace import TUNGETDEVNETNS
from .remedies import CAPABILITY, NODE, NODE_TROUBLES

__all__ = ["TunQueue"]

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
TUNSETPERSIST = _WRITE | _INT | 203
TUNSETOWNER = _WRITE | _INT | 204
TUNSETGROUP = _WRITE | _INT | 206
TUNSETOFFLOAD = _WRITE | _INT | 208
TUNGETIFF = _READ | _INT | 210
TUNGETVNETHDRSZ = _READ | _INT | 215
TUNSETVNETHDRSZ = _WRITE | _INT | 216
TUNSETVNETLE = _WRITE | _INT | 220
TUNGETVNETLE = _READ | _INT | 221
TUNSETVNETBE = _WRITE | _INT | 222
TUNSETCARRIER = _WRITE | _INT | 226

IFF_TUN = 0x0001
IFF_TAP = 0x0002
IFF_BACKPRESSURE = 0x0080
IFF_MULTI_QUEUE = 0x0100
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000
IFF_TUN_EXCL = 0x8000

TUN_F_CSUM = 0x01
TUN_F_TSO4 = 0x02
TUN_F_TSO6 = 0x04
TUN_F_TSO_ECN = 0x08
TUN_F_USO4 = 0x20
TUN_F_USO6 = 0x40

TCP_OFFLOAD = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN
UDP_OFFLOAD = TUN_F_CSUM | TUN_F_USO4 | TUN_F_USO6
"""Linux 6.2 and later; the kernel takes USO4 and USO6 only together."""

OFFLOADS: dict[Offload, tuple[int, ...]] = {
    True: (TCP_OFFLOAD | UDP_OFFLOAD, TCP_OFFLOAD, TUN_F_CSUM),
    "tcp": (TCP_OFFLOAD, TUN_F_CSUM),
    "udp": (UDP_OFFLOAD, TUN_F_CSUM),
    False: (),
}
"""What to ask for, the most first."""

IFREQ = struct.Struct("=16sH22x")
"""struct ifreq (linux/if.h) with its ifr_flags."""

TUN_DEVICE = os.makedev(10, 200)
"""linux/miscdevice.h: MISC_MAJOR, TUN_MINOR."""

VNET_HDR_SIZE = 10
"""struct virtio_net_hdr (linux/virtio_net.h), without the field for mergeable buffers."""


class TunQueue(DescriptorQueue):
    """The descriptor of a TUN or TAP, non-blocking and closed on exec."""

    def __init__(self, config: DeviceConfig) -> None:
        """Make the interface, or attach to one of that name.

        The first queue decided what its frames look like: see `agree_on_frames`.
        """
        super().__init__(_open_node())
        try:
            _set_interface(self._fd, config, _features(self._fd))
            self._learn(self._flags())
        except BaseException:
            self.close()
            raise

    @classmethod
    def adopt(cls, fd: int, closefd: bool) -> TunQueue:
        """The queue of a descriptor that is attached to an interface already.

        Raises `UnsupportedError` for any other descriptor, and `NotPermittedError` where the
        system does not let it be asked. Nothing changes on the descriptor before
        `agree_on_frames`.
        """
        self = cls.__new__(cls)
        DescriptorQueue.__init__(self, fd, closefd)
        try:
            flags = self._flags()
            if os.fstat(fd).st_rdev != TUN_DEVICE:
                raise OSError(errno.ENODEV, "it is of another driver, such as macvtap")
        except OSError as exc:
            if isinstance(exc, PermissionError) and os.fstat(fd).st_rdev == TUN_DEVICE:
                raise NotPermittedError(errno.EACCES, "a TUN's ioctls are forbidden here") from exc
            raise UnsupportedError(
                errno.EOPNOTSUPP,
                f"descriptor {fd} is not of a TUN or TAP ({exc.strerror})",
                remedies=('say what its frames look like (framing="none", layer="tun")',),
            ) from exc
        self._learn(flags)
        return self

    def _flags(self) -> int:
        return int(IFREQ.unpack(fcntl.ioctl(self._fd, TUNGETIFF, bytes(IFREQ.size)))[1])

    def _learn(self, flags: int) -> None:
        """What the interface's flags say of all its queues."""
        self.layer = "tap" if flags & IFF_TAP else "tun"
        self.vnet_hdr = bool(flags & IFF_VNET_HDR)
        self.direct = VNET_HDR_SIZE if self.vnet_hdr else 0
        self.multi_queue = bool(flags & IFF_MULTI_QUEUE)
        self.tcp_offload = self.udp_offload = False

    def agree_on_frames(self, offload: Offload, *, alone: bool) -> None:
        """Decide what frames look like if no other queue is open; else take what was decided.

        Offload belongs to the interface, not to one queue. The calling thread has to be in the
        interface's namespace. Raises `UnsupportedError` for frames that cannot be read.
        """
        if not alone:
            self._take_frames()
        else:
            if self.vnet_hdr:  # all of this a persistent interface keeps of its last user
                self._ioctl(TUNSETVNETLE, bytes(4))
                with suppress(OSError):  # only few kernels can be asked for that
                    self._ioctl(TUNSETVNETBE, bytes(4))
                self._ioctl(TUNSETVNETHDRSZ, struct.pack("=i", VNET_HDR_SIZE))
            granted = _set_offload(self._fd, offload if self.vnet_hdr else False)
            self.tcp_offload = bool(granted & TUN_F_TSO4)
            self.udp_offload = bool(granted & TUN_F_USO4)
        os.set_blocking(self._fd, False)

    def _take_frames(self) -> None:
        if not self.vnet_hdr:
            return
        self.check_header()
        features = active_features(self.name)
        self.tcp_offload = TCP_SEGMENTATION in features
        self.udp_offload = UDP_SEGMENTATION in features

    def check_header(self) -> None:
        """Raise `UnsupportedError` where a header stands in front that cannot be read."""
        if not self.vnet_hdr:
            return
        (size,) = struct.unpack("=i", self._ioctl(TUNGETVNETHDRSZ, bytes(4)))
        (little_endian,) = struct.unpack("=i", self._ioctl(TUNGETVNETLE, bytes(4)))
        if size != VNET_HDR_SIZE or (little_endian and sys.byteorder == "big"):
            order = "little-endian " if little_endian else ""
            raise UnsupportedError(
                errno.EOPNOTSUPP,
                f"interface {self.name!r} is open elsewhere, with {order}headers of {size} bytes",
                remedies=(f"open it there with {VNET_HDR_SIZE} bytes, in the machine's order",),
            )

    @property
    def name(self) -> str:
        """The interface's name as it is now, in whatever network namespace.

        Raises `InterfaceGoneError` once the interface was deleted, `ClosedError`
        once the queue is closed.
        """
        request: bytes = self._ioctl(TUNGETIFF, bytes(IFREQ.size))
        return os.fsdecode(request[:16].rstrip(b"\0"))

    def set_persistent(self, persistent: bool) -> None:
        self._ioctl(TUNSETPERSIST, persistent)

    def set_owner(self, uid: int) -> None:
        self._give(TUNSETOWNER, "user", uid)

    def set_group(self, gid: int) -> None:
        self._give(TUNSETGROUP, "group", gid)

    def _give(self, request: int, whom: str, number: int) -> None:
        try:
            self._ioctl(request, struct.unpack("=i", struct.pack("=I", number))[0])
        except OSError as exc:
            if exc.errno == errno.EINVAL:
                raise ConfigError(f"this user namespace has no {whom} {number}") from exc
            raise

    def set_carrier(self, carrier: bool) -> None:
        """Linux 5.0 and later."""
        self._ioctl(TUNSETCARRIER, struct.pack("=i", carrier))

    def open_namespace(self) -> int:
        """A descriptor of the network namespace that the interface is in now.

        Raises `OSError`: it takes CAP_NET_ADMIN there, and a namespace that has not ended.
        """
        return int(self._ioctl(TUNGETDEVNETNS, 0))

    def _ioctl(self, request: int, argument: int | bytes) -> Any:
        try:
            return fcntl.ioctl(self._fd, request, argument)
        except ValueError:  # a negative descriptor
            raise ClosedError from None
        except OSError as exc:
            _explain(exc)
            raise

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
            exc.errno, "the interface is down", remedies=("set it up first (ip link set NAME up)",)
        ) from exc
    if exc.errno == errno.EBADF:
        raise ClosedError from exc


def _open_node() -> int:
    try:
        return os.open(NODE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        _explain_node(exc)
        raise


def _features(fd: int) -> int:
    """The IFF_ flags that this kernel's driver knows."""
    try:
        answer = fcntl.ioctl(fd, TUNGETFEATURES, bytes(4))
    except OSError as exc:
        _explain_node(exc)
        raise
    return int.from_bytes(answer, sys.byteorder)


def _explain_node(exc: OSError) -> None:
    """Raise what an error of the node means, and what to do about it."""
    trouble = NODE_TROUBLES.get(exc.errno or 0)
    if trouble is not None:
        kind = NotPermittedError if isinstance(exc, PermissionError) else NoDriverError
        raise kind(exc.errno or 0, trouble.what, NODE, remedies=trouble.remedies) from exc


def _set_interface(fd: int, config: DeviceConfig, features: int) -> None:
    name, layer = config.name or "", config.layer
    flags = IFF_NO_PI | (IFF_TUN if layer == "tun" else IFF_TAP)
    if config.offload:
        flags |= IFF_VNET_HDR & features
    if config.backpressure:
        flags |= IFF_BACKPRESSURE & features
    if config.multi_queue:
        flags |= IFF_MULTI_QUEUE
    if config.exclusive:
        flags |= IFF_TUN_EXCL
    try:
        fcntl.ioctl(fd, TUNSETIFF, IFREQ.pack(os.fsencode(name), flags))
    except PermissionError as exc:
        raise NotPermittedError(
            errno.EPERM,
            f"this process may not make or use the interface {name!r}, {CAPABILITY.what}",
            remedies=CAPABILITY.remedies,
        ) from exc
    except OSError as exc:
        if exc.errno == errno.E2BIG:
            raise QueueLimitError(
                exc.errno,
                f"interface {name!r} has all the queues that it can have",
                remedies=("close one",),
            ) from exc
        if exc.errno == errno.EBUSY and config.exclusive:
            raise NameInUseError(
                exc.errno,
                f"interface {name!r} exists",
                remedies=(
                    "take another name",
                    "delete it first (ip link del)",
                    "attach to it (exclusive=False)",
                ),
            ) from exc
        if exc.errno in (errno.EBUSY, errno.EEXIST):
            holders = describe(name)
            by = f", in {holders}" if holders else ""
            raise NameInUseError(
                exc.errno,
                f"interface {name!r} is open elsewhere{by}",
                remedies=(
                    "close it there",
                    'take another name ("tun%d" lets the system choose the number)',
                ),
            ) from exc
        if exc.errno == errno.EINVAL and _exists(name):
            raise NameInUseError(
                errno.EEXIST,
                f"interface {name!r} exists and is not a {layer} with "
                f"{'several queues' if config.multi_queue else 'a single queue'}",
                remedies=("take another name", "delete it first (ip link del)"),
            ) from exc
        if name in ("all", "default"):  # sysctl_dev_name_is_allowed (include/net/ip.h)
            raise NameInvalidError(
                f"interface name {name!r} is not possible: in /proc/sys/net it stands for others"
            ) from exc
        raise TunError(
            exc.errno or 0, f"interface {name!r} cannot be made: {exc.strerror}"
        ) from exc


def _exists(name: str) -> bool:
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


def _set_offload(fd: int, wanted: Offload) -> int:
    """Ask for as much of it as the kernel grants; return the TUN_F_ flags in force."""
    for offload in OFFLOADS[wanted]:
        try:
            fcntl.ioctl(fd, TUNSETOFFLOAD, offload)
        except OSError as exc:
            if exc.errno != errno.EINVAL:
                raise
        else:
            return offload
    fcntl.ioctl(fd, TUNSETOFFLOAD, 0)
    return 0
