"""What this machine offers, found out by trying.

Each probe makes the real thing for a moment (a device, a namespace, an event
loop) and undoes it; none decides by version numbers or file names. `probe` asks
one by its name and remembers the answer for the process.
"""

from __future__ import annotations

import sys
from functools import cache

from . import everywhere
from .base import Capability, Missing, Probe

__all__ = ["SECTIONS", "Capability", "names", "probe"]

SECTIONS = {
    "Device": (
        "tun-node",
        "admin",
        "wintun",
        "tun",
        "tap-driver",
        "tap",
        "multi-queue",
        "dns",
    ),
    "Offload": ("vnet-hdr", "tso", "uso", "native"),
    "Encryption": ("aead",),
    "Filters of a capture": ("libpcap",),
    "Event loops": ("asyncio", "uvloop"),
    "For tests and the demo": ("netns", "userns", "mountns", "sysctl", "ipv6"),
    "For make interop": (
        "ip",
        "ping",
        "curl",
        "iperf3",
        "ethtool",
        "tshark",
        "cargo",
        "go",
        "nft",
        "wg",
        "passt",
        "systemd",
        "qemu",
        "chromium",
        "fish",
        "zsh",
    ),
}
"""What can be asked for on any system, by what it is about."""


def names() -> tuple[str, ...]:
    """What can be asked for on this system."""
    return tuple(_probes())


@cache
def probe(name: str) -> Capability:
    """Try whether this process has the capability. Raises `KeyError` for an unknown name."""
    asked = _probes()[name]
    if asked.needs is not None and not probe(asked.needs).available:
        return Capability(name, False, f"not tried, as it needs {asked.needs}")
    try:
        detail = asked.attempt()
    except Missing as missing:
        return Capability(name, False, missing.detail, missing.remedies)
    return Capability(name, True, detail)


@cache
def _probes() -> dict[str, Probe]:
    if sys.platform == "linux":
        from . import linux

        return linux.PROBES | everywhere.PROBES
    if sys.platform.startswith(("darwin", "freebsd", "netbsd", "openbsd")):
        from . import devices

        return devices.PROBES | everywhere.PROBES
    if sys.platform == "win32":
        from . import windows

        # Its programs, and libpcap, are those of Linux.
        others = everywhere.PROBES.keys() - everywhere.TOOLS.keys() - {"libpcap", "qemu"}
        return windows.PROBES | {name: everywhere.PROBES[name] for name in sorted(others)}
    return dict(everywhere.PROBES)
