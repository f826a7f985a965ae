"""What boots other kernels: packages, what they need, and the initramfs made of them."""

from __future__ import annotations

import hashlib
import io
import lzma
import tarfile
from pathlib import Path

import pytest

from tools.kernels import debian, machines
from tools.kernels.initramfs import Initramfs

INDEX = """\
Package: python3
Version: 3.11
Depends: python3.11 (>= 3.11.2), libc6:any | musl, no-such-package
Description: not
 Package: what is meant

Package: python3.11
Pre-Depends: libc6
Depends: python3, mail-agent

Package: libc6
Depends: perl

Package: perl

Package: postfix
Provides: mail-agent (= 1), smtp-server
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With which nothing needs to be fetched."""
    monkeypatch.setattr(debian, "CACHE", tmp_path)
    return tmp_path


def test_what_packages_need(cache: Path) -> None:
    file = cache / "dists_none_main_binary-amd64_Packages.xz"
    file.write_bytes(lzma.compress(INDEX.encode()))
    index = debian.fetch_index("none", "amd64")
    assert index["mail-agent"]["Package"] == "postfix"
    found = debian.closure(index, ["python3"], lambda name: name != "perl")
    assert {package["Package"] for package in found} == {
        "python3",
        "python3.11",
        "libc6",
        "postfix",
    }


def archive(**files: bytes) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return data.getvalue()


def ar(**members: bytes) -> bytes:
    """deb(5)"""
    parts = [b"!<arch>\n"]
    for name, content in members.items():
        parts.append(f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode())
        parts.append(content + b"\n" * (len(content) % 2))
    return b"".join(parts)


def test_files_of_a_package(cache: Path) -> None:
    content = ar(**{"debian-binary": b"2.0", "data.tar.xz": archive(one=b"1", two=b"22")})
    (cache / "a_1_all.deb").write_bytes(content)
    package = {"Filename": "pool/a_1_all.deb", "SHA256": hashlib.sha256(content).hexdigest()}
    assert [(member.name, data) for member, data in debian.files(package)] == [
        ("./one", b"1"),
        ("./two", b"22"),
    ]
    with pytest.raises(ValueError, match="is not what Debian's index says"):
        list(debian.files({**package, "SHA256": "0" * 64}))
    assert not (cache / "a_1_all.deb").exists()


def test_initramfs(tmp_path: Path) -> None:
    """Read by the format's description, Documentation/driver-api/early-userspace."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").write_bytes(b"content")
    machine = Initramfs()
    machine.link("lib", "usr/lib")
    machine.add("lib/a/library", b"odd", 0o755)
    machine.add_folder("project", tmp_path)
    data = machine.pack()
    entries = []
    at = 0
    while at < len(data):
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = data[at + 110 : at + 109 + name_size].decode()
        at += -(-(110 + name_size) // 4) * 4
        entries.append((name, oct(mode), data[at : at + size]))
        at += -(-size // 4) * 4
    assert entries == [
        ("lib", "0o120777", b"usr/lib"),
        ("lib/a", "0o40755", b""),
        ("lib/a/library", "0o100755", b"odd"),
        ("project", "0o40755", b""),
        ("project/folder", "0o40755", b""),
        ("project/folder/file", "0o100644", b"content"),
        ("TRAILER!!!", "0o0", b""),
    ]


def test_modules_come_behind_what_they_need() -> None:
    def module(depends: str) -> bytes:
        return b"\x7fELF license=GPL\0depends=" + depends.encode() + b"\0name=x\0"

    modules = {
        "bridge": lzma.compress(module("stp,llc")),
        "stp": module("llc"),
        "llc": module(""),
        "tun": module(""),
    }
    ordered = list(dict(machines._with_dependencies(modules, ["bridge", "built_in", "tun"])))
    assert ordered == ["llc", "stp", "bridge", "tun"]
