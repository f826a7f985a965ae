"""Doing something in another network namespace (setns(2), network_namespaces(7))."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import ctypes
import os
from collections.abc import Callable
from functools import cache
from typing import TypeVar

from ...errors import NamespaceError
from .threads import in_thread

__all__ = ["call_in_namespace", "enter_and_call"]

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
"""linux/sched.h"""

NAMED = "/run/netns"
"""Where ip-netns(8) keeps namespaces by name."""


def call_in_namespace(namespace: str | os.PathLike[str] | int, function: Callable[[], T]) -> T:
    """Call the function in a network namespace: by name, by path, or by one of its processes.

    Raises `NamespaceError` when it is not there, is none, or this process may not enter it.
    """
    if isinstance(namespace, int):
        path = f"/proc/{namespace}/ns/net"
    else:
        path = os.fspath(namespace)
        path = path if "/" in path else f"{NAMED}/{path}"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as exc:
        raise NamespaceError(
            exc.errno,
            f"network namespace {namespace!r} cannot be entered: {exc.strerror}; "
            "`ip netns` lists those with a name",
            path,
        ) from exc
    try:
        return enter_and_call(fd, function)
    finally:
        os.close(fd)


def enter_and_call(namespace: int, function: Callable[[], T]) -> T:
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
        raise NamespaceError(
            number,
            f"the network namespace cannot be entered: {os.strerror(number)}; "
            "it takes CAP_SYS_ADMIN and a file of a network namespace",
        )


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
