"""A service of three servers while one of them dies; benchmarks/wireguard/chaos.py tells more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.wireguard.chaos import reachable

ROOT = Path(__file__).parents[2]


@pytest.mark.interop
@pytest.mark.requires("tun", "netns", "ip")
@pytest.mark.timeout(200)
def test_a_server_dies() -> None:
    options = ("--seconds", "1", "--peers", "12", "--break", "server", "--seed", "1")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.wireguard.chaos", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is killed" in done.stdout
    assert '"acknowledged and lost": 0' in done.stdout


def test_whether_the_store_was_reachable() -> None:
    reads = [0.5, 1.0, 1.5, 4.0, 4.5]
    assert reachable(reads, 0.2, 2.0)
    assert not reachable(reads, 0.2, 4.2)
    assert not reachable(reads, 5.0, 7.0)
