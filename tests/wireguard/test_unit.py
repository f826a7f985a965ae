"""The unit file, as systemd's own tools read it. What it does was seen by hand: see docs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from machine import ROOT

pytestmark = [pytest.mark.interop, pytest.mark.requires("systemd")]

UNIT = "aiotun-wireguard@.service"

EXPOSURE_MAX = 25
"""Tenths of what `systemd-analyze security` says: 2.3 with systemd 252. A unit with nothing of the
kind has 9.6."""


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """An instance, of a program that is there."""
    text = (ROOT / "aiotun" / "wireguard" / "systemd" / UNIT).read_text()
    text, number = re.subn(r"^ExecStart=\S+", f"ExecStart={sys.executable}", text, flags=re.M)
    assert number == 1
    instance = tmp_path / UNIT.replace("@", "@wg0")
    instance.write_text(text)
    return instance


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, timeout=30)


def test_systemd_understands_it(unit: Path) -> None:
    """All of it: a directive or a value that it does not know is a warning, and has no effect."""
    done = analyze("verify", "--man=no", str(unit))
    complaints = [line for line in done.stderr.splitlines() if unit.name in line]
    assert (done.returncode, complaints) == (0, [])


def test_it_is_confined(unit: Path) -> None:
    done = analyze("security", "--offline=yes", f"--threshold={EXPOSURE_MAX}", str(unit))
    assert done.returncode == 0, done.stdout + done.stderr
