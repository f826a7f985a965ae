"""The probes of what Windows offers."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes
import socket

from ..errors import TunError
from ..platforms.windows import wintun
from ..platforms.windows.iphlpapi import ip_helper
from ..platforms.windows.remedies import ADMINISTRATOR, IPV6, TAP
from ..platforms.windows.services import is_running
from ..platforms.windows.setupapi import setup_api
from ..platforms.windows.trust import file_version, signature_fault
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
    path = library.path()
    signature = signature_fault(path) or "signed"
    return f"{path}, version {file_version(path) or 'unknown'}, {signature}, {driver}"


def _tap_driver() -> str:
    try:
        version = setup_api().driver_version()
    except OSError as exc:
        raise Missing(f"the system does not tell of drivers ({exc})", *ADMINISTRATOR) from exc
    if version is None:
        raise Missing("the TAP-Windows driver is not installed", *TAP)
    return f"tap-windows6 {version}"


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
    if not is_running("Dnscache"):
        raise Missing(
            "the service Dnscache does not run: nobody asks an interface's DNS servers",
            "start it, or the machine anew",
        )
    return "an interface can get DNS servers"


PROBES = {
    "admin": Probe(_administrator),
    "wintun": Probe(_wintun),
    "tun": Probe(DEVICES["tun"].attempt, "wintun"),
    "tap-driver": Probe(_tap_driver),
    "tap": Probe(DEVICES["tap"].attempt, "tap-driver"),
    "dns": Probe(_dns),
    "ipv6": Probe(_ipv6),
}
