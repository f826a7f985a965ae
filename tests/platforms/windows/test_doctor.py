"""aiotun doctor and its probes on Windows."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from standin import LIBRARY, StandIn
from standin_tap import open_tap_standin

from aiotun.platforms.windows import iphlpapi, wintun
from aiotun.platforms.windows.services import is_running
from aiotun.platforms.windows.trust import file_version, signature_fault
from aiotun.probes import SECTIONS, names, windows
from aiotun.probes.base import Missing

WINE = hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")
"""It reads no version of a driver."""

GENUINE = os.environ.get("AIOTUN_WINTUN", "")


def test_a_machine_without_wintun() -> None:
    command = [sys.executable, "-m", "aiotun", "doctor", "--json"]
    # Its standard error stays ours: in wine the desktop's process, where it has to begin one, gets
    # that too, and stays.
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
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
    said = windows.PROBES["wintun"].attempt()
    assert re.search(r"standin\.dll, version unknown, .*0x800b0100\), driver 0\.14$", said)
    assert windows.PROBES["tun"].attempt() == "made tun0, and removed it"
    standin.fail("WintunGetRunningDriverVersion", 2)
    assert windows.PROBES["wintun"].attempt().endswith("its driver is not running")
    standin.fail("WintunCreateAdapter", 5)
    with pytest.raises(Missing, match="may not make the adapter") as caught:
        windows.PROBES["tun"].attempt()
    assert "run as administrator" in caught.value.remedies


def test_report_shows_every_capability() -> None:
    shown = {name for members in SECTIONS.values() for name in members}
    assert set(names()) <= shown


def test_signatures(tmp_path: Path) -> None:
    """The genuine library is signed; one that was changed, or is not signed, is not trusted."""
    changed = bytearray(Path(GENUINE).read_bytes())
    changed[len(changed) // 2] ^= 1
    (tmp_path / "wintun.dll").write_bytes(changed)
    assert signature_fault(GENUINE) is None
    for path in (str(tmp_path / "wintun.dll"), LIBRARY, str(tmp_path / "none.dll")):
        assert signature_fault(path)
    assert file_version(GENUINE) == "0.14.1.0"
    assert file_version(LIBRARY) is file_version(str(tmp_path / "none.dll")) is None


def test_the_driver_of_taps(standin: StandIn) -> None:
    with open_tap_standin(standin) as driver:
        with pytest.raises(Missing, match="not installed") as caught:
            windows.PROBES["tap-driver"].attempt()
        assert "tap-windows6" in caught.value.remedies[0]
        driver.announce()
        said = windows.PROBES["tap-driver"].attempt()
        assert said == f"tap-windows6 {'0.0.0.0' if WINE else '9.26.0.0'}"
        assert windows.PROBES["tap"].attempt() == "made tap0, and removed it"


def test_services() -> None:
    assert is_running("RpcSs")
    assert not is_running("aiotun-is-none")


def test_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    running: list[str] = []
    monkeypatch.setattr(windows, "is_running", running.__contains__)
    for library, there in ((LIBRARY, True), ("kernel32.dll", False)):
        helper = iphlpapi.IpHelper(library)
        monkeypatch.setattr(windows, "ip_helper", lambda helper=helper: helper)
        if there:
            with pytest.raises(Missing, match="Dnscache"):
                windows.PROBES["dns"].attempt()
            running.append("Dnscache")
            assert "can get DNS servers" in windows.PROBES["dns"].attempt()
        else:
            with pytest.raises(Missing, match="cannot get"):
                windows.PROBES["dns"].attempt()
