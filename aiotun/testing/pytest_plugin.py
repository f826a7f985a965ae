"""A pytest plugin for tests that use devices.

Switch it on in a conftest.py: `pytest_plugins = ["aiotun.testing.pytest_plugin"]`.
It brings

- the marker `requires("tun", "netns", ...)`: the test runs where the machine
  has all these capabilities (the names of `probes.names`) and is skipped,
  with the reason, where one is missing. With AIOTUN_TEST_REQUIRE=all in the
  environment it fails instead, so that no missing capability goes unnoticed;
- the fixture `namespace`: a network namespace of the test's own;
- the fixture `no_leaks`: the test fails if it leaves a descriptor or an
  interface behind;
- at the end of the run, what was skipped and why (`aiotun doctor` knows what to do).
"""

from __future__ import annotations

import gc
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import pytest

from ..probes import SECTIONS, probe
from ..probes import names as names_here
from .namespace import Namespace

__all__ = ["namespace", "no_leaks", "require"]

GRACE = 5.0
"""Seconds that something may take to close after its test ended: a TUN takes some 16 ms."""


def require(*names: str) -> None:
    """Skip the running test, or fail it (AIOTUN_TEST_REQUIRE=all), if a capability is missing.

    Raises `KeyError` for a name that no system has, and on Linux for one that it has not.
    """
    __tracebackhide__ = True
    for name in names:
        absent = sys.platform != "linux" and name not in names_here()
        if absent and any(name in members for members in SECTIONS.values()):
            pytest.skip(f"{name}: not on {sys.platform}")
        capability = probe(name)
        if capability.available:
            continue
        reason = f"{name}: {capability.detail}"
        if os.environ.get("AIOTUN_TEST_REQUIRE") == "all":
            pytest.fail(f"AIOTUN_TEST_REQUIRE=all, but this machine lacks {reason}", pytrace=False)
        pytest.skip(reason)


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """A network namespace for one test, loopback up; requires "netns"."""
    require("netns")
    with Namespace() as ns:
        yield ns


@pytest.fixture
def no_leaks() -> Iterator[None]:
    """Fails the test if it leaves a descriptor or a network interface behind."""
    probe("uvloop")  # libuv's first loop opens a pipe for the process's life
    before = _held()
    yield
    deadline = time.monotonic() + GRACE
    while left := _held() - before:
        if time.monotonic() > deadline:
            pytest.fail(f"left behind: {', '.join(sorted(left))}", pytrace=False)
        gc.collect()  # what only a reference cycle holds is no leak
        time.sleep(0.01)


def _held() -> set[str]:
    """The interfaces around this process, and its descriptors with what they are of.

    Windows has handles instead, of which nobody can say what they are of.
    """
    held = {f"interface {name}" for _, name in socket.if_nameindex()}
    for fd in os.listdir("/proc/self/fd") if sys.platform != "win32" else ():
        with suppress(FileNotFoundError):  # the descriptor of this very listing
            held.add(f"descriptor {fd} of {os.readlink(f'/proc/self/fd/{fd}')}")
    return held


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "requires(*names): skip the test where the machine lacks a capability"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("requires"):
        require(*marker.args)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", [])
    )
    if not reasons:
        return
    terminalreporter.section("skipped on this machine")
    for reason, count in sorted(reasons.items()):
        terminalreporter.line(f"{count:4}  {reason}")
