"""Windows: Wintun for TUNs, tap-windows6 for TAPs, iphlpapi for all about the interface."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import errno
import itertools
import uuid

from ...config import DeviceConfig
from ...errors import MACError, NameInUseError, UnsupportedError
from ...options import WindowsOptions
from . import wintun
from .interface import WindowsInterface
from .iphlpapi import IpHelper, ip_helper
from .queue import EventQueue
from .rings import RingQueue
from .setupapi import setup_api
from .tap import TapQueue

__all__ = ["NAMES", "WindowsInterface", "ip_helper", "open_device"]

NAMES = uuid.UUID("5f2b1a4e-6d0c-5c43-9b7e-8f1d2a6c7e90")
"""The namespace (RFC 9562) of the GUIDs that are derived from names. It never changes."""

FIXED: dict[str, tuple[tuple[object, ...], str]] = {
    "carrier": ((None, True), "a link shows one while it is up"),
    "connected_routes": ((True,), "an address always brings the route to its network"),
    "group": ((None,), "no group owns an adapter"),
    "multi_queue": ((False,), "an adapter has one queue"),
    "namespace": ((None,), "there are no network namespaces"),
    "owner": ((None,), "no user owns an adapter"),
    "tx_queue_len": ((None,), "windows=WindowsOptions(ring_capacity=...) says how much waits"),
}
"""Fields of which a device on Windows has these values alone, and why."""


def open_device(config: DeviceConfig) -> tuple[WindowsInterface, EventQueue]:
    """Make the adapter, or open the TAP that is there, and configure it.

    Raises `UnsupportedError`, `NoDriverError`, `NameInUseError`, and the `TunError` that
    says what is missing. What was made is removed then.
    """
    for field, (values, why) in FIXED.items():
        _check(config, field, values, why)
    options = config.windows or WindowsOptions()
    return (_open_tun if config.layer == "tun" else _open_tap)(config, options, ip_helper())


def _check(config: DeviceConfig, field: str, values: tuple[object, ...], why: str) -> None:
    value = getattr(config, field)
    if value not in values:
        raise UnsupportedError(errno.EOPNOTSUPP, f"{field}={value!r} is not for Windows: {why}")


def _open_tun(
    config: DeviceConfig, options: WindowsOptions, ip: IpHelper
) -> tuple[WindowsInterface, EventQueue]:
    _check(config, "persistent", (None, False), "an adapter of Wintun ends with its program")
    library = wintun.load(options.wintun_file)

    def choose() -> tuple[str, uuid.UUID]:
        name = _free_name(ip, config.name or "tun%d")
        return name, options.guid or uuid.uuid5(NAMES, name)

    adapter = library.create(choose, options.description)
    adapter.delete_driver = options.delete_driver
    queue = RingQueue(adapter, options.ring_capacity)
    try:
        return WindowsInterface(ip, adapter.luid, queue, config, options), queue
    except BaseException:
        queue.close()
        raise


def _open_tap(
    config: DeviceConfig, options: WindowsOptions, ip: IpHelper
) -> tuple[WindowsInterface, EventQueue]:
    """Windows names a new one itself: it is renamed when it is there."""
    if options.guid is not None:
        raise UnsupportedError(errno.EOPNOTSUPP, "guid= is for a TUN: Windows chooses a TAP's")
    setup = setup_api()
    pattern = config.name or "tap%d"
    luid = None if config.exclusive or "%d" in pattern else ip.luid(pattern)
    made = luid is None or not setup.find(luid)
    if luid is None or made:
        name = _free_name(ip, pattern)
        luid = setup.make(config.mac)
    try:
        queue = TapQueue(setup, luid, uuid.UUID(bytes_le=bytes(ip.guid(luid))))
    except BaseException:
        if made:
            setup.remove(luid)
        raise
    queue.persistent = not made
    try:
        interface = WindowsInterface(ip, luid, queue, config, options)
    except BaseException:
        queue.close()
        raise
    try:
        if made:
            interface.set_name(name)
        elif config.mac not in (None, interface.details().mac):
            raise MACError(f"TAP {pattern!r} is there: its MAC address stays as it was made")
    except BaseException:
        interface.close()
        queue.close()
        raise
    if config.persistent is not None:
        queue.persistent = config.persistent
    return interface, queue


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
