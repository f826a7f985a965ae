"""The probes: what they find here, and what they say of what is missing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from aiotun import probes
from aiotun.probes import Capability, everywhere, linux, probe
from aiotun.probes.base import Missing, Probe

assert sys.platform == "linux"


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


@pytest.mark.parametrize("name", probes.names())
def test_probe_leaves_nothing(name: str) -> None:
    """The fixture `no_leaks` looks; here the probe really runs again."""
    namespace = os.stat("/proc/thread-self/ns/net").st_ino
    probes.probe.cache_clear()
    probe(name)
    assert os.stat("/proc/thread-self/ns/net").st_ino == namespace


@pytest.mark.requires("tun")
def test_permission_is_probed_without_an_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step of the probe of "tun" happens in the network of the machine."""
    seen = []
    set_interface = linux._set_interface

    def watch(fd: int, flags: int, name: str = "") -> str:
        try:
            return set_interface(fd, flags, name)
        finally:
            seen.append((flags, [name for _, name in socket.if_nameindex()]))

    monkeypatch.setattr(linux, "_set_interface", watch)
    monkeypatch.setattr(linux, "_make_device", lambda flags: None)
    linux._tun()
    assert seen == [(0, ["lo"])]


@pytest.mark.requires("tun")
def test_offload_that_no_kernel_has() -> None:
    with pytest.raises(Missing, match="not in this kernel") as caught:
        linux._feature("", 0, 1 << 30)
    assert caught.value.remedies == ("use a newer kernel",)


@pytest.mark.requires("tso")
@pytest.mark.parametrize(("setting", "told"), [("2\n", False), ("3\n", True), (None, False)])
def test_connections_without_super_packets_are_told_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, setting: str | None, told: bool
) -> None:
    if setting is not None:
        (tmp_path / "net/ipv4").mkdir(parents=True)
        (tmp_path / "net/ipv4/tcp_ecn").write_text(setting)
    monkeypatch.setattr(linux, "SYSCTLS", tmp_path)
    assert ("AccECN" in linux._tcp_offload()) is told


def test_tool_that_is_not_there() -> None:
    with pytest.raises(Missing, match="not found in PATH") as caught:
        everywhere._tool("no-such-tool", "-V", "a-package")
    assert "a-package" in caught.value.remedies[0]


def test_tool_that_does_not_run() -> None:
    with pytest.raises(Missing, match="does not run"):
        everywhere._tool("false", "-V", "coreutils")


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


SECCOMP = "in a container: --security-opt seccomp=unconfined --security-opt apparmor=unconfined"


@pytest.mark.parametrize(
    ("switch", "value", "remedy"),
    [
        (
            "kernel.apparmor_restrict_unprivileged_userns",
            "1",
            "as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        (
            "kernel.unprivileged_userns_clone",
            "0",
            "as root: sysctl kernel.unprivileged_userns_clone=1",
        ),
        ("user.max_user_namespaces", "0", "as root: sysctl user.max_user_namespaces=10000"),
        ("kernel.apparmor_restrict_unprivileged_userns", "0", SECCOMP),
        ("user.max_user_namespaces", "7", SECCOMP),
    ],
)
def test_switches_that_forbid_user_namespaces(
    switch: str, value: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files in the place of the switches, which no machine has all of."""
    path = tmp_path.joinpath(*switch.split("."))
    path.parent.mkdir()
    path.write_text(f"{value}\n")
    monkeypatch.setattr(linux, "SYSCTLS", tmp_path)
    assert remedy in linux._user_namespace_remedies()


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
