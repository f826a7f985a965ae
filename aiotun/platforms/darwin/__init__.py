"""macOS: utun for packets, a pair of feth for Ethernet frames; the rest as on the BSDs."""

from __future__ import annotations

import sys

assert sys.platform != "win32"

from ...config import DeviceConfig
from ..bsd.interface import BsdInterface, open_on
from ..bsd.kernel import Kernel
from ..bsd.queue import BsdQueue
from .system import Darwin

__all__ = ["open_device"]


def open_device(config: DeviceConfig) -> tuple[BsdInterface, BsdQueue]:
    """Make the device and configure it.

    On failure everything is closed again. Raises the `TunError` that says what is missing.
    """
    return open_on(Darwin(Kernel()), config)
