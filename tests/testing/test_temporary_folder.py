"""Where this project's tests keep what they write, whoever runs them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from machine import ROOT


def test_the_folder_is_called_after_the_user_and_not_after_the_environment(
    tmp_path_factory: pytest.TempPathFactory,
    pytestconfig: pytest.Config,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What another user owns would be refused, for every test that writes something."""
    if pytestconfig.option.basetemp is None:
        folder: Path = tmp_path_factory.getbasetemp().parent
        assert folder.name == f"pytest-of-{os.environ['LOGNAME']}"
    monkeypatch.setenv("LOGNAME", "stranger")
    conftest = pytestconfig.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py"))
    assert conftest is not None
    assert conftest._user() != "stranger"
