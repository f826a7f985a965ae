"""Tests run under wine, whose programs end with 0 where its server does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tools.windows.wine import pytest as run

WHOLE = "===== 1 passed, 2 skipped in 61.23s (0:01:01) ====="


@pytest.mark.parametrize(
    ("printed", "status", "result"),
    [(WHOLE, 0, 0), ("", 0, 1), ("===== FAILURES =====", 0, 1), (WHOLE, 3, 3)],
    ids=["whole", "midway", "without a summary", "failed"],
)
def test_a_run_of_which_pytest_did_not_tell_the_end_has_failed(
    printed: str, status: int, result: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, script in (
        ("wine", f"echo 'tests/test_x.py::test_y PASSED'\necho '{printed}'\nexit {status}"),
        ("wineserver", "exit 0"),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert run(folder=tmp_path) == result
