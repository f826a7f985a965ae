"""What other systems leave out of the tests is all that cannot be imported there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import left_out
import pytest

ROOT = Path(__file__).parents[1]
WORKFLOW = ROOT / ".github/workflows/systems.yml"

COLLECT = """
import asyncio, ctypes.util, sys, sysconfig, urllib.request, uuid  # these look at the system once
sysconfig.get_config_vars()
import anyio.pytest_plugin, pytest

system, modules, *tests = sys.argv[1:]

class Absent:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in modules.split():
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent)
sys.platform = system
options = ["--collect-only", "-q", "--assert=plain", "-p", "no:cacheprovider"]
sys.exit(pytest.main([*options, *tests]))
"""


def collect(system: str, absent: str, *tests: str) -> str:
    """What does not import, where that is the system; empty if all does."""
    run = subprocess.run(
        [sys.executable, "-c", COLLECT, system, absent, *tests],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if run.returncode == 0 else run.stdout[-3000:] + run.stderr[-3000:]


@pytest.mark.timeout(240)
def test_macos() -> None:
    assert not collect("darwin", "", "tests")


@pytest.mark.skipif(not WORKFLOW.exists(), reason="a source distribution has no workflows")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("system", ["freebsd15", "netbsd11", "openbsd7"])
def test_bsd(system: str) -> None:
    """With the packages that the workflow installs there."""
    workflow = WORKFLOW.read_text()
    (tests,) = re.findall(r"-m pytest (.+)", workflow)
    (installed,) = re.findall(r"pip install (.+)", workflow)
    others = "anyio cryptography nacl aiohttp nats rich segno prometheus_client uvloop pcapng"
    absent = " ".join(
        name for name in f"{others} cobs sliplib dpkt".split() if name not in installed
    )
    assert not collect(system, absent, *tests.split())


def test_what_does_not_import_is_told() -> None:
    assert "cobs" in collect("freebsd15", "cobs", "tests/codecs/test_cobs.py")


@pytest.mark.parametrize("system", ["WINDOWS", "WINE", "ELSEWHERE", "UNIX", "MACOS"])
def test_what_is_left_out_is_there(system: str) -> None:
    """Single tests by their name, of one of its parameters or of all."""
    for name in getattr(left_out, system):
        path, _, test = name.partition("::")
        file = ROOT / "tests" / path
        assert file.exists(), name
        if test:
            assert f"def {test.partition('[')[0]}(" in file.read_text(), name
