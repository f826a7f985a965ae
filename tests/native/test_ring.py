"""ring.h of the native module, by random steps under sanitizers: against a model of wintun.dll.

It is compiled for this system, with as much of Windows as it takes (tests/support/windows/ring).
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHIM = ROOT / "tests" / "support" / "windows" / "ring"

FLAGS = ("-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-D_WIN32")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    target = tmp_path_factory.mktemp("ring") / "ring"
    folders = (f"-I{SHIM}", f"-I{ROOT / 'aiotun' / 'native' / 'src'}")
    command = [compiler, *FLAGS, *SANITIZERS, *folders, str(SHIM / "ring.c"), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "cannot find" in done.stderr:
        pytest.skip("the compiler comes without its sanitizers")
    assert not done.returncode, done.stderr
    return target


@pytest.mark.parametrize("seed", range(5))
def test_random_steps(program: Path, seed: int) -> None:
    done = subprocess.run([program, str(seed)], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
