"""One at a time changes the files of a folder."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from aiotun.files import LOCK, locked

ROUNDS = 50

ROOT = Path(__file__).parents[1]

COUNT = """
import sys
from pathlib import Path
sys.path += ["", "tests"]
from test_locked_folder import count
count(Path(sys.argv[1]))
"""


def count(folder: Path, rounds: int = ROUNDS) -> None:
    """Add as many to the number in the file: some are lost where two do so at once."""
    file = folder / "number"
    for _ in range(rounds):
        with locked(folder / "file"):
            number = int(file.read_text())
            time.sleep(0)
            file.write_text(str(number + 1))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "number").write_text("0")
    return tmp_path


def test_threads_take_turns(folder: Path) -> None:
    threads = [threading.Thread(target=count, args=(folder,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (folder / "number").read_text() == str(4 * ROUNDS)
    assert os.listdir(folder) == ["number"]


def test_processes_take_turns(folder: Path) -> None:
    words = (sys.executable, "-c", COUNT, str(folder))
    processes = [subprocess.Popen(words, cwd=ROOT) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert (folder / "number").read_text() == str(3 * ROUNDS)
    assert os.listdir(folder) == ["number"]


def test_one_that_raises_gives_it_back(folder: Path) -> None:
    for _ in range(2):
        with pytest.raises(RuntimeError, match="of the test"), locked(folder / "file"):
            raise RuntimeError("of the test")
    assert os.listdir(folder) == ["number"]


def test_what_a_crash_has_left_stops_nobody(folder: Path) -> None:
    (folder / LOCK).write_bytes(b"")
    count(folder, 1)
    assert os.listdir(folder) == ["number"]


def test_a_folder_that_is_not_there(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=LOCK), locked(folder / "absent" / "file"):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="modes say nothing there")
def test_it_is_its_owners_alone(folder: Path) -> None:
    before = os.umask(0)
    try:
        with locked(folder / "file"):
            assert stat.S_IMODE((folder / LOCK).stat().st_mode) == 0o600
    finally:
        os.umask(before)


@pytest.mark.skipif(sys.platform == "win32", reason="there it takes a right to make links")
def test_a_link_in_its_place_is_not_followed(folder: Path) -> None:
    (folder / LOCK).symlink_to("elsewhere")
    with pytest.raises(OSError, match=LOCK), locked(folder / "file"):
        pass
    assert not (folder / "elsewhere").exists()
