"""Run the tests that ask the kernel on kernels of Debian, booted under qemu.

    make kernels
    make kernels KERNELS="bookworm/amd64 sid/s390x"

A kernel is named by its suite and architecture. It boots from an initramfs with Python, the
project and the native module; neither root nor a disk is needed. What is downloaded stays in
the user's cache directory.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .debian import CACHE, closure, fetch_index, files
from .initramfs import Initramfs
from .machines import MACHINES, boot, fetch_kernel

ROOT = Path(__file__).parents[2]

KERNELS = ("bookworm/amd64", "trixie/amd64", "sid/amd64", "sid/s390x")
TESTS = ("tests/platforms", "tests/offload", "tests/transports")

PROJECT = ("aiotun", "tests", "pyproject.toml", "setup.py", "README.md", "LICENSE")
"""What is copied into the machine."""

SUITE = "bookworm"
"""What runs on the kernel is from this suite, whatever the kernel is from."""
PYTHON = "3.11"
"""What that suite has."""
PACKAGES = ("python3", "busybox-static", "iproute2", "iputils-ping")
TEST_TOOLS = ("dpkt", "hypothesis", "pytest", "pytest-asyncio", "pytest-timeout")
"""The newest that are pure Python, and so run on every machine."""

MODULES = ("tun", "veth", "dummy", "bridge")
"""What the tests use of the kernel."""

INIT = """\
#!/usr/bin/busybox sh
/usr/bin/busybox --install -s /usr/bin
export PATH=/usr/sbin:/usr/bin HOME=/tmp PYTHONPATH=/site PYTHONDONTWRITEBYTECODE=1
mkdir -p /proc /sys /dev /tmp /run
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in {modules}; do insmod /modules/$module.ko; done
ip link set lo up
cd /project
echo "Linux $(uname -r), $(uname -m)"
python3 -c 'from aiotun.offload import implementation; print("Offload:", implementation)'
python3 -m pytest --color=no --tb=short --assert=plain -p no:cacheprovider {tests}
echo "status: $?"
poweroff -f
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tools.kernels", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("kernels", nargs="*", default=KERNELS, metavar="SUITE/ARCHITECTURE")
    parser.add_argument(
        "--tests", nargs="+", default=TESTS, help="what pytest is given instead of all"
    )
    arguments = parser.parse_args()
    outputs = {}
    for name in arguments.kernels:
        suite, _, architecture = name.partition("/")
        if architecture not in MACHINES:
            parser.error(f"{name}: the architecture is one of {', '.join(MACHINES)}")
        outputs[name] = run(suite, architecture, arguments.tests)
    print()
    for name, output in outputs.items():
        print(name, *re.findall(r"^(?:Linux .*|=+ .* in [\d.]+s.* =+)", output, re.MULTILINE))
    return not all(re.search(r"^status: 0\b", each, re.MULTILINE) for each in outputs.values())


def run(suite: str, architecture: str, tests: list[str]) -> str:
    """Boot the kernel and run the tests on it: what the machine printed."""
    kernel = fetch_kernel(suite, architecture, MODULES)
    machine = Initramfs()
    add_system(machine, architecture)
    for name, module in kernel.modules.items():
        machine.add(f"modules/{name}.ko", module)
    init = INIT.format(modules=" ".join(kernel.modules), tests=" ".join(tests))
    machine.add("init", init, 0o755)
    with tempfile.TemporaryDirectory() as folder:
        project, site = Path(folder, "project"), Path(folder, "site")
        make_project(project, architecture)
        install_test_tools(site)
        machine.add_folder("project", project)
        machine.add_folder("site", site)
    return boot(architecture, kernel.image, machine.pack())


def add_system(system: Initramfs, architecture: str) -> None:
    """What is around the kernel and below the project."""
    for name in ("bin", "sbin", "lib", "lib64"):
        system.directory(f"usr/{name}")
        system.link(name, f"usr/{name}")
    system.add("etc/passwd", "root:x:0:0:root:/tmp:/bin/sh\n")
    system.add("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")
    for package in closure(fetch_index(SUITE, architecture), PACKAGES):
        for member, content in files(package):
            path = member.name.removeprefix("./")
            if member.issym():
                system.link(path, member.linkname)
            elif member.isdir():
                system.directory(path)
            else:
                system.add(path, content, member.mode)


def make_project(folder: Path, architecture: str) -> None:
    """Copy the project, and build the native module for the machine's Python."""
    nothing = shutil.ignore_patterns("__pycache__", "*.so")
    for name in PROJECT:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=nothing)
        else:
            shutil.copy(ROOT / name, folder)
    headers = CACHE / f"headers-{architecture}"
    for package in closure(
        fetch_index(SUITE, architecture), [f"libpython{PYTHON}-dev"], lambda name: False
    ):
        for member, content in files(package):
            if member.isfile() and member.name.startswith("./usr/include/"):
                file = headers / member.name.removeprefix("./usr/include/")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
    compiler = f"{sys.executable} -m ziglang cc -target {MACHINES[architecture].target}"
    environment = {
        "CC": compiler,
        "LDSHARED": f"{compiler} -shared",
        "CFLAGS": f"-I{headers} -I{headers}/python{PYTHON}",
        "SETUPTOOLS_EXT_SUFFIX": ".so",
    }
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=folder,
        env={**os.environ, **environment},
        check=True,
    )


def install_test_tools(folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "install"]
    which = ["--only-binary=:all:", "--platform=any", f"--python-version={PYTHON}"]
    subprocess.run([*pip, *which, f"--target={folder}", *TEST_TOOLS], check=True)


if __name__ == "__main__":
    sys.exit(main())
