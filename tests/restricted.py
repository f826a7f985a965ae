"""What can be taken from the calling thread, and from what it runs."""

from __future__ import annotations

import ctypes
import socket
import sys
from contextlib import closing
from pathlib import Path

from aiotun.testing.namespace import CLONE_NEWNS, MS_PRIVATE, MS_REC, mount, unshare

# linux/prctl.h, linux/capability.h
PR_CAPBSET_DROP = 24
CAP_DAC_OVERRIDE, CAP_NET_ADMIN, CAP_SYS_ADMIN = 1, 12, 21


def drop(capability: int) -> None:
    """What the calling thread runs from now on does not get the capability."""
    assert ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0


def hide_node() -> None:
    """Nothing is in /dev/net for the calling thread and what it runs."""
    unshare(CLONE_NEWNS)
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    mount("tmpfs", "/dev/net", "tmpfs", 0)


def unreadable_node() -> None:
    hide_node()
    Path("/dev/net/tun").touch(mode=0o000)
    drop(CAP_DAC_OVERRIDE)


def node_without_driver() -> None:
    hide_node()
    if sys.platform == "linux":  # which type checkers want to read
        with closing(socket.socket(socket.AF_UNIX)) as node:
            node.bind("/dev/net/tun")  # opening it gives ENXIO, as without a driver
