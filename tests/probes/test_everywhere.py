"""The probes on each system: how they answer, and those that all systems have."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from aiotun import probes
from aiotun.probes import Capability, everywhere, probe
from aiotun.probes.base import Missing, Probe


@pytest.mark.parametrize("name", probes.names())
def test_answer_is_complete(name: str) -> None:
    found = probe(name)
    assert found.name == name
    assert found.detail
    assert not (found.available and found.remedies)
    assert probe(name) is found


def test_unknown_name() -> None:
    with pytest.raises(KeyError):
        probe("time-travel")


def test_tool_that_is_not_there() -> None:
    with pytest.raises(Missing, match="not found in PATH") as caught:
        everywhere._tool("no-such-tool", "-V", "a-package")
    assert "a-package" in caught.value.remedies[0]


def test_tool_that_does_not_run() -> None:
    with pytest.raises(Missing, match="does not run"):
        everywhere._tool(sys.executable, "--no-such-option", "python3")


def test_event_loop_that_is_not_there() -> None:
    with pytest.raises(Missing, match="no_such_loop") as caught:
        everywhere._event_loop("no_such_loop", "pip install it")
    assert caught.value.remedies == ("pip install it",)


@pytest.mark.parametrize("forced", [True, False])
def test_native(forced: bool) -> None:
    """What the probe says is what a program gets."""
    program = (
        "from aiotun.probes import probe; from aiotun.offload import implementation;"
        "found = probe('native'); print(found.available, implementation, *found.remedies)"
    )
    environment = {**os.environ, "AIOTUN_PURE": "1" if forced else "0"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True
    )
    available, used, *remedy = done.stdout.rstrip("\n").split(" ", 2)
    assert (available, used) in (
        [("False", "python")] if forced else [("True", "native"), ("False", "python")]
    )
    assert ("AIOTUN_PURE" in "".join(remedy)) is forced


def test_missing_becomes_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise Missing("no luck", "wait", "try again")

    monkeypatch.setitem(probes._probes(), "luck", Probe(missing))
    assert probe("luck") == Capability("luck", False, "no luck", ("wait", "try again"))
    probes.probe.cache_clear()


def test_what_a_probe_needs_is_probed_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise Missing("no luck", "wait")

    def untried() -> str:
        raise AssertionError

    monkeypatch.setitem(probes._probes(), "luck", Probe(missing))
    monkeypatch.setitem(probes._probes(), "prize", Probe(untried, needs="luck"))
    assert probe("prize") == Capability("prize", False, "not tried, as it needs luck")
    probes.probe.cache_clear()


@pytest.mark.parametrize(
    ("system", "command"),
    [
        ("linux", "apt-get install tshark, or what your system calls it"),
        ("darwin", "brew install wireshark"),
        ("freebsd15", "pkg install wireshark"),
        ("netbsd10", "pkgin install wireshark"),
        ("openbsd7", "pkg_add wireshark"),
    ],
)
def test_each_system_is_told_its_own_command(
    monkeypatch: pytest.MonkeyPatch, system: str, command: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", system)
        told = everywhere._installed("tshark")
        compiler = everywhere._compiler()
    assert told == command
    assert ("apt-get" in compiler) == (system == "linux")


def test_windows_is_told_what_builds_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "win32")
        told = everywhere._installed("libssl-dev"), everywhere._compiler()
    assert told == ("vcpkg install openssl", "Build Tools for Visual Studio, with C++")
