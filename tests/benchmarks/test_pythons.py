"""Interpreters beside each other: which of them runs a row, and how."""

from __future__ import annotations

import sys

import pytest

from benchmarks import pythons


def test_rows_are_run_by_the_interpreters_that_are_named() -> None:
    found = pythons.rows(["old=python3.11 -I", "new=python3.14t"], "plain", "pure")
    assert [row.command[:4] for row in found.values()] == [
        ("python3.11", "-I", "-m", "benchmarks.forwarder"),
        ("python3.14t", "-m", "benchmarks.forwarder", "packet"),
    ]
    assert all("--no-offload" in row.command for row in found.values())
    assert [row.environment for row in found.values()] == [{"AIOTUN_PURE": "1"}] * 2
    assert not pythons.rows(["old=python3.11"], "packet", "native")["old"].environment


@pytest.mark.interop
@pytest.mark.requires("tun", "netns", "ip", "ping", "iperf3")
def test_one_round(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    options = [
        "--rounds",
        "1",
        "--seconds",
        "1",
        "--modes",
        "packet",
        "--implementations",
        "native",
    ]
    monkeypatch.setattr(pythons, "prepare", lambda *needed: None)  # it takes signals
    monkeypatch.setattr(sys, "argv", ["pythons", f"this={sys.executable}", *options])
    pythons.main()
    lines = capsys.readouterr().out.splitlines()
    assert "packet, native" in lines
    assert lines[-1].startswith("| this | ")
    assert lines[-1].endswith("1.00 (1.00 to 1.00) | 1.00 (1.00 to 1.00) |")
