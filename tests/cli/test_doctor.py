"""aiotun doctor: on this machine, and as a process from which something was taken."""

from __future__ import annotations

import getpass
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import outside
import pytest
import restricted
from restricted import CAP_NET_ADMIN, drop

import aiotun
from aiotun import probes
from aiotun.cli import doctor
from aiotun.probes import Capability, devices
from aiotun.testing.namespace import enter_namespace, own_sysfs

assert sys.platform == "linux"

NO_TOOLS = {"PATH": "/nonexistent"}


def run(
    *arguments: str, restrict: Callable[[], None] | None = None, env: Mapping[str, str] = {}
) -> subprocess.CompletedProcess[str]:
    """Run aiotun doctor in a process that called the function before."""
    return subprocess.run(
        [sys.executable, "-m", "aiotun", "doctor", *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, **env},
        preexec_fn=restrict,
    )


@pytest.mark.requires("tun")
def test_a_machine_that_can() -> None:
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[-1] == "This process can make a TUN device."
    for name in probes.names():
        mark = "ok     " if probes.probe(name).available else "missing"
        assert [line for line in lines if line.startswith(f"  {mark}  {name} ")], name


def case(
    restrict: Callable[[], None], missing: str, detail: str, remedy: str, **others: bool
) -> Any:
    """What is taken away; the capability that is missing then, why, what to do; what others do."""
    return pytest.param(restrict, missing, detail, remedy, others, id=restrict.__name__)


@pytest.mark.requires("mountns", "sysctl", "userns", "tun")
@pytest.mark.parametrize(
    ("restrict", "missing", "detail", "remedy", "others"),
    [
        case(
            restricted.hide_node,
            "tun-node",
            "there is no TUN device node (No such file or directory)",
            "in a container: --device /dev/net/tun",
            tun=False,
            tso=False,
            userns=False,
            netns=True,
        ),
        case(
            restricted.node_without_driver,
            "tun-node",
            "the kernel has no TUN driver behind the node (No such device or address)",
            "load the driver: modprobe tun",
            tun=False,
            tso=False,
            netns=True,
        ),
        case(
            restricted.unreadable_node,
            "tun-node",
            "the TUN device node's file mode keeps this user out (Permission denied)",
            "let every user open it: chmod 0666 /dev/net/tun",
            tun=False,
            userns=False,
            netns=True,
        ),
        case(
            restricted.node_forbidden,
            "tun-node",
            "a device cgroup forbids the TUN device node (Operation not permitted)",
            "in a systemd unit: DeviceAllow=/dev/net/tun rw",
            tun=False,
            userns=False,
            netns=True,
        ),
        case(
            restricted.no_capability,
            "tun",
            "CAP_NET_ADMIN is missing in this network namespace "
            "(TUNSETIFF: Operation not permitted)",
            "open an interface that root made for you: ip tuntap add NAME mode tun user YOU",
            uso=False,
            **{"tun-node": True, "multi-queue": False},
        ),
        case(
            restricted.no_namespaces,
            "netns",
            "unshare: Operation not permitted",
            "in a user namespace: unshare -Urn",
            tun=True,
            tso=True,
            sysctl=False,
            mountns=False,
        ),
        case(
            restricted.no_unshare,
            "netns",
            "unshare: Operation not permitted",
            "in a container: --cap-add SYS_ADMIN --security-opt seccomp=unconfined",
            tun=True,
            tso=True,
            userns=False,
            sysctl=False,
        ),
        case(
            restricted.no_unshare,
            "userns",
            "unshare: Operation not permitted",
            "in a container: --security-opt seccomp=unconfined --security-opt apparmor=unconfined",
        ),
        case(
            restricted.no_user_namespaces,
            "userns",
            "unshare: No space left on device",
            "as root: sysctl user.max_user_namespaces=10000",
            netns=True,
        ),
        case(
            restricted.read_only_sysctls,
            "sysctl",
            "[Errno 30] Read-only file system: '/proc/sys/net/ipv4/ip_forward'",
            "mount /proc/sys read-write",
            tun=True,
            netns=True,
        ),
        case(
            restricted.no_ipv6,
            "ipv6",
            "Cannot assign requested address",
            "in a container: --sysctl net.ipv6.conf.all.disable_ipv6=0",
            tun=True,
            netns=False,
        ),
    ],
)
def test_what_is_missing_and_what_to_do(
    restrict: Callable[[], None], missing: str, detail: str, remedy: str, others: dict[str, bool]
) -> None:
    done = run("--json", restrict=restrict, env=NO_TOOLS)
    assert done.stderr == ""
    found = json.loads(done.stdout)
    by_name = {capability["name"]: capability for capability in found["capabilities"]}
    assert not by_name[missing]["available"]
    assert by_name[missing]["detail"] == detail
    assert remedy in by_name[missing]["remedies"]
    assert {name: by_name[name]["available"] for name in others} == others
    if not by_name["tun-node"]["available"]:
        assert by_name["userns"]["detail"] == "not tried, as it needs tun-node"
    assert found["ready"] == by_name["tun"]["available"]
    assert done.returncode == (0 if found["ready"] else 1)


@pytest.mark.requires("tun", "netns", "mountns")
@pytest.mark.parametrize(
    ("owner", "group", "own"),
    [(0, None, True), (None, 0, True), (0, 12, False)],
)
def test_an_interface_of_the_users_own(owner: int | None, group: int | None, own: bool) -> None:
    if group == 12:
        outside.require_other_users()

    def restrict() -> None:
        enter_namespace()
        own_sysfs()
        aiotun.Device(name="t0", persistent=True, owner=owner, group=group).close()
        drop(CAP_NET_ADMIN)

    done = run(restrict=restrict, env=NO_TOOLS)
    assert ('-> open the interface that is yours: Device(name="t0")\n' in done.stdout) == own


def test_tools_that_are_missing() -> None:
    done = run("--json", env=NO_TOOLS)
    tools = {c["name"]: c for c in json.loads(done.stdout)["capabilities"]}
    for name in ("ip", "ping", "iperf3", "ethtool", "tshark"):
        assert tools[name]["detail"] == "not found in PATH"
        assert tools[name]["remedies"][0].startswith("apt-get install ")


YES = Capability("tun", True, "works")
NO = Capability("tun", False, "broken", ("mend it", "buy another"))


def test_report_is_aligned_and_tells_a_remedy_once() -> None:
    found = {"tun-node": NO, "tun": NO, "uvloop": YES}
    assert list(doctor.report({"kernel": "K 1"}, found, colour=False, columns=80)) == [
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


def test_report_fits_the_terminal() -> None:
    found = {"tun": Capability("tun", False, "broken " * 9, ("mend it all " * 5,))}
    lines = list(doctor.report({"kernel": "K " * 30}, found, colour=False, columns=60))
    assert max(map(len, lines)) <= 60
    assert [len(line) - len(line.lstrip()) for line in lines if "mend" in line] == [23, 26]
    assert [len(line) - len(line.lstrip()) for line in lines if "broken" in line] == [2, 23]


def test_report_shows_every_capability() -> None:
    shown = [name for members in probes.SECTIONS.values() for name in members]
    on_windows = {"admin", "wintun", "tap-driver", "dns"}  # a test there looks at them
    assert sorted(shown) == sorted({*probes.names(), *devices.PROBES, *on_windows})


def test_colours_are_balanced() -> None:
    text = "\n".join(doctor.report({}, {"tun": NO, "uvloop": YES}, colour=True, columns=80))
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
        ({"tun": NO}, "cannot make a TUN device"),
    ],
)
def test_verdict(found: dict[str, Capability], words: str) -> None:
    assert words in doctor.verdict(found)


def test_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def getuser() -> str:
        raise KeyError("getpwuid(): uid not found: 4242")

    monkeypatch.setattr(getpass, "getuser", getuser)
    assert doctor._user() == f"without a name (uid {os.geteuid()})"
