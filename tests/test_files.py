"""Files that are replaced whole."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import sys
import threading
from pathlib import Path

import pytest

from aiotun import files
from aiotun.files import (
    check_file,
    create_file,
    is_stream,
    locked,
    read_file,
    read_stream,
    replace_file,
)

modes = pytest.mark.skipif(
    sys.platform == "win32", reason="modes say nothing there: platforms/windows/test_security.py"
)
links = pytest.mark.skipif(sys.platform == "win32", reason="there it takes a right to make links")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@modes
def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "new"
    replace_file(path, b"1")
    assert (path.read_bytes(), mode(path)) == (b"1", 0o600)
    create_file(tmp_path / "other", b"2")
    assert ((tmp_path / "other").read_bytes(), mode(tmp_path / "other")) == (b"2", 0o600)
    assert sorted(os.listdir(tmp_path)) == ["new", "other"]


@modes
def test_a_file_that_is_there_keeps_its_mode_and_owner(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o640)
    with contextlib.suppress(OSError):  # without root, or in a namespace with one user
        os.chown(path, 1, 1)
    known = path.stat()
    replace_file(path, b"new")
    found = path.stat()
    assert path.read_bytes() == b"new"
    assert (found.st_mode, found.st_uid, found.st_gid) == (
        known.st_mode,
        known.st_uid,
        known.st_gid,
    )
    assert found.st_ino != known.st_ino  # a program that has it open reads the old one to its end


@links
def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "file"
    link = tmp_path / "link"
    link.symlink_to("elsewhere/file")
    for data in (b"made", b"replaced"):
        replace_file(link, data)
        assert link.is_symlink()
        assert target.read_bytes() == data
    assert os.listdir(target.parent) == ["file"]


@pytest.mark.parametrize("name", ["file", pytest.param("link", marks=links)])
def test_nothing_is_overwritten(tmp_path: Path, name: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"precious")
    if name == "link":
        (tmp_path / name).symlink_to("file")
    with pytest.raises(FileExistsError):
        create_file(tmp_path / name, b"new")
    assert path.read_bytes() == b"precious"


@pytest.mark.parametrize("call", ["fsync", "replace", pytest.param("fchmod", marks=modes)])
def test_a_failure_leaves_what_was_there(
    tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match=r"No space left.*file'"):
        replace_file(path, b"new")
    with pytest.raises(OSError, match=r"No space left.*other'"):
        create_file(tmp_path / "other", b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@links
@pytest.mark.parametrize(("other", "waits"), [("file", True), ("link", True), ("apart/it", False)])
def test_a_lock_is_of_the_file_itself(tmp_path: Path, other: str, waits: bool) -> None:
    """However it is called: by a link from elsewhere too."""
    for folder in (tmp_path / "here", tmp_path / "here" / "apart", tmp_path / "there"):
        folder.mkdir()
    (tmp_path / "there" / "link").symlink_to(tmp_path / "here" / "file")
    path = tmp_path / ("there" if other == "link" else "here") / other
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(path):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=hold)
    with locked(tmp_path / "here" / "file"):
        thread.start()
        assert entered.wait(0.2 if waits else 20) is not waits
    assert entered.wait(10)
    leave.set()
    thread.join()


def no_file(kind: str, path: Path) -> Path:
    """What is there afterwards is of this kind."""
    if kind == "directory":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")  # which has no end
    elif sys.platform == "win32":
        pytest.skip("no such names there")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    return path


@links
@pytest.mark.parametrize("kind", ["pipe", "directory", "device", "socket"])
def test_what_is_no_file_is_refused_at_once_and_stays(tmp_path: Path, kind: str) -> None:
    path = no_file(kind, tmp_path / "it")
    before = path.stat()
    message = f"it is a {kind}, not a file: '.*it'"
    with pytest.raises(OSError, match=message):
        read_file(path)
    with pytest.raises(OSError, match=message):
        check_file(path)
    with pytest.raises(OSError, match=f"it is a {kind}, not a file"):
        replace_file(path, b"new")
    assert os.path.samestat(before, path.stat())
    assert os.listdir(tmp_path) == ["it"]
    assert is_stream(path) is (kind in ("pipe", "device"))


@modes
def test_a_pipe_that_takes_the_place_of_a_file_is_refused_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between a look at it and its opening."""
    path = no_file("pipe", tmp_path / "it")
    looks = iter([lambda path: None, check_file])
    monkeypatch.setattr(files, "check_file", lambda *place: next(looks)(*place))
    with pytest.raises(OSError, match="it is a pipe"):
        read_file(path)


@modes
@pytest.mark.parametrize("named", [False, True])
def test_a_pipe_is_read_to_its_end(tmp_path: Path, named: bool) -> None:
    path = no_file("pipe", tmp_path / "it")
    size = 3 * files.PIECE
    opened = threading.Event()

    def write() -> None:
        with path.open("wb", buffering=0) as pipe:
            opened.set()
            for piece in (b"a", b"b" * size):
                pipe.write(piece)

    writer = threading.Thread(target=write)
    if named:
        writer.start()
        assert read_stream(path) == b"a" + b"b" * size
    else:  # as a shell gives it: one that was open before
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        writer.start()
        opened.wait(10)
        assert read_stream(Path(f"/dev/fd/{reader}")) == b"a" + b"b" * size
        os.close(reader)
    writer.join()


@modes
def test_what_nothing_comes_out_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PATIENCE", 0.05)
    for path in (no_file("pipe", tmp_path / "it"), Path("/dev/null")):
        with pytest.raises(OSError, match="nothing comes out of it: '"):
            read_stream(path)
    with pytest.raises(OSError, match="more comes out of it than can be"):
        read_stream(no_file("device", tmp_path / "endless"))
    assert not is_stream(tmp_path / "nothing")
