"""What this machine offers, found out by trying.

Each probe makes the real thing for a moment (a device, a namespace, an event
loop) and undoes it; none decides by version numbers or file names. `probe` asks
one by its name and remembers the answer for the process.
"""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

__all__ = ["Capability", "Missing", "names", "probe"]


@dataclass(frozen=True)
class Capability:
    """The answer of one probe."""

    name: str
    available: bool
    detail: str
    """What was found, or why it is not there, in plain words."""
    remedies: tuple[str, ...] = ()
    """What to do to get it, one of these; empty when it is available."""


class Missing(Exception):
    """Raised by a probe: why the thing is not there, and what one can do about it."""

    def __init__(self, detail: str, *remedies: str) -> None:
        super().__init__(detail)
        self.detail = detail
        self.remedies = remedies


Probe = Callable[[], str]
"""Returns the detail of what is available; raises `Missing`."""


def names() -> tuple[str, ...]:
    """What can be asked for on this system."""
    return tuple(_probes())


@cache
def probe(name: str) -> Capability:
    """Try whether this process has the capability. Raises `KeyError` for an unknown name."""
    try:
        detail = _probes()[name]()
    except Missing as missing:
        return Capability(name, False, missing.detail, missing.remedies)
    return Capability(name, True, detail)


@cache
def _probes() -> dict[str, Probe]:
    probes: dict[str, Probe] = {}
    if sys.platform == "linux":
        from . import linux

        probes.update(linux.PROBES)
    probes.update(
        {
            "asyncio": partial(_event_loop, "asyncio", "use a complete Python"),
            "uvloop": partial(_event_loop, "uvloop", "pip install 'aiotun[uvloop]'"),
            "native": _native,
            "ip": partial(_tool, "ip", "-V", "iproute2"),
            "ping": partial(_tool, "ping", "-V", "iputils-ping"),
            "iperf3": partial(_tool, "iperf3", "--version", "iperf3"),
            "ethtool": partial(_tool, "ethtool", "--version", "ethtool"),
            "tshark": partial(_tool, "tshark", "--version", "tshark"),
            "cargo": partial(_tool, "cargo", "--version", "cargo"),
            "go": partial(_tool, "go", "version", "golang"),
            "nft": partial(_tool, "nft", "--version", "nftables"),
            "wg": partial(_tool, "wg", "--version", "wireguard-tools"),
        }
    )
    return probes


def _event_loop(module: str, remedy: str) -> str:
    try:
        library = importlib.import_module(module)
        library.new_event_loop().close()
    except (ImportError, OSError) as exc:
        raise Missing(str(exc), remedy) from exc
    return f"uvloop {library.__version__}" if module == "uvloop" else "Python's own loop"


def _native() -> str:
    from ..offload import implementation

    if implementation != "native":
        raise Missing(
            "the offload functions run in pure Python: correct, but slower",
            "leave AIOTUN_PURE unset",
            "install a C compiler and the Python headers, then install aiotun again",
        )
    return "the compiled offload functions are in use"


def _tool(name: str, version: str, package: str) -> str:
    remedy = f"apt-get install {package}, or what your system calls it"
    path = shutil.which(name)
    if path is None:
        raise Missing("not found in PATH", remedy)
    try:
        subprocess.run([path, version], check=True, capture_output=True, timeout=20)
    except (OSError, subprocess.SubprocessError) as exc:
        raise Missing(f"{path} does not run: {exc}", remedy) from exc
    return path
