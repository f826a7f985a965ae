"""macOS: utun for packets, a pair of feth for Ethernet frames; the rest as on the BSDs."""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import logging
import os

from ...config import DeviceConfig
from ..adopted import FdInterface
from ..base import Interface
from ..bsd.interface import BsdInterface, open_on
from ..bsd.kernel import Kernel
from ..bsd.queue import BsdQueue
from .system import Darwin
from .utun import UtunQueue, utun_name

__all__ = ["adopt", "adopt_on", "open_device", "system"]

logger = logging.getLogger("aiotun")


def open_device(config: DeviceConfig) -> tuple[BsdInterface, BsdQueue]:
    """Make the device and configure it.

    On failure everything is closed again. Raises the `TunError` that says what is missing.
    """
    return open_on(system(), config)


def system() -> Darwin:
    """The one that this process runs on."""
    return Darwin(Kernel())


def adopt(
    fd: int, config: DeviceConfig, closefd: bool, mtu: int
) -> tuple[Interface, UtunQueue] | None:
    """The device of a utun that somebody else opened, such as a Network Extension's.

    None for another descriptor. Where the system does not let this process look at interfaces
    (the sandbox of iOS), the device has its packets all the same; its MTU is as given then.
    """
    return adopt_on(Kernel(), fd, config, closefd, mtu)


def adopt_on(
    kernel: Kernel, fd: int, config: DeviceConfig, closefd: bool, mtu: int
) -> tuple[Interface, UtunQueue] | None:
    name = utun_name(kernel, fd)
    if name is None:
        return None
    darwin = Darwin(kernel)
    queue = UtunQueue(darwin, fd, closefd)
    os.set_blocking(fd, False)
    try:
        queue.index = kernel.index(name)
        return BsdInterface(darwin, queue, config), queue
    except OSError as exc:
        logger.info("only the descriptor of %s is known: %s", name, exc)
    return FdInterface(config, name, mtu, queue), queue
