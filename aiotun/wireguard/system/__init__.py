"""What an interface needs of its system besides a device: `base` says what, a file each how."""

from __future__ import annotations

import errno
import sys
from typing import TYPE_CHECKING

from ...errors import UnsupportedError
from .base import System

if TYPE_CHECKING:
    from ..endpoint import WireGuard

__all__ = ["System", "device_name", "open_system"]


def device_name(name: str) -> str:
    """What to call the interface that an administrator calls by this name: that, unless the
    system numbers its interfaces, which then takes the next number."""
    if sys.platform == "darwin":
        from ...platforms import darwin
        from .bsd import numbered

        return numbered(name, darwin.system())
    if sys.platform != "win32" and sys.platform.startswith(("freebsd", "netbsd", "openbsd")):
        from ...platforms import bsd
        from .bsd import numbered

        return numbered(name, bsd.system())
    return name


def open_system(wireguard: WireGuard) -> System:
    """This system's, for an interface that is up.

    Raises `OSError`, and `UnsupportedError` on a system of which nobody has told us.
    """
    device = wireguard.device
    if sys.platform == "linux":
        from .linux import Linux

        return Linux(device)
    if sys.platform == "win32":
        from .windows import Windows

        return Windows(wireguard)
    if sys.platform == "darwin":
        from ...platforms import darwin
        from .bsd import Bsd
        from .darwin_dns import DarwinDNS

        return Bsd(darwin.system(), device.index, DarwinDNS(device.name))
    if sys.platform != "win32" and sys.platform.startswith(("freebsd", "netbsd", "openbsd")):
        from ...platforms import bsd
        from .bsd import Bsd
        from .bsd_dns import BsdDNS

        return Bsd(bsd.system(), device.index, BsdDNS(device.name))
    raise UnsupportedError(
        errno.EOPNOTSUPP, f"aiotun cannot make routes to WireGuard's peers on {sys.platform}"
    )
