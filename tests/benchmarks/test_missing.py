"""What a benchmark says whose packages are not installed, or that is asked what it takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="what is measured is not on Windows"
)

ROOT = Path(__file__).parents[2]

WITHOUT = """
import runpy, sys
sys.modules[{package!r}] = None
sys.argv = ["-m"]
import benchmarks
runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
"""


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("benchmarks", "matplotlib"),
        ("benchmarks", "rich"),
        ("benchmarks.flows", "rich"),
        ("benchmarks.tls_vpn", "rich"),
        ("benchmarks.wireguard", "cryptography"),
    ],
)
def test_a_package_that_is_missing(module: str, package: str) -> None:
    done = run("-c", WITHOUT.format(module=module, package=package))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"the Python package {package}")
    assert "make .venv/bench sets up all" in line


def test_another_error_keeps_its_traceback() -> None:
    done = run("-m", "benchmarks.micro", "many")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "'many'" in done.stderr


@pytest.mark.parametrize("module", ["devices", "limited_api"])
def test_what_it_takes(module: str) -> None:
    done = run("-m", f"benchmarks.{module}", "--help")
    assert done.returncode == 0
    assert f"usage: python -m benchmarks.{module}" in done.stdout
