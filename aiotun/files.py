"""Files that must never be half written: keys, configurations, what a server has to remember."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl

__all__ = ["create_file", "locked", "replace_file"]


def create_file(path: Path, data: bytes) -> None:
    """Make a file that is its owner's alone. Raises `OSError`, `FileExistsError` among them.

    After an error there is no such file, unless it was there before.
    """
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        replace_file(path, data)
    except BaseException:
        os.unlink(path)
        raise


def replace_file(path: Path, data: bytes) -> None:
    """Write a file anew, or leave it as it was. Raises `OSError`.

    A temporary file beside it takes the data, reaches the disk, and is then renamed over it
    (rename(2)): a reader, or a machine that lost its power, finds the old file or the new one.
    A symbolic link is followed. A file that is there keeps its mode, and its owner where this
    process may set it; a new one is its owner's alone.
    """
    target = Path(os.path.realpath(path))
    number, name = tempfile.mkstemp(prefix=".aiotun-", dir=target.parent)
    try:
        with open(number, "wb") as file:
            file.write(data)
            file.flush()
            with contextlib.suppress(FileNotFoundError):
                _keep_attributes(number, target.stat())
            os.fsync(number)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Wait for whoever changes files of this directory in this way, and keep others waiting.

    A lock on a file itself would go with the file that is replaced. Raises `OSError`.
    """
    if sys.platform != "win32":
        number = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(number, fcntl.LOCK_EX)
            yield
        finally:
            os.close(number)
    else:  # where a directory cannot be locked
        yield


def _keep_attributes(number: int, known: os.stat_result) -> None:
    if sys.platform == "win32":  # whose files inherit what their folder allows
        return
    with contextlib.suppress(PermissionError):
        os.fchown(number, known.st_uid, known.st_gid)
    os.fchmod(number, stat.S_IMODE(known.st_mode))  # after chown(2), which takes bits away
