"""Processes in a namespace: started, awaited in bounded time, accounted, ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from aiotun.cancelling import Closing
from aiotun.probes import probe
from aiotun.testing.namespace import Namespace

from .programs import ROOT

__all__ = ["MeasurementError", "Process", "prepare"]

USER_HZ = 100
"""What /proc counts processor time in (include/uapi/asm-generic/param.h)."""


def prepare(*needed: str) -> None:
    """Exit if the machine lacks a capability; ended from outside later, end what was started."""
    for name in needed:
        found = probe(name)
        if not found.available:
            sys.exit(f"{name}: {found.detail} ({', or '.join(found.remedies)})")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


class MeasurementError(Exception):
    """A measurement came to nothing; says why. The others go on."""


class Process(Closing):
    """A running program; leaving the context ends it.

    What it prints goes to files, so that it never blocks on us.
    """

    def __init__(
        self, namespace: Namespace, *args: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self._name = " ".join(args)
        self._folder = tempfile.TemporaryDirectory(prefix="aiotun-bench-")
        self._output, self._errors = (
            Path(self._folder.name, name) for name in ("output", "errors")
        )
        inherited = {key: value for key, value in os.environ.items() if key != "AIOTUN_PURE"}
        with self._output.open("w") as output, self._errors.open("w") as errors:
            self._process = namespace.run(
                subprocess.Popen,
                args,
                cwd=ROOT,
                env={**inherited, "LC_ALL": "C", **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,  # a Ctrl-C is ours alone: we end the processes in order
            )

    def close(self) -> None:
        """End the process, and forget what it printed."""
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def output(self) -> str:
        """What it printed so far."""
        return self._output.read_text(errors="replace")

    def errors(self) -> str:
        """What it wrote to its standard error so far, where its log goes."""
        return self._errors.read_text(errors="replace")

    def wait_for(self, text: str, timeout: float) -> None:
        """Wait until it has printed the text. Raises `MeasurementError`."""
        deadline = time.monotonic() + timeout
        while text not in self.output():
            if not self.running or time.monotonic() > deadline:
                raise self._failure(f'did not print "{text}"')
            time.sleep(0.01)

    def finish(self, timeout: float) -> str:
        """Wait for its end and return what it printed. Raises `MeasurementError`."""
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise self._failure(f"did not end within {timeout:.0f} s") from None
        if status:
            raise self._failure(f"ended with status {status}")
        return self.output()

    def check(self) -> None:
        """Raise `MeasurementError` unless it is running."""
        if not self.running:
            raise self._failure(f"ended with status {self._process.returncode}")

    def cpu_seconds(self) -> float:
        """User and system time of all its threads so far (proc(5), fields 14 and 15 of stat)."""
        self.check()
        stat = Path(f"/proc/{self._process.pid}/stat").read_text()
        fields = stat.rpartition(")")[2].split()  # from field 3 on
        return (int(fields[11]) + int(fields[12])) / USER_HZ

    def peak_memory(self) -> int:
        """Bytes resident at most so far (proc(5): VmHWM in status)."""
        return self._memory("VmHWM")

    def resident_memory(self) -> int:
        """Bytes resident now (VmRSS)."""
        return self._memory("VmRSS")

    def _memory(self, field: str) -> int:
        self.check()
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition(f"{field}:")[2].split()[0]) * 1024  # in KiB there

    def _failure(self, what: str) -> MeasurementError:
        said = (self.errors() or self.output())[-500:].strip()
        return MeasurementError(f"{self._name} {what}: {said or 'it said nothing'}")
