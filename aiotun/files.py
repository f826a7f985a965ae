"""Files that must never be half written: keys, configurations, what a server has to remember.

And how they are read: what stands in the place of a file keeps nobody waiting.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

if sys.platform == "win32":
    import secrets

    from .platforms.windows import security
else:
    import fcntl
    import select

__all__ = [
    "check_file",
    "create_file",
    "is_stream",
    "locked",
    "read_file",
    "read_stream",
    "replace_file",
]

PATIENCE, PAUSE = 1.0, 0.01
"""Seconds."""

PIECE, STREAM_MAX = 1 << 16, 1 << 24
"""Bytes: some 100,000 peers. A device may have no end."""

KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
"""What a path may lead to that is no file."""

LOCK = ".aiotun-lock"

OWNERS_ALONE = "D:P(A;;FA;;;SY)(A;;FA;;;BA)(A;;FA;;;OW)"
"""Mode 0o600 for Windows: nothing is inherited from the folder, and the system, administrators
and the owner may do all."""


def check_file(path: Path, mode: int | None = None) -> None:
    """Raise `OSError` unless the path leads to a file, or to one of this mode (`os.stat`)."""
    kind = KINDS.get(stat.S_IFMT(os.stat(path).st_mode if mode is None else mode))
    if kind is not None:
        number = errno.EISDIR if kind == KINDS[stat.S_IFDIR] else errno.EINVAL
        raise OSError(number, f"it is {kind}, not a file", str(path))


def read_file(path: Path) -> bytes:
    """What is in a file. Raises `OSError`, also for what is none, which is not waited for."""
    check_file(path)
    with open(path, "rb", opener=_open_at_once) as file:
        check_file(path, os.fstat(file.fileno()).st_mode)
        return file.read()


def is_stream(path: Path) -> bool:
    """Whether what is there can be read once: a pipe, such as a shell's `<(command)`, or a
    terminal."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        mode = os.stat(path).st_mode
        return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)
    return False


def read_stream(path: Path) -> bytes:
    """What comes out of a pipe or a terminal, until whoever writes there has closed it.

    Raises `OSError`, also where nobody has opened the pipe to write into it.
    """
    data = bytearray()
    with open(path, "rb", buffering=0, opener=_open_at_once) as file:
        if sys.platform != "win32":
            select.select([file], [], [], PATIENCE)  # somebody may be about to open it
        while True:
            piece = file.read(PIECE)
            if piece:
                data += piece
            elif piece is None and sys.platform != "win32":  # somebody has it open
                select.select([file], [], [])
            else:
                break
            if len(data) > STREAM_MAX:
                raise OSError(errno.EFBIG, "more comes out of it than can be", str(path))
    if not data:
        raise OSError(errno.EINVAL, "nothing comes out of it", str(path))
    return bytes(data)


def create_file(path: Path, data: bytes) -> None:
    """Make a file that is its owner's alone. Raises `OSError`, `FileExistsError` among them.

    After an error there is no such file, unless it was there before.
    """
    if sys.platform == "win32":
        os.close(security.create_file(path, OWNERS_ALONE))
    else:
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
    A symbolic link is followed; what is there and no file stays. A file that is there keeps its
    mode (on Windows its list of who may do what), and its owner where this process may set it; a
    new one is its owner's alone.
    """
    target = Path(os.path.realpath(path))
    with contextlib.suppress(FileNotFoundError):
        check_file(target)
    number, name = _temporary(target.parent)
    try:
        with open(number, "wb") as file:
            file.write(data)
            file.flush()
            with contextlib.suppress(FileNotFoundError):
                _keep_attributes(number, name, target)
            os.fsync(number)
        _rename(name, target)
    except BaseException as exc:
        os.unlink(name)
        if isinstance(exc, OSError) and exc.filename is None:  # write(2) names no file
            exc.filename = str(path)
        raise


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait for whoever changes this file in this way, and keep others waiting.

    The lock is another file in its directory (that of the file itself where the path is a symbolic
    link), there as long as it is held, which is its owner's alone: so who may do no more than read
    the directory cannot keep anybody waiting. Raises `OSError`.
    """
    lock = Path(os.path.realpath(path)).parent / LOCK
    number = _take(lock)
    try:
        yield
    finally:
        if sys.platform != "win32":  # where it goes with its last descriptor
            os.unlink(lock)
        os.close(number)


if sys.platform == "win32":
    _open_at_once = None  # no path leads to what keeps it waiting

    def _take(path: Path) -> int:
        """Open the file, once nobody has it open."""
        while (number := security.hold_file(path, OWNERS_ALONE)) is None:
            time.sleep(PAUSE)
        return number

else:

    def _open_at_once(path: str, flags: int) -> int:
        """For `open`: a pipe into which nobody writes would keep it waiting."""
        return os.open(path, flags | os.O_NONBLOCK)

    def _take(path: Path) -> int:
        """Lock the file, which whoever had it has removed before: another one has its name then."""
        while True:
            number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(number, fcntl.LOCK_EX)
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(number), os.lstat(path)):
                        return number
            except BaseException:
                os.close(number)
                raise
            os.close(number)


def _temporary(folder: Path) -> tuple[int, str]:
    """A new file that is its owner's alone: its descriptor and its path."""
    if sys.platform == "win32":
        path = folder / f".aiotun-{secrets.token_hex(8)}"
        return security.create_file(path, OWNERS_ALONE), str(path)
    return tempfile.mkstemp(prefix=".aiotun-", dir=folder)


def _rename(name: str, target: Path) -> None:
    """Windows refuses it while somebody reads the target: for a moment, mostly."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            os.replace(name, target)
            return
        except PermissionError:
            if sys.platform != "win32" or time.monotonic() > deadline:
                raise
        time.sleep(PAUSE)


def _keep_attributes(number: int, name: str, target: Path) -> None:
    """Those of the target, if it is there. Raises `FileNotFoundError`."""
    if sys.platform == "win32":
        security.copy_access(target, Path(name))
        return
    known = target.stat()
    with contextlib.suppress(PermissionError):
        os.fchown(number, known.st_uid, known.st_gid)
    os.fchmod(number, stat.S_IMODE(known.st_mode))  # after chown(2), which takes bits away
