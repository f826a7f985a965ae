"""aiotun doctor and its probes on Windows."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import json
import subprocess

import pytest
from standin import LIBRARY, StandIn

from aiotun.cli import doctor
from aiotun.platforms.windows import iphlpapi, wintun
from aiotun.probes import names, windows
from aiotun.probes.base import Missing


def test_a_machine_without_wintun() -> None:
    command = [sys.executable, "-m", "aiotun", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    said = json.loads(done.stdout)
    found = {each["name"]: each for each in said["capabilities"]}
    assert not said["ready"]
    assert "was not found" in found["wintun"]["detail"]
    assert "www.wintun.net" in found["wintun"]["remedies"][0]
    assert found["tun"]["detail"] == "not tried, as it needs wintun"
    assert found["asyncio"]["available"]
    assert "go" not in found


def test_a_machine_with_it(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    load = wintun.load
    monkeypatch.setattr(wintun, "load", lambda path: load(path or LIBRARY))
    assert windows.PROBES["wintun"].attempt().endswith("standin.dll, driver 0.14")
    assert windows.PROBES["tun"].attempt() == "made tun0, and removed it"
    standin.fail("WintunGetRunningDriverVersion", 2)
    assert windows.PROBES["wintun"].attempt().endswith("its driver is not running")
    standin.fail("WintunCreateAdapter", 5)
    with pytest.raises(Missing, match="may not make the adapter") as caught:
        windows.PROBES["tun"].attempt()
    assert "run as administrator" in caught.value.remedies


def test_report_shows_every_capability() -> None:
    shown = {name for members in doctor.SECTIONS.values() for name in members}
    assert set(names()) <= shown


def test_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    for library, there in ((LIBRARY, True), ("kernel32.dll", False)):
        helper = iphlpapi.IpHelper(library)
        monkeypatch.setattr(windows, "ip_helper", lambda helper=helper: helper)
        if there:
            assert "can get DNS servers" in windows.PROBES["dns"].attempt()
        else:
            with pytest.raises(Missing, match="cannot get"):
                windows.PROBES["dns"].attempt()
