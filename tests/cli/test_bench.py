"""aiotun bench, whole, and what stops it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time

import pytest
from machine import PYTHON, complaints
from restricted import hide_node

from aiotun.platforms.linux.threads import in_thread
from aiotun.probes import probe

BENCH = (*PYTHON, "-W", "error", "-m", "aiotun", "bench")

LOOPS = 1 + probe("uvloop").available


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*BENCH, *arguments], capture_output=True, text=True, timeout=50)


@pytest.mark.requires("tun", "netns")
def test_table() -> None:
    done = run("--rounds", "1", "--seconds", "0.1")
    assert (done.returncode, complaints(done.stderr)) == (0, "")
    rows = re.findall(
        r"(asyncio|uvloop) +\d+\.\d\d  +\d+\.\d\d to \d+\.\d\d +\d+% +\d+", done.stdout
    )
    assert len(rows) == 4 * LOOPS
    table = done.stdout.partition("   way ")[2].splitlines()
    assert max(map(len, table)) < 60
    assert len(set(table)) == len(table)


@pytest.mark.requires("tun", "netns")
def test_json() -> None:
    done = run("--rounds", "1", "--seconds", "0.1", "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert len(found["rows"]) == 4 * LOOPS
    for row in found["rows"]:
        assert [len(row[name]) for name in ("gbits", "cpu")] == [1, 1]
        assert all(value > 0 for value in row["gbits"])


@pytest.mark.requires("mountns", "tun-node")
def test_without_tun() -> None:
    def call() -> subprocess.CompletedProcess[str]:
        hide_node()
        return run()

    done = in_thread(call)
    assert (done.returncode, complaints(done.stderr)) == (1, "")
    assert "-> load the driver: modprobe tun" in done.stdout


@pytest.mark.requires("tun", "netns")
def test_interrupted() -> None:
    with subprocess.Popen(
        BENCH, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as bench:
        assert bench.stdout is not None
        while "This takes about" not in bench.stdout.readline():
            assert bench.poll() is None
        time.sleep(0.5)  # within the first transfer
        os.kill(bench.pid, signal.SIGINT)
        _, errors = bench.communicate(timeout=50)
    assert (bench.returncode, complaints(errors)) == (130, "")


@pytest.mark.parametrize("arguments", [("--rounds", "0"), ("--seconds", "-1"), ("--rounds", "x")])
def test_usage(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: aiotun bench")
