"""Doing something in another network namespace (setns(2), network_namespaces(7))."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import ctypes
import errno
import os
from collections.abc import Callable
from functools import cache
from typing import TypeVar

from ...errors import NamespaceError, NotPermittedError
from .threads import in_thread

__all__ = ["SIOCGSKNS", "TUNGETDEVNETNS", "call_in_namespace", "in_namespace_of"]

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
"""linux/sched.h"""

SIOCGSKNS = 0x894C
"""linux/sockios.h: a descriptor of a socket's namespace; of a TUN, of that where it was opened."""

TUNGETDEVNETNS = ord("T") << 8 | 227
if os.uname().machine.startswith(("alpha", "mips", "ppc", "sparc")):
    TUNGETDEVNETNS |= 0x2000_0000
"""linux/if_tun.h: a descriptor of the namespace that the interface is in (Linux 5.2). Some
architectures say of an ioctl that it has no argument: arch/*/include/uapi/asm/ioctl.h."""

NAMED = "/run/netns"
"""Where ip-netns(8) keeps namespaces by name."""


def call_in_namespace(namespace: str | os.PathLike[str] | int, function: Callable[[], T]) -> T:
    """Call the function in a network namespace: by name, by path, or by one of its processes.

    Raises `NamespaceError` when it is not there or is none, and `NotPermittedError` when this
    process may not enter it.
    """
    if isinstance(namespace, int):
        path = f"/proc/{namespace}/ns/net"
    else:
        path = os.fspath(namespace)
        path = path if "/" in path else f"{NAMED}/{path}"
    try:
        # Nonblocking: a pipe in its place, into which nobody writes, is refused too.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as exc:
        kind = NotPermittedError if isinstance(exc, PermissionError) else NamespaceError
        raise kind(
            exc.errno or 0,
            f"network namespace {namespace!r} cannot be entered ({exc.strerror})",
            path,
            remedies=("take one of those that `ip netns` lists",),
        ) from exc
    try:
        return _enter_and_call(fd, function)
    finally:
        os.close(fd)


def in_namespace_of(open_namespace: Callable[[], int], function: Callable[[], T]) -> T:
    """Call `function` in the network namespace whose descriptor `open_namespace` opens."""
    try:
        namespace = open_namespace()
    except PermissionError:  # an unprivileged process is where its devices are
        return function()
    try:
        return _enter_and_call(namespace, function)
    finally:
        os.close(namespace)


def _enter_and_call(namespace: int, function: Callable[[], T]) -> T:
    """Call the function in a thread of its own that is in the namespace of a descriptor.

    Where the calling thread is there already, it calls the function itself: to enter a
    namespace takes CAP_SYS_ADMIN.
    """
    if os.path.samestat(os.fstat(namespace), os.stat("/proc/thread-self/ns/net")):
        return function()

    def call() -> T:
        _enter(namespace)
        return function()

    return in_thread(call)


def _enter(namespace: int) -> None:
    if _libc().setns(namespace, CLONE_NEWNET) < 0:  # os.setns came with Python 3.12
        number = ctypes.get_errno()
        what = f"the network namespace cannot be entered ({os.strerror(number)})"
        if number == errno.EPERM:
            raise NotPermittedError(number, what, remedies=("run with CAP_SYS_ADMIN",))
        raise NamespaceError(number, what, remedies=("name a file of a network namespace",))


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
