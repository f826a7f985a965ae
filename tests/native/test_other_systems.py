"""The native modules compile for systems that are not at hand: only that, nothing of it is run.

The compiler and the systems' headers are those of ziglang. Python's and OpenSSL's headers are this
machine's, which has the same sizes of C's types.
"""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
from headers import ZIG

SOURCES = Path(__file__).parents[2] / "aiotun" / "native" / "src"

TARGETS = [
    "aarch64-macos",
    "x86_64-macos",
    "x86_64-freebsd",
    "aarch64-freebsd",
    "x86_64-netbsd",
    "x86_64-openbsd",
]

OPENSSL = [Path("/usr/include/openssl"), *Path("/usr/include").glob("*-linux-gnu/openssl")]
"""Debian keeps what depends on the processor apart."""


@pytest.fixture(scope="module")
def openssl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("include")
    for part in OPENSSL:
        shutil.copytree(part, folder / "openssl", dirs_exist_ok=True)
    return folder


def compile_for(
    target: str, source: Path, output: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    include = sysconfig.get_paths()["include"]
    warnings = "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror"
    command = [
        *ZIG,
        "-target",
        target,
        "-std=c11",
        "-fPIC",
        *warnings,
        "-DAIOTUN_SOURCES=0",
        "-c",
        "-o",
        str(output),
    ]
    return subprocess.run(
        [*command, f"-I{include}", *options, source], capture_output=True, text=True, check=False
    )


@pytest.mark.interop
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("module", ["module", "aead"])
def test_compiles(target: str, module: str, openssl: Path, tmp_path: Path) -> None:
    run = compile_for(target, SOURCES / f"{module}.c", tmp_path / "o", "-isystem", str(openssl))
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.interop
def test_what_a_system_has_not_does_not_compile(tmp_path: Path) -> None:
    source = tmp_path / "wrong.c"
    source.write_text("#include <sys/epoll.h>\n")
    run = compile_for("x86_64-netbsd", source, tmp_path / "o")
    assert "sys/epoll.h" in run.stderr
    assert run.returncode
