"""A machine as far as programs see it: a network of its own, and a /run of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from aiotun.cancelling import Closing
from aiotun.testing.namespace import (
    CLONE_NEWNS,
    MS_PRIVATE,
    MS_REC,
    Namespace,
    mount,
    setns,
    unshare,
)

CLONE_FS = 0x200  # linux/sched.h

ROOT = Path(__file__).parents[2]


def settings() -> dict[str, Any]:
    """Of `subprocess.Popen`, for a program of this project whose output is read as it comes."""
    return {
        "env": {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
        "text": True,
    }


class Machine(Closing):
    """Takes root, or root of a user namespace: the capabilities "netns" and "mountns"."""

    def __init__(self) -> None:
        self.namespace = Namespace()
        self._mounts = self.namespace.run(self._own_run)

    @staticmethod
    def _own_run() -> int:
        unshare(CLONE_NEWNS)
        mount(None, "/", None, MS_REC | MS_PRIVATE)
        mount("tmpfs", "/run", "tmpfs", 0)
        return os.open("/proc/thread-self/ns/mnt", os.O_RDONLY)

    def _start(self, command: Sequence[str], **settings: Any) -> subprocess.Popen[str]:
        unshare(CLONE_FS)  # without which no thread may change its mounts
        setns(self._mounts, CLONE_NEWNS)
        return subprocess.Popen(command, **settings)

    def start(self, *command: str, cwd: Path = ROOT) -> subprocess.Popen[str]:
        """Start a program; its output and errors are one text."""
        return self.namespace.run(self._start, command, cwd=cwd, **settings())

    def run(self, *command: str, cwd: Path = ROOT, status: int = 0) -> str:
        """Run a program to its end, which has to be this one, and return what it printed."""
        with self.start(*command, cwd=cwd) as process:
            try:
                output = process.communicate(timeout=50)[0]
            finally:
                process.kill()
        assert process.returncode == status, output
        return output

    @contextmanager
    def running(self, *command: str, cwd: Path = ROOT) -> Iterator[Program]:
        """A program that is killed in the end, if it has not ended before."""
        with Program.running(self.start(*command, cwd=cwd)) as program:
            yield program

    def close(self) -> None:
        os.close(self._mounts)
        self.namespace.close()


class Program:
    """One that runs; what it prints is read as it comes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.output = ""

    @classmethod
    @contextmanager
    def running(cls, process: subprocess.Popen[str]) -> Iterator[Program]:
        """It is killed in the end, if it has not ended before."""
        with process:
            try:
                yield cls(process)
            finally:
                process.kill()

    def wait_for(self, pattern: str) -> None:
        """Read on until there is a line that matches; the test's own timeout bounds it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if re.search(pattern, line):
                return
        pytest.fail(f"{pattern!r} is not in the output:\n{self.output}")

    def rewrite(self, path: Path, text: str) -> None:
        """Write its file, and have it read that at once (SIGHUP): a look takes seconds."""
        path.write_text(text)
        self.process.send_signal(signal.SIGHUP)

    def ended(self) -> int:
        """Its status, once it has ended."""
        self.output += self.process.communicate(timeout=50)[0]
        assert "Traceback" not in self.output, self.output
        assert "Warning" not in self.output, self.output
        return self.process.returncode

    def end(self, number: int) -> None:
        """End it by a signal: soon, and as if nothing had happened."""
        start = time.monotonic()
        self.process.send_signal(number)
        assert self.ended() == 0, self.output
        assert time.monotonic() - start < 15


PYTHON = (sys.executable, "-X", "dev")
"""Python, which tells of what is left open."""


def program(*words: str) -> tuple[str, ...]:
    """The command `aiotun wireguard` with these words."""
    return (*PYTHON, "-m", "aiotun", "wireguard", *words)


def complaints(errors: str) -> str:
    """What it printed, but for what is said on every busy machine, or one without a compiler."""
    expected = r"^(Executing <.*> took \d+\.\d{3} seconds|aiotun was installed without .*)\n"
    return re.sub(expected, "", errors, flags=re.MULTILINE)
