"""Linux: the TUN driver for frames, rtnetlink for everything about the interface."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import errno
import logging
from contextlib import suppress
from dataclasses import replace

from ...config import DeviceConfig, Layer
from ...errors import InterfaceGoneError, NotPermittedError
from .. import adopted
from ..base import Framing, Interface, Queue
from .interface import LinuxInterface, open_here
from .namespace import call_in_namespace, in_namespace_of
from .tun import TunQueue

__all__ = ["adopt", "open_device"]

logger = logging.getLogger("aiotun")

REFUSED = {errno.EACCES, errno.EPERM, errno.EAFNOSUPPORT}
"""SELinux, seccomp or a missing capability; systemd's RestrictAddressFamilies."""


def open_device(config: DeviceConfig) -> tuple[LinuxInterface, TunQueue]:
    """Make the device, in `config.namespace` or that of the calling thread, and configure it.

    A persistent TUN or TAP of that name which nobody has open is attached to, and only
    what differs from `config` is changed. On failure everything is closed again.
    Raises the `TunError` that says what is missing.
    """
    if config.namespace is not None:
        return call_in_namespace(config.namespace, lambda: open_here(config))
    return open_here(config)


def adopt(
    fd: int, config: DeviceConfig, closefd: bool, layer: Layer, mtu: int
) -> tuple[Interface, Queue]:
    """The device of a descriptor that is attached to an interface, whatever its namespace.

    Its configuration stays as it is. Where the system refuses rtnetlink (a phone, a sandbox,
    another namespace) the device has its packets all the same; where it refuses the driver's
    ioctls as well, its layer is as given. Its MTU is as given in both cases.

    Raises `UnsupportedError` for any other descriptor.
    """
    try:
        queue = TunQueue.adopt(fd, closefd)
    except NotPermittedError as exc:
        logger.info("descriptor %d is taken for a %s without headers: %s", fd, layer, exc)
        return adopted.adopt(fd, config, closefd, layer, "none", mtu)
    config = replace(
        config, layer=queue.layer, offload=queue.vnet_hdr, multi_queue=queue.multi_queue
    )
    try:
        return in_namespace_of(queue.open_namespace, lambda: LinuxInterface(queue, config)), queue
    except OSError as exc:
        if exc.errno not in REFUSED and not isinstance(exc, InterfaceGoneError):
            raise
        name = queue.name  # raises if the interface is not there at all
        logger.info("only the descriptor of %s is known: %s", name, exc)
    with suppress(PermissionError):  # then the size is what the kernel starts with
        queue.check_header()
    framing: Framing = "vnet" if queue.vnet_hdr else "none"
    return adopted.adopt(fd, config, closefd, queue.layer, framing, mtu, name)
