"""utun: a socket of the kernel's utun control (bsd/net/if_utun.c of xnu)."""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import errno
from contextlib import ExitStack, suppress
from ctypes import sizeof

from ...config import DeviceConfig
from ...errors import NameInUseError, NotPermittedError
from ...interrupt import Interrupt, wait_for
from ..bsd.base import System, is_unit
from ..bsd.headers import darwin
from ..bsd.headers.common import IFNAMSIZ, SO_RCVBUF, SOCK_DGRAM, SOL_SOCKET
from ..bsd.kernel import Kernel
from ..bsd.queue import BsdQueue
from .recvmsg_x import checked

__all__ = ["UtunQueue", "open_utun", "utun_name"]

PENDING = 128
"""Packets that may wait in the socket, and so be read in one batch: READ_BATCH. By default it
is one."""

RECEIVE_BUFFER = 1 << 20


class UtunQueue(BsdQueue):
    """Pushes back, and tells nobody when it takes packets again.

    When too many wait inside, a write fails with ENOSPC or ENOBUFS; kqueue calls the socket
    writable all the while.
    """

    retry_after = 0.001
    framing = None

    def __init__(self, system: System, fd: int, closefd: bool = True) -> None:
        super().__init__(system, fd, "tun", stays=False, found=False, closefd=closefd)
        self._full = False

    def write(self, frame: bytes) -> None:
        try:
            super().write(frame)
        except OSError as exc:
            if exc.errno in (errno.ENOSPC, errno.ENOBUFS, errno.EAGAIN):
                self._full = True
                raise BlockingIOError(errno.EAGAIN, "the utun takes no more for now") from exc
            raise

    def wait_writable(self, timeout: float | None, *interrupts: Interrupt) -> bool:
        if not self._full:
            return super().wait_writable(timeout, *interrupts)
        self._full = False
        enough = timeout is None or timeout >= self.retry_after
        woken = wait_for(self.retry_after if enough else timeout, *interrupts)
        return woken or enough


def open_utun(system: System, config: DeviceConfig, undo: ExitStack) -> UtunQueue:
    """Unit 0 lets the kernel choose; otherwise it is the number in the name, and one."""
    kernel = system.kernel
    fd = kernel.socket(darwin.AF_SYSTEM, SOCK_DGRAM, darwin.SYSPROTO_CONTROL)
    queue = UtunQueue(system, fd)
    undo.callback(queue.close)
    info = darwin.ctl_info(ctl_name=darwin.UTUN_CONTROL_NAME)
    kernel.ioctl(fd, darwin.CTLIOCGINFO, info)
    unit = int((config.name or "")[4:]) + 1 if is_unit(config.name, "utun") else 0
    address = darwin.sockaddr_ctl(
        sc_len=sizeof(darwin.sockaddr_ctl),
        sc_family=darwin.AF_SYSTEM,
        ss_sysaddr=darwin.AF_SYS_CONTROL,
        sc_id=info.ctl_id,
        sc_unit=unit,
    )
    try:
        kernel.connect(fd, address)
    except OSError as exc:
        if exc.errno == errno.EBUSY:
            raise NameInUseError(
                exc.errno,
                f"{config.name} is in use",
                remedies=("leave the name out: the system then takes the next number",),
            ) from exc
        if exc.errno in (errno.EPERM, errno.EACCES):
            raise NotPermittedError(
                exc.errno, "this process may not make a utun", remedies=("run as root",)
            ) from exc
        raise
    name = utun_name(kernel, fd)
    assert name is not None
    queue.index = kernel.index(name)
    if config.darwin is not None and config.darwin.receive_many:
        queue.recvmsg_x = checked()
    with suppress(OSError):  # it works without, a packet at a time
        kernel.setsockopt(fd, darwin.SYSPROTO_CONTROL, darwin.UTUN_OPT_MAX_PENDING_PACKETS, PENDING)
        kernel.setsockopt(fd, SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER)
    return queue


def utun_name(kernel: Kernel, fd: int) -> str | None:
    """The name of the utun that the descriptor belongs to; None if it is of something else."""
    try:
        name = kernel.getsockopt(fd, darwin.SYSPROTO_CONTROL, darwin.UTUN_OPT_IFNAME, IFNAMSIZ)
    except OSError:  # no socket, or of another kind
        return None
    # Another of the kernel's controls, IPsec's, has the same option.
    return name.rstrip(b"\0").decode("ascii", "replace") if name.startswith(b"utun") else None
