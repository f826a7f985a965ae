"""A TAP of a pair of feth: what the system sends on one comes out of the other.

The first is the interface that the system uses. The program's side is the other: frames are read
from it by BPF, and written by a socket of AF_NDRV, as BPF writes none above 2048 bytes and
AF_NDRV reads no IP. (bsd/net/if_fake.c, bpf.c and ndrv.c of xnu; ZeroTier and tun-rs do the same.)
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import errno
import selectors
from collections import deque
from contextlib import ExitStack, closing
from ctypes import addressof, c_uint32, sizeof

from ...config import DeviceConfig
from ...errors import InterfaceGoneError, NameInUseError, NoDriverError, UnsupportedError
from ...interrupt import Interrupt
from ..bsd.base import Control, System
from ..bsd.headers import darwin
from ..bsd.headers.common import (
    BIOCIMMEDIATE,
    BIOCPROMISC,
    BIOCSBLEN,
    BIOCSHDRCMPLT,
    IFF_UP,
    SOCK_RAW,
)
from ..bsd.queue import BsdQueue
from .bpf import split_records

__all__ = ["FethQueue", "open_feth"]

BUFFER = 128 << 10
"""Bytes that BPF gathers. The kernel may make it less."""


class FethQueue(BsdQueue):
    """Reads BPF, writes AF_NDRV. One read has many frames, of which the rest wait here."""

    polled = False

    def __init__(self, system: System, far: str, *, found: bool) -> None:
        super().__init__(system, _open_bpf(system), "tap", stays=True, found=found)
        self.direct = None
        self.far = far
        """The program's side of the pair."""
        self._far_index = self._kernel.index(far)
        self._frames: deque[bytes] = deque()
        self._sender = -1
        try:
            self._size = self._attach()
            self._sender = self._open_sender()
        except BaseException:
            self.destroys = False
            self.close()
            raise

    @property
    def holds_frames(self) -> bool:  # type: ignore[override]
        return bool(self._frames)

    def _attach(self) -> int:
        """Bind BPF to the program's side. Returns the size that each read must have."""
        kernel, size = self._kernel, c_uint32(BUFFER)
        kernel.ioctl(self._fd, BIOCSBLEN, size)  # before the interface
        kernel.ioctl(self._fd, BIOCIMMEDIATE, c_uint32(1))
        kernel.ioctl(self._fd, darwin.BIOCSSEESENT, c_uint32(0))
        kernel.ioctl(self._fd, darwin.BIOCSETIF, darwin.ifreq(ifr_name=self.far.encode()))
        kernel.ioctl(self._fd, BIOCSHDRCMPLT, c_uint32(1))
        kernel.ioctl(self._fd, BIOCPROMISC)
        return size.value

    def _open_sender(self) -> int:
        fd = self._kernel.socket(darwin.AF_NDRV, SOCK_RAW)
        size = sizeof(darwin.sockaddr_ndrv)
        address = darwin.sockaddr_ndrv(size, darwin.AF_NDRV, self.far.encode())
        try:
            self._kernel.bind(fd, address)
            self._kernel.connect(fd, address)
        except BaseException:
            self._kernel.close(fd)
            raise
        return fd

    def read(self) -> bytes:
        if not self._frames:
            try:
                data = self._kernel.read(self._fd, self._size)
            except OSError as exc:
                self._explain_bpf(exc)
                raise
            self._frames.extend(split_records(data))
            if not self._frames:
                raise BlockingIOError(errno.EAGAIN, "no frame is waiting")
        return self._frames.popleft()

    def write(self, frame: bytes) -> None:
        try:
            self._kernel.write(self._sender, frame)
        except OSError as exc:
            self._explain_bpf(exc)
            raise

    def _explain_bpf(self, exc: OSError) -> None:
        if exc.errno in (errno.ENXIO, errno.ENODEV):
            raise InterfaceGoneError(exc.errno, "the interface was deleted") from exc

    def wait_readable(self, timeout: float | None, *interrupts: Interrupt) -> bool:
        """By kqueue: macOS' poll(2) knows no devices."""
        if self._frames:
            return True
        with selectors.DefaultSelector() as selector:
            selector.register(self._fd, selectors.EVENT_READ)
            for interrupt in interrupts:
                selector.register(interrupt, selectors.EVENT_READ)
            return bool(selector.select(None if timeout is None else max(0.0, timeout)))

    def detach(self) -> int:
        raise UnsupportedError(errno.EOPNOTSUPP, "a TAP of macOS has two descriptors")

    def close(self) -> None:
        sender, self._sender = self._sender, -1
        if sender >= 0:
            self._kernel.close(sender)
        destroys = self.destroys and self._fd >= 0
        super().close()
        if destroys:
            self._system.destroy(self._far_index)


def open_feth(system: System, config: DeviceConfig, undo: ExitStack) -> FethQueue:
    """Make both and join them, or take a pair that is there."""
    options = config.darwin
    wanted = None if options is None else options.peer_feth
    near, found = _make(system, config.name, config.exclusive, undo)
    with closing(Control(system)) as control:
        far = _peer_of(control, near) if found else ""
        if not far:
            far, _ = _make(system, wanted, config.exclusive, undo)
            _join(control, near, far)
        elif wanted not in (None, far):
            raise _other_peer(near, far)
        request = control.request(far)
        control.call(darwin.SIOCGIFFLAGS, request)
        request.ifr_flags |= IFF_UP
        control.call(darwin.SIOCSIFFLAGS, request)
    queue = FethQueue(system, far, found=found)
    undo.callback(queue.close)
    queue.index = system.kernel.index(near)
    return queue


def _make(system: System, name: str | None, exclusive: bool, undo: ExitStack) -> tuple[str, bool]:
    """The name of a feth, and whether it was there before."""
    if name is not None and "%" not in name:
        system.check_exclusive(name, exclusive)
        if system.exists(name):
            return name, True
    made = system.create("feth" if name is None else name.removesuffix("%d"))
    undo.callback(system.destroy, system.kernel.index(made))
    return made, False


def _peer_of(control: Control, name: str) -> str:
    """The name of a feth's peer; empty if it has none."""
    answer = darwin.if_fake_request()
    drive = _drive(name, darwin.IF_FAKE_G_CMD_GET_PEER, answer)
    control.call(darwin.SIOCGDRVSPEC, drive)
    return bytes(answer.iffr_peer_name).decode()


def _join(control: Control, near: str, far: str) -> None:
    request = darwin.if_fake_request(iffr_peer_name=far.encode())
    drive = _drive(near, darwin.IF_FAKE_S_CMD_SET_PEER, request)
    try:
        control.call(darwin.SIOCSDRVSPEC, drive)
    except OSError as exc:
        if exc.errno == errno.EBUSY:
            raise _other_peer(near, far) from exc
        raise


def _drive(name: str, command: int, request: darwin.if_fake_request) -> darwin.ifdrv:
    return darwin.ifdrv(
        ifd_name=name.encode(),
        ifd_cmd=command,
        ifd_len=sizeof(request),
        ifd_data=addressof(request),
    )


def _other_peer(near: str, far: str) -> NameInUseError:
    return NameInUseError(
        errno.EBUSY,
        f"{near} or {far} has another peer",
        remedies=("take other names", f"destroy it first (ifconfig {near} destroy)"),
    )


def _open_bpf(system: System) -> int:
    """The first BPF device that nobody has open."""
    number = 0
    while True:
        try:
            return system.open_node(f"/dev/bpf{number}", "tap")
        except NameInUseError:
            number += 1
        except NoDriverError as exc:
            raise NoDriverError(
                exc.errno or 0,
                f"all {number} BPF devices are in use",
                remedies=("close one", "raise sysctl debug.bpf_maxdevices"),
            ) from exc
