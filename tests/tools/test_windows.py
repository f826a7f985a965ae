"""Whether the tests under wine are seen to have run: a script is wine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tools.windows import wine

BEGUN = "collecting ... collected 12 items / 2 deselected / 10 selected\n"
TEST = "tests/test_some.py::test_some PASSED [ 10%]\n"

RUNS = {
    "whole": (BEGUN + TEST + "=== 8 passed, 2 skipped, 2 deselected in 61.00s (0:01:01) ===", 0, 0),
    "an error at the end of a test": (BEGUN + "= 1 failed, 9 passed, 1 error in 1.00s =", 1, 1),
    "its server ended": (BEGUN + TEST, 0, 1),
    "before the first": ("", 0, 1),
    "told of some": (BEGUN + TEST + "===== 9 passed, 2 deselected in 1.00s =====", 0, 1),
    "a fault": (BEGUN + TEST, 5, 5),
}


@pytest.mark.parametrize(("output", "status", "expected"), RUNS.values(), ids=RUNS)
def test_the_status(
    output: str,
    status: int,
    expected: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "output").write_text(output)
    for name, script in (("wine", f"cat {tmp_path}/output\nexit {status}"), ("wineserver", ":")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert wine.pytest(folder=tmp_path) == expected
    told = capsys.readouterr().out
    assert ("the last was tests/test_some.py" in told) == (expected != 0 and TEST in output)
