"""The probes of what Windows offers."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes
import socket

from ..errors import TunError
from ..platforms.windows import wintun
from ..platforms.windows.iphlpapi import ip_helper
from ..platforms.windows.remedies import ADMINISTRATOR, IPV6
from .base import Missing, Probe
from .devices import PROBES as DEVICES

__all__ = ["PROBES"]


def _administrator() -> str:
    if not ctypes.WinDLL("shell32").IsUserAnAdmin():
        raise Missing("this process has no administrator's rights", *ADMINISTRATOR)
    return "this process has an administrator's rights"


def _wintun() -> str:
    try:
        library = wintun.load(None)
    except TunError as exc:
        raise Missing((exc.strerror or str(exc)).partition(": ")[0], *exc.remedies) from exc
    version = library.driver_version()
    driver = "its driver is not running" if version is None else "driver {}.{}".format(*version)
    return f"{library.path()}, {driver}"


def _ipv6() -> str:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError as exc:
        raise Missing(f"there is no IPv6 ({exc})", *IPV6) from exc
    return "sockets can be bound to ::1"


def _dns() -> str:
    if not ip_helper().has("SetInterfaceDnsSettings"):
        raise Missing("an interface cannot get DNS servers", "use Windows 10 2004 or later")
    return "an interface can get DNS servers"


PROBES = {
    "administrator": Probe(_administrator),
    "wintun": Probe(_wintun),
    "tun": Probe(DEVICES["tun"].attempt, "wintun"),
    "dns": Probe(_dns),
    "ipv6": Probe(_ipv6),
}
