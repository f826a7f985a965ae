"""Windows: Wintun for packets, iphlpapi for everything about the interface."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import errno
import itertools
import uuid

from ...config import DeviceConfig
from ...errors import NameInUseError, UnsupportedError
from ...options import WindowsOptions
from . import wintun
from .interface import WindowsInterface
from .iphlpapi import IpHelper, ip_helper
from .queue import RingQueue

__all__ = ["NAMES", "WindowsInterface", "open_device"]

NAMES = uuid.UUID("5f2b1a4e-6d0c-5c43-9b7e-8f1d2a6c7e90")
"""The namespace (RFC 9562) of the GUIDs that are derived from names. It never changes."""

FIXED: dict[str, tuple[tuple[object, ...], str]] = {
    "layer": (("tun",), "Wintun has no TAP"),
    "carrier": ((None, True), "a link shows one while it is up"),
    "connected_routes": ((True,), "an address always brings the route to its network"),
    "group": ((None,), "no group owns an adapter"),
    "multi_queue": ((False,), "Wintun has one queue"),
    "namespace": ((None,), "there are no network namespaces"),
    "owner": ((None,), "no user owns an adapter"),
    "persistent": ((None, False), "an adapter of Wintun ends with its program"),
    "tx_queue_len": ((None,), "windows=WindowsOptions(ring_capacity=...) says how much waits"),
}
"""Fields of which a device on Windows has these values alone, and why."""


def open_device(config: DeviceConfig) -> tuple[WindowsInterface, RingQueue]:
    """Make the adapter and configure it. On failure nothing is left.

    Raises `UnsupportedError`, `NoDriverError`, `NameInUseError`, and the `TunError` that
    says what is missing.
    """
    _check(config)
    options = config.windows or WindowsOptions()
    ip = ip_helper()
    library = wintun.load(options.wintun_file)
    name = _free_name(ip, config.name or "tun%d")
    guid = options.guid or uuid.uuid5(NAMES, name)
    adapter = library.create(name, options.description, guid)
    adapter.delete_driver = options.delete_driver
    queue = RingQueue(adapter, options.ring_capacity)
    try:
        return WindowsInterface(ip, adapter.luid, queue, config, options), queue
    except BaseException:
        queue.close()
        raise


def _check(config: DeviceConfig) -> None:
    for field, (values, why) in FIXED.items():
        value = getattr(config, field)
        if value not in values:
            raise UnsupportedError(errno.EOPNOTSUPP, f"{field}={value!r} is not for Windows: {why}")


def _free_name(ip: IpHelper, pattern: str) -> str:
    """The name, its number filled in. Raises `NameInUseError`: Wintun would rename the other."""
    if "%d" in pattern:
        names = (pattern.replace("%d", str(number)) for number in itertools.count())
        return next(name for name in names if ip.luid(name) is None)
    if ip.luid(pattern) is not None:
        raise NameInUseError(
            errno.EEXIST,
            f"interface {pattern!r} exists",
            remedies=("take another name", "close the program that has it"),
        )
    return pattern
