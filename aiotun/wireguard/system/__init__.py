"""What an interface needs of its system besides a device: `base` says what, a file each how."""

from __future__ import annotations

import errno
import sys
from typing import TYPE_CHECKING

from ...errors import UnsupportedError
from .base import System

if TYPE_CHECKING:
    from ..endpoint import WireGuard

__all__ = ["System", "open_system"]


def open_system(wireguard: WireGuard) -> System:
    """This system's, for an interface that is up.

    Raises `OSError`, and `UnsupportedError` on a system of which nobody has told us.
    """
    if sys.platform == "linux":
        from .linux import Linux

        return Linux(wireguard.device)
    raise UnsupportedError(
        errno.EOPNOTSUPP, f"aiotun cannot make routes to WireGuard's peers on {sys.platform}"
    )
