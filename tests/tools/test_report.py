"""make report: on Linux, whose kernel is at hand."""

from __future__ import annotations

import os
import threading
from types import SimpleNamespace

import pytest
from models.devices import KERNELS, open_on_model

from aiotun.testing import Namespace
from tools import report

pytestmark = pytest.mark.requires("tun", "netns", "ipv6")


@pytest.mark.interop
def test_all_steps(capsys: pytest.CaptureFixture[str]) -> None:
    namespace = Namespace()
    try:
        failed = namespace.run(report.main)
    finally:
        namespace.close()
    output = capsys.readouterr().out
    assert (failed, "FAILED" in output) == (0, False), output
    assert output.endswith(
        f"{len(report.STEPS)} of {len(report.STEPS)} steps did what they should\n"
    )


@pytest.mark.parametrize("system", KERNELS)
@pytest.mark.parametrize(
    "step", ["a TUN and its settings", "events", "routes", "a device that stays", "errors"]
)
def test_steps_on_models(system: str, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that take nothing of a kernel but its devices: they ask for what that system has."""
    kernel = KERNELS[system]()
    device = SimpleNamespace(Device=lambda **settings: open_on_model(kernel, **settings))
    monkeypatch.setattr(report, "aiotun", device)
    assert report.STEPS[step]()
    assert not kernel.interfaces


def test_what_fails_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> str:
        raise OSError(1, "out of order")

    monkeypatch.setattr(report, "STEPS", {"one": lambda: "fine", "two": broken})
    assert report.main() == 1
    output = capsys.readouterr().out
    assert "ok      one: fine" in output
    assert "FAILED  two:" in output
    assert "out of order" in output


def test_a_step_that_hangs_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()

    def hang_here() -> str:
        ended.wait()
        return "too late"

    monkeypatch.setattr(report, "STEPS", {"one": hang_here, "two": lambda: "fine"})
    monkeypatch.setattr(report, "WITHIN", 0.05)
    assert report.main() == 1
    ended.set()
    output = capsys.readouterr().out
    assert "it hangs" in output
    assert "hang_here" in output
    assert "ok      two: fine" in output


def test_without_root(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert report.main() == len(report.STEPS)
    assert capsys.readouterr().out.count("\n") == 1
