"""The benchmark of many devices, with a few."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks import devices

pytestmark = pytest.mark.requires("tun", "netns", "uvloop")


def test_every_way_is_measured() -> None:
    program = "from benchmarks import devices; devices.IDLE = 0.01; devices.main()"
    for way in (devices.WITHOUT_LOOP, "asyncio", "uvloop"):
        command = [sys.executable, "-c", program, "3", way]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        measured = json.loads(done.stdout)
        assert measured.keys() == devices.UNITS.keys()
        assert measured["descriptors"] == 3
        assert measured["create"] > 0
        assert measured["close"] > 0
