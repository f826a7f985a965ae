"""Where this project's tests keep what they write, whoever runs them."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path


def test_the_folder_is_this_users_whatever_the_environment_says(tmp_path: Path) -> None:
    """What another user owns would be refused, for every test that writes something."""
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-k", "test_of_a_folder", __file__],
        env={**os.environ, "LOGNAME": "stranger", "PYTEST_DEBUG_TEMPROOT": str(tmp_path)},
        check=True,
    )
    assert os.listdir(tmp_path) == [f"pytest-of-{pwd.getpwuid(os.getuid()).pw_name}"]


def test_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
