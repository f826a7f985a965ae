"""Debian's packages: which ones there are, what they need, and the files in them."""

from __future__ import annotations

import functools
import hashlib
import io
import lzma
import os
import re
import tarfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

__all__ = ["CACHE", "Index", "Package", "closure", "fetch_index", "files"]

MIRROR = "https://deb.debian.org/debian"

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "aiotun", "kernels")

INDEX_AGE = 24 * 3600
"""Seconds for which a suite's index is not fetched again."""

Package = Mapping[str, str]
"""The fields of a package's paragraph in an index (deb822(5))."""

Index = Mapping[str, Package]
"""By a package's name, and by the names that it provides."""


@functools.cache
def fetch_index(suite: str, architecture: str) -> Index:
    path = f"dists/{suite}/main/binary-{architecture}/Packages.xz"
    file = CACHE / path.replace("/", "_")
    if not file.exists() or time.time() - file.stat().st_mtime > INDEX_AGE:
        _download(path, file)
    index: dict[str, Package] = {}
    provided: dict[str, Package] = {}
    for paragraph in lzma.decompress(file.read_bytes()).decode().split("\n\n"):
        package = dict(re.findall(r"^(\S+): (.*)$", paragraph, re.MULTILINE))
        if package:
            index.setdefault(package["Package"], package)
            provided.update(dict.fromkeys(_names(package.get("Provides", "")), package))
    return {**provided, **index}


def closure(
    index: Index, names: Iterable[str], wanted: Callable[[str], bool] = lambda name: True
) -> list[Package]:
    """The packages of these names, and all wanted ones that they depend on."""
    found: dict[str, Package] = {}
    todo = list(names)
    while todo:
        package = index[todo.pop()]
        if package["Package"] in found:
            continue
        found[package["Package"]] = package
        for field in ("Depends", "Pre-Depends"):
            todo += [
                name for name in _names(package.get(field, "")) if name in index and wanted(name)
            ]
    return list(found.values())


def _names(field: str) -> Iterator[str]:
    """The first alternative of each relation in a field, without versions and architectures."""
    for relation in field.split(","):
        if name := re.match(r"\s*([a-z0-9][a-z0-9.+-]*)", relation):
            yield name[1]


def files(package: Package) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """What is in a package, with the bytes of regular files."""
    file = CACHE / Path(package["Filename"]).name
    if not file.exists():
        _download(package["Filename"], file)
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != package["SHA256"]:
        file.unlink()
        raise ValueError(f"{file.name} is not what Debian's index says: try again")
    with tarfile.open(fileobj=io.BytesIO(_data_member(content))) as archive:
        for member in archive:
            reader = archive.extractfile(member) if member.isfile() or member.islnk() else None
            yield member, reader.read() if reader else b""


def _data_member(content: bytes) -> bytes:
    """The archive of files in a package: deb(5), whose outer format is ar's."""
    at = len(b"!<arch>\n")
    while at < len(content):
        name, size = content[at : at + 16], int(content[at + 48 : at + 58])
        at += 60
        if name.startswith(b"data.tar"):
            return content[at : at + size]
        at += size + size % 2
    raise ValueError("a package without data")


def _download(path: str, to: Path) -> None:
    print(f"Fetching {to.name}", flush=True)
    to.parent.mkdir(parents=True, exist_ok=True)
    with urllib.request.urlopen(f"{MIRROR}/{path}", timeout=60) as response:
        content = response.read()
    partial = to.with_name(f"{to.name}.{os.getpid()}")  # another run may fetch it too
    partial.write_bytes(content)
    partial.replace(to)
