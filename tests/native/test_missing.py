"""A process without the native module is told so, unless it asked for that."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

WITHOUT = """
import sys
sys.modules["aiotun.native._native"] = None
import aiotun
for _ in range(2):
    aiotun.Device().close()
"""


@pytest.mark.requires("tun", "netns")
@pytest.mark.parametrize(("pure", "times"), [("", 1), ("1", 0)], ids=["missing", "unwanted"])
def test_what_is_slow_is_said_once(pure: str, times: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT],
        env={**os.environ, "AIOTUN_PURE": pure},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.count("aiotun was installed without its native module") == times
    assert len(done.stderr.splitlines()) == times
