"""The probes of Linux: what they find here, and what they say of what is missing."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from aiotun import probes
from aiotun.probes import linux, probe
from aiotun.probes.base import Missing

assert sys.platform == "linux"


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
