"""Which processes have a TUN or TAP open: /proc/PID/fdinfo names the interface of a descriptor."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import ctypes
import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from .namespace import TUNGETDEVNETNS
from .remedies import NODE

__all__ = ["Holder", "describe", "holders"]

FIELD = "iff:\t"
"""tun_chr_show_fdinfo (drivers/net/tun.c)."""

PIDFD_GETFD = 438
"""pidfd_getfd(2), which `os` has not; the number is the same for every processor."""


class Holder(NamedTuple):
    pid: int
    command: str
    """Its name, as ps(1) shows it."""


def holders() -> dict[str, list[Holder]]:
    """By name, the interfaces of this network namespace and the processes that have them open.

    As far as this process may look: at those of the same user, or as root at all. One whose
    namespace may not be asked for (Linux 5.6, CAP_NET_ADMIN there) is taken for one of this.
    """
    here = os.stat("/proc/thread-self/ns/net").st_ino
    found: dict[str, list[Holder]] = {}
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            with suppress(OSError):  # it has ended, or belongs to somebody else
                for name in set(_open_in(process, here)):
                    command = (process / "comm").read_text(errors="replace").strip()
                    found.setdefault(name, []).append(Holder(int(process.name), command))
    return found


def _open_in(process: Path, namespace: int) -> Iterator[str]:
    for fd in os.listdir(process / "fd"):
        with suppress(OSError):
            if os.readlink(process / "fd" / fd) == NODE:
                for line in (process / "fdinfo" / fd).read_text().splitlines():
                    name = line.removeprefix(FIELD)
                    if name in ("", line):  # it has no interface yet, or is another line
                        continue
                    if _namespace_of(int(process.name), int(fd)) in (namespace, None):
                        yield name


def _namespace_of(pid: int, fd: int) -> int | None:
    """The inode of the network namespace that the descriptor's interface is in, if that is told."""
    with ExitStack() as stack, suppress(OSError):
        process = os.pidfd_open(pid)
        stack.callback(os.close, process)
        copy = ctypes.CDLL(None).syscall(PIDFD_GETFD, process, fd, 0)
        if copy >= 0:
            stack.callback(os.close, copy)
            namespace = fcntl.ioctl(copy, TUNGETDEVNETNS)
            stack.callback(os.close, namespace)
            return os.fstat(namespace).st_ino
    return None


def describe(name: str) -> str:
    """Who has the interface open, in words; "" where that cannot be seen."""
    found = holders().get(name, [])
    return ", ".join(
        "this process" if pid == os.getpid() else f"{command} (pid {pid})" for pid, command in found
    )
