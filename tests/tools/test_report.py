"""make report: on Linux, whose kernel is at hand."""

from __future__ import annotations

import pytest

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
