"""An initramfs: the "newc" cpio archive of the kernel's buffer-format.rst."""

from __future__ import annotations

import stat
from pathlib import Path, PurePosixPath

__all__ = ["Initramfs"]


class Initramfs:
    """Collects files. Paths are as in the machine, without the leading slash."""

    def __init__(self) -> None:
        self._entries: list[bytes] = []
        self._directories = {"", "."}

    def add(self, path: str, content: bytes | str, mode: int = 0o644) -> None:
        """A regular file. Its directories come into being with it."""
        self._add(
            path, stat.S_IFREG | mode, content.encode() if isinstance(content, str) else content
        )

    def link(self, path: str, target: str) -> None:
        """A symbolic link; what follows may stand behind it."""
        self._directories.add(path)
        self._add(path, stat.S_IFLNK | 0o777, target.encode())

    def directory(self, path: str) -> None:
        if path not in self._directories:
            self._directories.add(path)
            self._add(path, stat.S_IFDIR | 0o755, b"")

    def _add(self, path: str, mode: int, content: bytes) -> None:
        parent = str(PurePosixPath(path).parent)
        self.directory(parent)
        self._entries.append(_entry(path, mode, content, len(self._entries) + 1))

    def add_folder(self, path: str, folder: Path) -> None:
        """All files below a folder of this machine."""
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                self.add(f"{path}/{file.relative_to(folder)}", file.read_bytes())

    def pack(self) -> bytes:
        """The archive. It is not compressed: an emulated machine would take long to unpack it."""
        return b"".join([*self._entries, _entry("TRAILER!!!", 0, b"", 0)])


def _entry(path: str, mode: int, content: bytes, inode: int) -> bytes:
    name = path.encode() + b"\0"
    fields = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    return _padded(header) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
