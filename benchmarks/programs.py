"""The forwarder programs: ours and the peers', and how each is built."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PEERS", "PROGRAMS", "ROOT", "BuildError", "Program"]

ROOT = Path(__file__).parent.parent
PEERS = Path(__file__).parent / "peers"


class BuildError(Exception):
    """A program cannot be had on this machine; says why."""


@dataclass(frozen=True)
class Program:
    """A program that forwards between two TUN devices whose names end its command line.

    It creates both devices, prints "ready", and runs until it is ended.
    """

    title: str
    command: tuple[str, ...]
    source: Path = ROOT
    build: tuple[str, ...] = ()
    """Run in `source`; quick when nothing changed."""
    module: str | None = None
    """The Python module that it needs."""

    def prepare(self) -> None:
        """Build it. Raises `BuildError`."""
        if self.module is not None and importlib.util.find_spec(self.module) is None:
            raise BuildError(f"the Python package {self.module} is not installed")
        if not self.build:
            return
        if shutil.which(self.build[0]) is None:
            raise BuildError(f"{self.build[0]} is not installed")
        (self.source / "target").mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            self.build, cwd=self.source, capture_output=True, text=True, timeout=1800
        )
        if done.returncode:
            raise BuildError(f"{' '.join(self.build)} failed:\n{done.stderr[-2000:]}")


def _python(*args: str) -> tuple[str, ...]:
    return (sys.executable, *args)


def _compiled(title: str, folder: str, binary: str, *build: str) -> Program:
    source = PEERS / folder
    return Program(title, (str(source / binary),), source, build)


PROGRAMS = {
    "aiotun": Program("aiotun", _python("-m", "benchmarks.forwarder")),
    "tun-rs": _compiled(
        "tun-rs", "tun-rs", "target/release/forward", "cargo", "build", "--release", "--locked"
    ),
    "wireguard-go": _compiled(
        "wireguard-go's tun package",
        "wireguard-go",
        "target/forward",
        *("go", "build", "-o", "target/forward", "."),
    ),
    "c": _compiled(
        "C, epoll",
        "c",
        "target/forward",
        *("cc", "-O2", "-pthread", "-o", "target/forward", "forward.c"),
    ),
    "asyncssh": Program(
        "asyncssh's TUN transport",
        _python(str(PEERS / "asyncssh" / "forward.py")),
        module="asyncssh",
    ),
}
