"""One file or folder per operating system, all behind the contract in `base`."""

from __future__ import annotations

import errno
import sys

from ..config import DeviceConfig
from ..errors import UnsupportedError
from .base import Interface, Queue

__all__ = ["open_device"]


def open_device(config: DeviceConfig) -> tuple[Interface, Queue]:
    """Make a device by this system's means.

    Raises `UnsupportedError` on a system that has none, and the `TunError` that
    says what is missing.
    """
    if sys.platform == "linux":
        from . import linux

        return linux.open_device(config)
    raise UnsupportedError(
        errno.EOPNOTSUPP, f"aiotun cannot make devices on {sys.platform}: only on Linux"
    )
