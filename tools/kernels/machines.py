"""The machines that qemu emulates, and Debian's kernels for them."""

from __future__ import annotations

import lzma
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from .debian import closure, fetch_index, files

__all__ = ["MACHINES", "Kernel", "Machine", "boot", "fetch_kernel"]


class Machine(NamedTuple):
    package: str
    """It depends on a suite's newest kernel."""
    target: str
    """What a compiler is to compile for."""
    qemu: str
    """The command; it emulates what may not be this machine's processor."""
    console: str
    """The kernel's name of what qemu's standard output is."""


MACHINES = {
    "amd64": Machine(
        package="linux-image-cloud-amd64",
        target="x86_64-linux-gnu",
        qemu="qemu-system-x86_64 -accel tcg -cpu max -serial stdio",
        console="ttyS0",
    ),
    # Big-endian, and without vector instructions: those of qemu 7.2 compute wrong checksums.
    "s390x": Machine(
        package="linux-image-s390x",
        target="s390x-linux-gnu -mcpu=arch8",
        qemu="qemu-system-s390x -cpu max,vx=off"
        " -chardev stdio,id=console -device sclpconsole,chardev=console",
        console="ttysclp0",
    ),
}
"""By Debian's name of the architecture."""

MEMORY = "2G"

CLOCK = ("-icount", "shift=1,sleep=off", "-rtc", "clock=vm")
"""An instruction takes two nanoseconds of the machine's time, however long it takes here, and
waiting takes none of ours: no test ends early because the machine is emulated."""

TIMEOUT = 7200
"""Seconds: a machine that is emulated takes some ten times as long as this one."""

XZ = b"\xfd7zXZ"
"""What an xz file begins with."""


class Kernel(NamedTuple):
    image: bytes
    modules: dict[str, bytes]
    """By name, each behind those that it needs."""


def fetch_kernel(suite: str, architecture: str, wanted: Iterable[str]) -> Kernel:
    """A suite's newest kernel with the modules that are wanted, unless they are built in."""
    packages = closure(
        fetch_index(suite, architecture),
        [MACHINES[architecture].package],
        lambda name: name.startswith(("linux-image-", "linux-binary-", "linux-modules-")),
    )
    image = b""
    modules: dict[str, bytes] = {}
    for package in packages:
        for member, content in files(package):
            path = Path(member.name)
            if path.name.startswith("vmlinu"):
                image = content
            elif ".ko" in path.suffixes:
                modules[path.name.split(".")[0].replace("-", "_")] = content
    return Kernel(image, dict(_with_dependencies(modules, wanted)))


def _with_dependencies(
    modules: Mapping[str, bytes], names: Iterable[str]
) -> Iterator[tuple[str, bytes]]:
    """A module may come more than once."""
    for name in names:
        if name in modules:
            module = modules[name]
            if module.startswith(XZ):
                module = lzma.decompress(module)
            depends = re.search(rb"\0depends=([^\0]*)\0", module)
            yield from _with_dependencies(
                modules, depends[1].decode().split(",") if depends else ()
            )
            yield name, module


def boot(architecture: str, image: bytes, initramfs: bytes) -> str:
    """Run the machine until it powers off; what it printed, which is shown as it comes.

    Raises `FileNotFoundError` if there is no such qemu.
    """
    machine = MACHINES[architecture]
    with tempfile.TemporaryDirectory() as folder:
        for name, content in ("kernel", image), ("initramfs", initramfs):
            Path(folder, name).write_bytes(content)
        command = [
            *machine.qemu.split(),
            *("-nodefaults", "-display", "none", "-no-reboot", "-m", MEMORY, *CLOCK),
            *("-kernel", f"{folder}/kernel", "-initrd", f"{folder}/initramfs"),
            *("-append", f"console={machine.console} quiet panic=-1"),
        ]
        output = []
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace"
        ) as qemu:
            timer = threading.Timer(TIMEOUT, qemu.kill)
            timer.start()
            try:
                assert qemu.stdout is not None
                for line in qemu.stdout:
                    print(line, end="", flush=True)
                    output.append(line)
            finally:
                timer.cancel()
                qemu.kill()
    return "".join(output)
