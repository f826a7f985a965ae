"""Linux: the TUN driver for frames, rtnetlink for everything about the interface."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

from contextlib import ExitStack

from ...config import DeviceConfig
from .interface import LinuxInterface
from .tun import TunQueue

__all__ = ["open_device"]


def open_device(config: DeviceConfig) -> tuple[LinuxInterface, TunQueue]:
    """Make the device, in the network namespace of the calling thread, and configure it.

    A persistent TUN or TAP of that name which nobody has open is attached to, and only
    what differs from `config` is changed. On failure everything is closed again.
    Raises the `TunError` that says what is missing.
    """
    with ExitStack() as undo:
        queue = TunQueue(config)
        undo.callback(queue.close)
        interface = LinuxInterface(queue, config)
        undo.pop_all()
    return interface, queue
