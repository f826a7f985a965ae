"""One file or folder per operating system, all behind the contract in `base`."""

from __future__ import annotations

import errno
import sys
from typing import get_args

from ..config import DeviceConfig, Layer, check_layer, check_mtu
from ..errors import ConfigError, UnsupportedError
from ..native import tell_if_missing
from .base import Framing, Interface, Queue
from .phones import ANDROID, APPLE, how_to_get_one

__all__ = ["adopt", "open_device"]


def open_device(config: DeviceConfig) -> tuple[Interface, Queue]:
    """Make a device by this system's means.

    Raises `UnsupportedError` on a system that has none, and the `TunError` that
    says what is missing.
    """
    if sys.platform == "linux" and not ANDROID:
        from . import linux

        tell_if_missing()
        return linux.open_device(config)
    if sys.platform == "darwin":
        from . import darwin

        tell_if_missing()
        return darwin.open_device(config)
    if sys.platform != "win32" and sys.platform.startswith(("freebsd", "netbsd", "openbsd")):
        from . import bsd

        tell_if_missing()
        return bsd.open_device(config)
    if sys.platform == "win32":
        from . import windows

        tell_if_missing()
        return windows.open_device(config)
    raise UnsupportedError(
        errno.EOPNOTSUPP,
        f"aiotun cannot make devices on {'android' if ANDROID else sys.platform}",
        remedies=how_to_get_one(),
    )


def adopt(
    fd: int,
    config: DeviceConfig,
    *,
    closefd: bool,
    layer: Layer,
    framing: Framing | None,
    mtu: int,
) -> tuple[Interface, Queue]:
    """The device of an open descriptor. Without a framing the system is asked what it is.

    Of `config` the `KeptSettings` count.

    Raises `UnsupportedError` when the system does not know, `ConfigError` for what no
    device has, and `OSError` for a descriptor that is none; all leave it as it is.
    """
    check_layer(layer)
    check_mtu(mtu, layer)
    if framing is not None and framing not in get_args(Framing):
        names = ", ".join(map(repr, get_args(Framing)))
        raise ConfigError(f"framing must be one of {names}, not {framing!r}")
    if sys.platform == "linux" and framing is None and not ANDROID:
        from . import linux

        return linux.adopt(fd, config, closefd, layer, mtu)
    if ANDROID:  # com_android_server_connectivity_Vpn.cpp: IFF_TUN | IFF_NO_PI
        framing = framing or "none"
    if sys.platform != "win32" and APPLE and framing is None:
        from . import darwin

        utun = darwin.adopt(fd, config, closefd, mtu)
        if utun is not None:
            return utun
    if sys.platform != "win32" and framing is not None:
        from . import adopted

        return adopted.adopt(fd, config, closefd, layer, framing, mtu)
    raise UnsupportedError(
        errno.EOPNOTSUPP, f"{sys.platform} cannot tell what descriptor {fd} is: name the framing"
    )
