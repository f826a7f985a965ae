"""Linux: the TUN driver for frames, rtnetlink for everything about the interface."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import errno

from ...config import DeviceConfig
from ...errors import UnsupportedError
from .interface import AS_FOUND, LinuxInterface, in_namespace_of, open_here
from .namespace import call_in_namespace
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
    config = DeviceConfig(**AS_FOUND, layer=queue.layer, multi_queue=queue.multi_queue)
    interface = in_namespace_of(queue, lambda: LinuxInterface(queue, config))
    if interface.details().packet_information:  # TUNGETIFF has no bit for it that can be trusted
        interface.close()
        raise UnsupportedError(
            errno.EOPNOTSUPP,
            f"descriptor {fd} was opened with packet information",
            remedies=(
                "open it with IFF_NO_PI",
                'do without all but its packets (framing="pi")',
            ),
        )
    return interface, queue
