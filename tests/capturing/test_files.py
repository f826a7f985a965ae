"""Files of a capture: rings by size and time, and what each file of one has in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from capture_files import read

from aiotun import ConfigError
from aiotun.capturing import files
from aiotun.capturing.files import CaptureFile, Ring

SECOND = 1_000_000_000
NOW = 1_700_000_000 * SECOND


def opened(path: Path, ring: Ring | None = None) -> CaptureFile:
    return CaptureFile(path, 101, name="vpn0", snap_length=2000, ring=ring)


def test_a_ring_by_size_keeps_the_newest(tmp_path: Path) -> None:
    with opened(tmp_path / "x.pcapng", Ring(size=1200, files=2)) as file:
        for number in range(10):
            file.write(bytes([number]) * 400, NOW)
    left = sorted(tmp_path.iterdir())
    assert [re.sub(r"_\d{14}", "", path.name) for path in left] == [
        "x_00004.pcapng",
        "x_00005.pcapng",
    ]
    assert all(path.stat().st_size <= 1300 for path in left)
    assert [[data[0] for data, _, _ in read(path).packets] for path in left] == [[6, 7], [8, 9]]
    assert [read(path).interfaces[0]["if_name"] for path in left] == ["vpn0", "vpn0"]
    assert read(left[0]).statistics[0]["isb_usrdeliv"] == 8


@pytest.mark.parametrize("hour", [0, 3600 * SECOND, -3600 * SECOND], ids=str)
def test_a_ring_by_time(tmp_path: Path, hour: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while somebody sets the system's clock."""
    passed = 0.0
    monkeypatch.setattr(files, "monotonic", lambda: passed)
    with opened(tmp_path / "x.pcapng", Ring(seconds=10)) as file:
        for number, passed in enumerate((0.0, 9.0, 11.0, 12.0)):
            file.write(b"packet", NOW + round(passed) * SECOND + number * hour)
    assert [len(read(path).packets) for path in sorted(tmp_path.iterdir())] == [2, 2]


def test_a_packet_larger_than_a_file_of_the_ring(tmp_path: Path) -> None:
    with opened(tmp_path / "x.pcapng", Ring(size=100)) as file:
        for _ in range(2):
            file.write(bytes(1000), NOW)
    assert [len(read(path).packets) for path in sorted(tmp_path.iterdir())] == [1, 1]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "takes a size or a time"),
        ({"files": 3}, "takes a size or a time"),
        ({"size": 0}, "size of a ring must be above 0"),
        ({"seconds": -1.0}, "seconds of a ring must be above 0"),
        ({"seconds": float("nan")}, "seconds of a ring must be above 0"),
        ({"size": 1, "files": 0}, "files of a ring must be above 0"),
    ],
    ids=str,
)
def test_rings_that_cannot_be(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Ring(**wrong)


def test_a_snap_length_for_which_a_file_has_no_place(tmp_path: Path) -> None:
    path = tmp_path / "packets.pcapng"
    with pytest.raises(ConfigError, match="at most 4294967295"):
        CaptureFile(path, 101, name="vpn0", snap_length=1 << 32)
    assert not path.exists()


@pytest.mark.parametrize("then", ["write", "tell", "flush", "close"])
def test_a_ring_whose_next_file_cannot_be_made_stays_with_the_last(
    then: str, tmp_path: Path
) -> None:
    folder, moved = tmp_path / "ring", tmp_path / "moved"
    folder.mkdir()
    with opened(folder / "x.pcapng", Ring(size=600, files=1)) as file:
        file.write(b"packet", NOW)
        folder.rename(moved)
        with pytest.raises(FileNotFoundError):
            file.write(bytes(600), NOW)
        if then == "write":
            with pytest.raises(FileNotFoundError):
                file.write(bytes(600), NOW)
        elif then == "tell":
            file.tell(3, 1)
        elif then == "flush":
            file.flush()
    file.flush()
    (left,) = moved.iterdir()
    assert [data for data, _, _ in read(left).packets] == [b"packet"]
