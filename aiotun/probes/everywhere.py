"""The probes that every system has: event loops, the native modules, programs."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import sysconfig
from functools import partial

from ..native.wanted import unwanted
from .base import Missing, Probe

__all__ = ["PROBES", "TOOLS", "UVLOOP"]

UVLOOP = "winloop" if sys.platform == "win32" else "uvloop"
"""The loop on libuv, which on Windows is called so."""

INSTALLERS = {
    "darwin": "brew install",
    "freebsd": "pkg install",
    "netbsd": "pkgin install",
    "openbsd": "pkg_add",
    "win32": "vcpkg install",
}
"""How packages are installed, by how `sys.platform` begins."""

ELSEWHERE = {
    "cargo": "rust",
    "chromium-driver": "chromium",
    "golang": "go",
    "libpcap0.8": "libpcap",
    "libssl-dev": "openssl",
    "tshark": "wireshark",
}
"""What others call packages of Debian whose names differ."""

ANEW = "then aiotun anew: pip install --no-cache-dir --force-reinstall, as pip keeps what it built"


def _event_loop(module: str, remedy: str) -> str:
    try:
        library = importlib.import_module(module)
        library.new_event_loop().close()
    except (ImportError, OSError) as exc:
        raise Missing(str(exc), remedy) from exc
    return f"{module} {library.__version__}" if module == UVLOOP else "Python's own loop"


def _installed(package: str) -> str:
    """How to get a package of Debian, or what this system has in its place."""
    for system, installer in INSTALLERS.items():
        if sys.platform.startswith(system):
            return f"{installer} {ELSEWHERE.get(package, package)}"
    return f"apt-get install {package}, or what your system calls it"


def _compiler() -> str:
    """How to get a C compiler and Python's headers, which come with Python but on Linux."""
    if sys.platform == "darwin":
        return "xcode-select --install"
    if sys.platform == "win32":
        return "Build Tools for Visual Studio, with C++"
    if sys.platform.startswith(tuple(INSTALLERS)):
        return "cc is in the base system"
    return "apt-get install gcc python3-dev"


def _built(remedy: str) -> str:
    """What helps where the native parts are not in use: to build them, unless they are shunned."""
    return unwanted() or remedy


def _in_use(what: str) -> str:
    """That native parts are, and what it costs where Python could do without the GIL."""
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return f"{what}; they need the GIL, which is on now (AIOTUN_PURE=1 leaves it off)"
    return what


def _native() -> str:
    from ..offload import implementation

    if implementation != "native":
        raise Missing(
            "the offload functions run in pure Python: correct, but slower",
            _built(f"install a C compiler and Python's headers ({_compiler()}), {ANEW}"),
        )
    return _in_use("the compiled offload functions are in use")


def _aead() -> str:
    try:
        from ..aead import implementation
    except ImportError as exc:
        raise Missing(str(exc), "pip install 'aiotun[wireguard]'") from exc

    if implementation != "native":
        raise Missing(
            "the package cryptography seals each packet by itself: correct, but slower",
            _built(
                f"install OpenSSL's headers beside a compiler ({_installed('libssl-dev')}), {ANEW}"
            ),
        )
    return _in_use("OpenSSL seals and opens batches of packets")


def _libpcap() -> str:
    from ..capturing.filters import libpcap
    from ..errors import UnsupportedError

    try:
        found: str = libpcap().pcap_lib_version().decode()
    except UnsupportedError as exc:
        raise Missing("not found", _installed("libpcap0.8")) from exc
    return found


def _tool(name: str, version: str, package: str) -> str:
    remedy = _installed(package)
    path = shutil.which(name)
    if path is None:
        raise Missing("not found in PATH", remedy)
    try:
        subprocess.run([path, version], check=True, capture_output=True, timeout=20)
    except (OSError, subprocess.SubprocessError) as exc:
        raise Missing(f"{path} does not run: {exc}", remedy) from exc
    return path


TOOLS = {
    "curl": ("--version", "curl"),
    "iperf3": ("--version", "iperf3"),
    "tshark": ("--version", "tshark"),
    "cargo": ("--version", "cargo"),
    "go": ("version", "golang"),
    "wg": ("--version", "wireguard-tools"),
    "chromium": ("--version", "chromium-driver"),
    "fish": ("--version", "fish"),
    "zsh": ("--version", "zsh"),
}
if sys.platform == "linux":
    TOOLS |= {
        "ip": ("-V", "iproute2"),
        "ping": ("-V", "iputils-ping"),
        "ethtool": ("--version", "ethtool"),
        "nft": ("--version", "nftables"),
        "passt": ("--version", "passt"),
    }
"""Programs: the argument that makes each say its version, and Debian's package of it."""

PROBES = {
    "asyncio": Probe(partial(_event_loop, "asyncio", "use a complete Python")),
    "uvloop": Probe(partial(_event_loop, UVLOOP, "pip install 'aiotun[uvloop]'")),
    "native": Probe(_native),
    "aead": Probe(_aead),
    "libpcap": Probe(_libpcap),
    **{
        name: Probe(partial(_tool, name, version, package))
        for name, (version, package) in TOOLS.items()
    },
    "qemu": Probe(
        partial(_tool, "qemu-system-x86_64", "--version", "qemu-system-x86 ipxe-qemu"),
    ),
}
if sys.platform == "linux":
    PROBES["systemd"] = Probe(partial(_tool, "systemd-analyze", "--version", "systemd"))
