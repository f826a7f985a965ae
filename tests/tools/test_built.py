"""What the set-up says where a native module is missing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

WITHOUT = 'sys.modules["aiotun.native._native"] = None'
OLDER = """
older = sys.modules["aiotun.native._native"] = type(sys)("older")
older.__file__ = "older.so"
"""


@pytest.mark.requires("native", "aead")
@pytest.mark.parametrize(
    ("modules", "environment", "status", "said"),
    [
        ("", {"CI": "true"}, 0, ""),
        (WITHOUT, {}, 0, "the offload functions run in pure Python"),
        (WITHOUT, {"CI": "true"}, 1, "the offload functions run in pure Python"),
        (WITHOUT, {"CI": "true", "AIOTUN_PURE": "1"}, 0, ""),
        (OLDER, {}, 1, "older.so was built from other sources"),
    ],
    ids=["built", "missing", "missing in CI", "unwanted", "older"],
)
def test_what_is_missing(modules: str, environment: dict[str, str], status: int, said: str) -> None:
    program = f"import sys\n{modules}\nfrom tools.built import main\nsys.exit(main())"
    inherited = {name: os.environ[name] for name in os.environ.keys() - {"CI", "AIOTUN_PURE"}}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert bool(done.stderr) == bool(said)
