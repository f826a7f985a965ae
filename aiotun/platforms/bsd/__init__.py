"""FreeBSD, NetBSD and OpenBSD: a tun or tap for frames, ioctls and the routing socket for the rest.

What they share with macOS stands here, too.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

from ...config import DeviceConfig
from .base import System
from .freebsd import FreeBSD
from .interface import BsdInterface, open_on
from .kernel import Kernel
from .netbsd import NetBSD
from .openbsd import OpenBSD
from .queue import BsdQueue

__all__ = ["open_device", "system"]


def open_device(config: DeviceConfig) -> tuple[BsdInterface, BsdQueue]:
    """Make the device, or attach to one of that name which nobody has open, and configure it.

    On failure everything is closed again. Raises the `TunError` that says what is missing.
    """
    return open_on(system(), config)


def system() -> System:
    """The one that this process runs on."""
    if sys.platform.startswith("netbsd"):
        return NetBSD(Kernel())
    return OpenBSD(Kernel()) if sys.platform.startswith("openbsd") else FreeBSD(Kernel())
