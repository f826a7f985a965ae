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


KEPT_AWAY = """
import sys

class Finder:
    def find_spec(name, path=None, target=None):
        if name == "cryptography":
            raise {0}("of the test")

sys.meta_path.insert(0, Finder)
sys.modules["aiotun.native._aead"] = None
import aiotun.aead
"""


@pytest.mark.parametrize(
    ("error", "told"),
    [("ModuleNotFoundError", "pip install cryptography"), ("ImportError", "of the test")],
    ids=["it is not there", "it does not load, as in an interpreter with a GIL of its own"],
)
def test_a_package_is_asked_for_only_where_it_is_missing(error: str, told: str) -> None:
    command = [sys.executable, "-c", KEPT_AWAY.format(error)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told in done.stderr.splitlines()[-1]
