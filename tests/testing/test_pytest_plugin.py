"""The pytest plugin, on suites of one file that run in a pytest of their own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import aiotun
from aiotun.testing import pytest_plugin

Run = Callable[..., pytest.RunResult]

HEAD = """
import os, socket
import pytest
from aiotun import probes
from aiotun.probes.base import Missing, Probe

def never():
    raise Missing("no luck today", "wait")

probes._probes()["luck"] = Probe(never)
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a test file with the plugin and the arguments; returns the result."""
    monkeypatch.delenv("AIOTUN_TEST_REQUIRE", raising=False)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(aiotun.__file__).parents[1]), prepend=os.pathsep)

    def run(body: str, *arguments: str) -> pytest.RunResult:
        pytester.makeconftest('pytest_plugins = ["aiotun.testing.pytest_plugin"]')
        pytester.makepyfile(HEAD + body)
        return pytester.runpytest_subprocess("--strict-markers", *arguments)

    return run


REQUIRES_LUCK = """
@pytest.mark.requires("asyncio", "luck")
def test_lucky():
    raise AssertionError("ran")

@pytest.mark.requires("luck")
def test_lucky_too():
    raise AssertionError("ran")

@pytest.mark.requires("asyncio")
def test_easy():
    pass
"""


def test_skips_and_tells_why_at_the_end(run: Run) -> None:
    result = run(REQUIRES_LUCK)
    result.assert_outcomes(passed=1, skipped=2)
    result.stdout.fnmatch_lines(["*skipped on this machine*", "   2  luck: no luck today"])


def test_a_skip_is_a_failure_where_all_is_required(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIOTUN_TEST_REQUIRE", "all")
    result = run(REQUIRES_LUCK)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines(["*AIOTUN_TEST_REQUIRE=all*lacks luck: no luck today"])


def test_nothing_skipped_nothing_told(run: Run) -> None:
    result = run("def test_easy(): pass")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*skipped on this machine*")


def test_every_reason_is_told_once(run: Run) -> None:
    result = run("""
@pytest.mark.parametrize("n", range(3))
def test_other(n):
    pytest.skip("some other reason")
""")
    result.assert_outcomes(skipped=3)
    result.stdout.fnmatch_lines(["   3  some other reason"])


def test_unknown_capability_is_an_error(run: Run) -> None:
    run('@pytest.mark.requires("time-travel")\ndef test(): pass').assert_outcomes(errors=1)


def test_elsewhere_what_no_system_has_is_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pytest_plugin, "names_here", lambda: ("asyncio",))
    monkeypatch.setattr(sys, "platform", "netbsd11")
    with pytest.raises(pytest.skip.Exception, match="netns: not on netbsd11"):
        pytest_plugin.require("asyncio", "netns")
    with pytest.raises((KeyError, pytest.skip.Exception)) as caught:
        pytest_plugin.require("time-travel")
    assert caught.type is KeyError


@pytest.mark.requires("netns")
def test_namespace_is_of_the_test(run: Run) -> None:
    result = run("""
def test(namespace):
    assert namespace.run(socket.if_nameindex) == [(1, "lo")]
    assert os.fstat(namespace.fileno()).st_ino != os.stat("/proc/self/ns/net").st_ino
""")
    result.assert_outcomes(passed=1)


LEAKS = {
    "pipe": ("kept.append(os.pipe())", "descriptor * of pipe:*"),
    "socket": ("kept.append(socket.socket())", "descriptor * of socket:*"),
    "file": ("kept.append(os.open('/dev/null', 0))", "descriptor * of /dev/null"),
    "interface": ("persistent_interface('stays')", "interface stays"),
    "reference_cycle": ("cycle = [socket.socket()]; cycle.append(cycle)", None),
    "closed": ("os.close(os.dup(1))", None),
    "closed_a_little_later": ("threading.Timer(0.05, os.close, [os.dup(1)]).start()", None),
}
"""Code, and how what it leaves behind is told."""


@pytest.mark.requires("tun", "netns")
def test_no_leaks(run: Run) -> None:
    head = """
import threading
from aiotun.probes import linux
from aiotun.testing import pytest_plugin
from aiotun.testing.namespace import enter_namespace

pytest_plugin.GRACE = 0.5
enter_namespace()
kept = []

def persistent_interface(name):
    fd = linux._open_node()
    linux._set_interface(fd, linux.IFF_TUN | linux.IFF_NO_PI, name)
    linux._ioctl(fd, 0x400454CB, 1, "TUNSETPERSIST")  # linux/if_tun.h
    os.close(fd)
"""
    tests = [f"def test_{name}(no_leaks):\n    {body}\n" for name, (body, _) in LEAKS.items()]
    result = run(head + "\n".join(tests), "-W", "ignore")
    leaking = {name: left for name, (_, left) in LEAKS.items() if left is not None}
    result.assert_outcomes(passed=len(LEAKS), errors=len(leaking))
    for name, left in leaking.items():
        result.stdout.fnmatch_lines([f"*teardown of test_{name} *", f"left behind: {left}"])
