"""A description of the machine and of everything that was measured on it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import aiotun.offload

from .programs import PEERS

__all__ = ["describe"]

PACKAGES = ("aiotun", "uvloop", "asyncssh", "cryptography")

TOOLS = {
    "iperf3": ("iperf3", "--version"),
    "ping": ("ping", "-V"),
    "rustc": ("rustc", "--version"),
    "go": ("go", "version"),
    "cc": ("cc", "--version"),
}


def describe() -> dict[str, Any]:
    """As JSON takes it."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": _first_match(r"model name\s*: (.*)", Path("/proc/cpuinfo")) or platform.machine(),
        "cores": os.cpu_count(),
        "memory": _first_match(r"MemTotal:\s*(.*)", Path("/proc/meminfo")),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "offload": aiotun.offload.implementation,
        "packages": {name: _package(name) for name in PACKAGES},
        "tun-rs": _first_match(r'name = "tun-rs"\nversion = "(.*)"', PEERS / "tun-rs/Cargo.lock"),
        "wireguard-go": _first_match(
            r"golang.zx2c4.com/wireguard (\S+)", PEERS / "wireguard-go/go.mod"
        ),
        "tools": {name: _version(command) for name, command in TOOLS.items()},
    }


def _first_match(pattern: str, path: Path) -> str | None:
    found = re.search(pattern, path.read_text())
    return found[1] if found else None


def _package(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _version(command: tuple[str, ...]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except OSError:
        return None
    return (done.stdout or done.stderr).splitlines()[0]
