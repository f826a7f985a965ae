"""A native module that was built from other sources is refused, not used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from aiotun.native import sources


def built_from(checksum: int | None) -> ModuleType:
    module = ModuleType("aiotun.native._native")
    module.__file__ = "/old/_native.so"
    if checksum is not None:
        module.SOURCES = checksum  # type: ignore[attr-defined]
    return module


@pytest.mark.parametrize(("name", "source"), [("_native", "module.c"), ("_aead", "aead.c")])
def test_what_is_at_hand_was_built_from_these_sources(name: str, source: str) -> None:
    module = pytest.importorskip(f"aiotun.native.{name}")
    sources.check(module, source)
    assert sources.checksum(source) == module.SOURCES


@pytest.mark.parametrize("changed", ["module.c", "state.h", "offload/headers.h"])
def test_changed_sources_are_noticed(
    changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = built_from(sources.checksum("module.c"))
    copy = shutil.copytree(sources.SOURCES, tmp_path / "src")
    monkeypatch.setattr(sources, "SOURCES", copy)
    sources.check(module, "module.c")
    with (copy / changed).open("a") as file:
        file.write("\n")
    with pytest.raises(ImportError, match=r"/old/_native\.so was built from other .* it anew"):
        sources.check(module, "module.c")


def test_what_says_nothing_of_its_sources_is_refused() -> None:
    with pytest.raises(ImportError, match="was built from other sources"):
        sources.check(built_from(None), "module.c")


def test_where_no_sources_are_installed_nothing_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "SOURCES", tmp_path)
    sources.check(built_from(None), "module.c")


@pytest.mark.parametrize("pure", ["", "1"], ids=["native", "pure"])
@pytest.mark.parametrize(("stale", "imported"), [("_native", "aiotun"), ("_aead", "aiotun.aead")])
def test_nothing_imports_with_a_stale_module(stale: str, imported: str, pure: str) -> None:
    program = (
        "import sys, types\n"
        f"module = sys.modules['aiotun.native.{stale}'] = types.ModuleType('{stale}')\n"
        "module.__file__ = '/old.so'\n"
        "module.Sealer = module.Opener = module.ReplayWindow = module.Counts = object\n"
        f"import {imported}"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "AIOTUN_PURE": pure},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ("/old.so was built from other sources" in done.stderr) == (not pure), done.stderr
    assert bool(done.returncode) == (not pure)
