"""Native modules and the GIL: a free-threaded interpreter switches it on, or does without them."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import SimpleNamespace

import pytest

from aiotun.native import wanted
from aiotun.native.sources import SOURCES

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))

LOADED = """
import sys
from aiotun.offload import implementation
try:
    from aiotun.aead import implementation as aead
except ImportError:  # neither OpenSSL nor the package cryptography
    aead = "none"
print(implementation, aead, getattr(sys, "_is_gil_enabled", lambda: True)())
"""


def load(gil: str = "", pure: str = "") -> tuple[list[str], list[str]]:
    """What another process loads, whether it has the GIL then, and its warnings."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHON_GIL", "AIOTUN_PURE")}
    if gil:
        environment["PYTHON_GIL"] = gil
    done = subprocess.run(
        [sys.executable, "-c", LOADED],
        env={**environment, "AIOTUN_PURE": pure},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split(), [line for line in done.stderr.splitlines() if "Warning" in line]


@pytest.mark.parametrize(
    ("pure", "gil", "remedy"),
    [
        ("", None, None),
        ("0", 1, None),
        ("1", 1, "AIOTUN_PURE"),
        ("1", 0, "AIOTUN_PURE"),
        ("", 0, "PYTHON_GIL"),
    ],
)
def test_what_keeps_them_away(
    monkeypatch: pytest.MonkeyPatch, pure: str, gil: int | None, remedy: str | None
) -> None:
    monkeypatch.setenv("AIOTUN_PURE", pure)
    monkeypatch.setattr(wanted, "sys", SimpleNamespace(flags=SimpleNamespace(gil=gil)))
    if remedy is None:
        assert wanted.unwanted() is None
        wanted.check_wanted()
    else:
        assert remedy in str(wanted.unwanted())
        with pytest.raises(ImportError, match=remedy):
            wanted.check_wanted()


def test_none_says_that_it_needs_no_gil() -> None:
    """What their calls share has no lock of its own, so that an interpreter must lock for them."""
    code = "".join(path.read_text() for path in Path(SOURCES).rglob("*.[ch]"))
    assert "Py_mod_exec" in code
    assert "Py_MOD_GIL_NOT_USED" not in code
    assert "PyUnstable_Module_SetGIL" not in code


def test_they_bring_the_gil_and_the_interpreter_says_so_once() -> None:
    (_, _, gil), warnings = load()
    assert gil == "True"
    assert len(warnings) == FREE_THREADED
    assert all("GIL" in each and "aiotun.native._native" in each for each in warnings)


def test_nothing_is_said_where_the_gil_was_asked_for() -> None:
    (_, _, gil), warnings = load(gil="1" if FREE_THREADED else "")
    assert (gil, warnings) == ("True", [])


@pytest.mark.skipif(not FREE_THREADED, reason="this Python has the GIL always")
@pytest.mark.parametrize(("gil", "pure"), [("", "1"), ("0", ""), ("0", "1")])
def test_python_does_without_the_gil(gil: str, pure: str) -> None:
    (offload, aead, enabled), warnings = load(gil, pure)
    assert offload == "python"
    assert aead != "native"
    assert enabled == "False"
    assert not [each for each in warnings if "aiotun" in each]
