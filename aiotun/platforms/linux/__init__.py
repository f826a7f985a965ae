"""Linux: the TUN driver for frames, rtnetlink for everything about the interface."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

from ...config import DeviceConfig
from .interface import AS_FOUND, LinuxInterface, open_here
from .namespace import call_in_namespace, in_namespace_of
from .tun import TunQueue

__all__ = ["adopt", "open_device"]


def open_device(config: DeviceConfig) -> tuple[LinuxInterface, TunQueue]:
    """Make the device, in `config.namespace` or that of the calling thread, and configure it.

    A persistent TUN or TAP of that name which nobody has open is attached to, and only
    what differs from `config` is changed. On failure everything is closed again.
    Raises the `TunError` that says what is missing.
    """
    if config.namespace is not None:
        return call_in_namespace(config.namespace, lambda: open_here(config))
    return open_here(config)


def adopt(fd: int, closefd: bool) -> tuple[LinuxInterface, TunQueue]:
    """The device of a descriptor that is attached to an interface, whatever its namespace.

    Its configuration stays as it is. Raises `UnsupportedError` for any other descriptor.
    """
    queue = TunQueue.adopt(fd, closefd)
    config = DeviceConfig(
        **AS_FOUND, layer=queue.layer, offload=queue.vnet_hdr, multi_queue=queue.multi_queue
    )
    return in_namespace_of(queue.open_namespace, lambda: LinuxInterface(queue, config)), queue
