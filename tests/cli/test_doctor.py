"""aiotun doctor: on this machine, and as a process from which something was taken."""

from __future__ import annotations

import getpass
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping

import pytest
from restricted import (
    CAP_NET_ADMIN,
    CAP_SYS_ADMIN,
    drop,
    hide_node,
    node_without_driver,
    unreadable_node,
)

from aiotun.cli import doctor
from aiotun.testing import capabilities
from aiotun.testing.capabilities import Capability
from aiotun.threads import in_thread

assert sys.platform == "linux"


def run(
    *arguments: str, after: Callable[[], None] = lambda: None, env: Mapping[str, str] = {}
) -> subprocess.CompletedProcess[str]:
    """Run aiotun doctor in a process whose thread called the function before."""

    def call() -> subprocess.CompletedProcess[str]:
        after()
        return subprocess.run(
            [sys.executable, "-m", "aiotun", "doctor", *arguments],
            capture_output=True,
            text=True,
            timeout=50,
            env={**os.environ, **env},
        )

    return in_thread(call)


@pytest.mark.requires("tun")
def test_a_machine_that_can() -> None:
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[-1] == "This process can make a TUN device."
    for name in capabilities.names():
        mark = "ok     " if capabilities.probe(name).available else "missing"
        assert [line for line in lines if line.startswith(f"  {mark}  {name} ")], name


@pytest.mark.requires("mountns", "tun-node")
@pytest.mark.parametrize(
    ("restrict", "missing", "detail", "remedy", "others"),
    [
        pytest.param(
            hide_node,
            "tun-node",
            "/dev/net/tun: No such file or directory",
            "load the driver: modprobe tun",
            {"tun": False, "tso": False, "netns": True},
            id="no-node",
        ),
        pytest.param(
            node_without_driver,
            "tun-node",
            "/dev/net/tun: No such device or address",
            "mknod /dev/net/tun c 10 200",
            {"tun": False, "tso": False, "netns": True},
            id="no-driver",
        ),
        pytest.param(
            unreadable_node,
            "tun-node",
            "/dev/net/tun: Permission denied",
            "chmod 0666 /dev/net/tun",
            {"tun": False, "userns": False, "netns": True},
            id="node-forbidden",
        ),
        pytest.param(
            lambda: drop(CAP_NET_ADMIN),
            "tun",
            "CAP_NET_ADMIN is missing in this network namespace "
            "(TUNSETIFF: Operation not permitted)",
            "setcap cap_net_admin+ep",
            {"tun-node": True, "uso": False, "multi-queue": False},
            id="no-capability",
        ),
        pytest.param(
            lambda: drop(CAP_SYS_ADMIN),
            "netns",
            "unshare: Operation not permitted",
            "unshare -Urn",
            {"tun-node": True, "tun": True, "tso": True, "sysctl": False, "mountns": False},
            id="no-namespaces",
        ),
    ],
)
def test_what_is_missing_and_what_to_do(
    restrict: Callable[[], None], missing: str, detail: str, remedy: str, others: dict[str, bool]
) -> None:
    done = run("--json", after=restrict)
    found = json.loads(done.stdout)
    by_name = {capability["name"]: capability for capability in found["capabilities"]}
    assert not by_name[missing]["available"]
    assert by_name[missing]["detail"] == detail
    assert any(remedy in line for line in by_name[missing]["remedies"])
    assert {name: by_name[name]["available"] for name in others} == others
    assert found["ready"] == by_name["tun"]["available"]
    assert done.returncode == (0 if found["ready"] else 1)
    assert done.stderr == ""


def test_tools_that_are_missing() -> None:
    done = run("--json", env={"PATH": "/nonexistent"})
    tools = {c["name"]: c for c in json.loads(done.stdout)["capabilities"]}
    for name in ("ip", "ping", "iperf3", "ethtool", "tshark"):
        assert tools[name]["detail"] == "not found in PATH"
        assert tools[name]["remedies"][0].startswith("apt-get install ")


YES = Capability("tun", True, "works")
NO = Capability("tun", False, "broken", ("mend it", "buy another"))


def test_report_is_aligned_and_tells_a_remedy_once() -> None:
    found = {"tun-node": NO, "tun": NO, "uvloop": YES}
    assert list(doctor.report({"kernel": "K 1"}, found, colour=False)) == [
        "System",
        "           kernel      K 1",
        "",
        "Device",
        "  missing  tun         broken",
        "                       -> mend it",
        "                       -> buy another",
        "  missing  tun         broken",
        "",
        "Event loops",
        "  ok       tun         works",
        "",
    ]


def test_report_shows_every_capability() -> None:
    shown = [name for members in doctor.SECTIONS.values() for name in members]
    assert sorted(shown) == sorted(capabilities.names())


def test_colours_are_balanced() -> None:
    text = "\n".join(doctor.report({}, {"tun": NO, "uvloop": YES}, colour=True))
    assert "\33[31mmissing\33[0m" in text
    assert "\33[32mok     \33[0m" in text
    assert text.count("\33[") == 2 * text.count("\33[0m")


@pytest.mark.parametrize(
    ("terminal", "no_color", "colour"),
    [(True, "", True), (True, "1", False), (False, "", False), (False, "1", False)],
)
def test_colour_only_on_a_terminal(
    terminal: bool, no_color: str, colour: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    monkeypatch.setenv("NO_COLOR", no_color)
    assert doctor._colour() == colour


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({}, "no devices on this system"),
        ({"tun": YES, "userns": NO}, "can make a TUN device."),
        ({"tun": NO, "userns": YES}, "only inside a user namespace: unshare -Urn"),
        ({"tun": NO, "userns": NO}, "cannot make a TUN device"),
    ],
)
def test_verdict(found: dict[str, Capability], words: str) -> None:
    assert words in doctor.verdict(found)


def test_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def getuser() -> str:
        raise KeyError("getpwuid(): uid not found: 4242")

    monkeypatch.setattr(getpass, "getuser", getuser)
    assert doctor._user() == f"without a name (uid {os.geteuid()})"
