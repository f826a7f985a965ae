"""Network namespaces without names: they live as long as a descriptor holds them.

Nothing appears under /run/netns, so nothing is left behind however a process
ends. Needs CAP_SYS_ADMIN: root, or root of a user namespace (`become_root`).
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from ..cancelling import Closing

__all__ = ["Namespace", "become_root", "enter_namespace", "own_sysfs"]

T = TypeVar("T")

if sys.platform == "linux":
    from ..platforms.linux.threads import in_thread
else:

    def in_thread(function: Callable[[], T]) -> T:
        raise OSError(errno.ENOSYS, "only Linux has namespaces")


# linux/sched.h
CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000

# linux/mount.h
MS_REC = 0x4000
MS_PRIVATE = 0x40000

# linux/sockios.h, linux/if.h
SIOCSIFFLAGS = 0x8914
IFF_UP = 0x1


@cache
def _libc() -> ctypes.CDLL:
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, "only Linux has namespaces")
    return ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """unshare(2) for the calling thread; `os.unshare` came with Python 3.12."""
    _check(_libc().unshare(flags), "unshare")


def setns(fd: int, kind: int) -> None:
    """setns(2) for the calling thread; `os.setns` came with Python 3.12."""
    _check(_libc().setns(fd, kind), "setns")


def _check(result: int, call: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def become_root() -> None:
    """Enter a user namespace in which this process is root, once for the whole process.

    To be called before any thread is started: unshare(CLONE_NEWUSER) refuses a
    process with threads (EINVAL). Raises `OSError` where the system forbids it.
    """
    if sys.platform == "win32":
        raise OSError(errno.ENOSYS, "Windows has no user namespaces")
    uid, gid = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")


def enter_namespace() -> None:
    """Move the calling thread, and those it will start, to a fresh network namespace."""
    unshare(CLONE_NEWNET)
    _loopback_up()


def own_sysfs() -> None:
    """Give the calling thread a mount namespace whose /sys shows its network namespace.

    For a function that `Namespace.run` calls: /sys otherwise shows the
    interfaces of the network namespace in which it was mounted.
    """
    unshare(CLONE_NEWNS)
    mount(None, "/", None, MS_REC | MS_PRIVATE)  # or what follows would be seen outside
    mount("sysfs", "/sys", "sysfs", 0)


def mount(source: str | None, target: str, kind: str | None, flags: int) -> None:
    words = [word if word is None else word.encode() for word in (source, target, kind)]
    _check(_libc().mount(*words, ctypes.c_ulong(flags), None), f"mount {target}")


class Namespace(Closing):
    """A network namespace of its own, with its loopback interface up.

    >>> with Namespace() as ns:
    ...     server = ns.run(socket.create_server, ("127.0.0.1", 0))

    Sockets, devices and processes made through `run` stay in the namespace
    wherever they are used from.
    """

    def __init__(self) -> None:
        self._fd = in_thread(self._create)

    @staticmethod
    def _create() -> int:
        enter_namespace()
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    def fileno(self) -> int:
        """A descriptor of the namespace, as setns(2) takes it; -1 once closed."""
        return self._fd

    def run(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call the function in a thread that is in the namespace; return what it returns."""

        def call() -> T:
            setns(self._fd, CLONE_NEWNET)
            return function(*args, **kwargs)

        return in_thread(call)

    def command(self, *args: str) -> str:
        """Run a program in the namespace to its end and return what it printed.

        Raises `subprocess.CalledProcessError` when it fails.
        """
        done = self.run(
            subprocess.run, args, check=True, capture_output=True, text=True, timeout=60
        )
        return done.stdout

    def sysctl(self, name: str, value: object) -> None:
        """Set a variable of this namespace, such as "net.ipv4.ip_forward"."""
        path = Path("/proc/sys", *name.split("."))
        self.run(path.write_text, str(value))

    def close(self) -> None:
        """Let go of the namespace; the kernel ends it when nothing else holds it."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _loopback_up() -> None:
    request = struct.pack("16sH22x", b"lo", IFF_UP)  # struct ifreq
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        _check(_libc().ioctl(control.fileno(), SIOCSIFFLAGS, request), "SIOCSIFFLAGS")
