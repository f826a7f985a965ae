"""What the commands say and do on Windows; doctor and demo have files of their own."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import subprocess
from pathlib import Path
from typing import Any

import pytest
from capture_files import OUTBOUND, read
from rigs import packet
from standin import LIBRARY, Far, StandIn, in_thread

from aiotun import cli
from aiotun.platforms.windows import wintun
from aiotun.probes import probe


@pytest.fixture
def adapters(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Wintun is there."""
    load: Any = wintun.load
    monkeypatch.setattr(wintun, "load", lambda path: load(path or LIBRARY))
    return standin


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """By a command that fails: all of it."""
    assert cli.main(words) == 1
    out, errors = capsys.readouterr()
    return out + errors


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "name the interface, or make one with --new"),
        (["eth0"], "only Linux shows other programs' packets; aiotun.capture shows one's own"),
        (["--new", "c0", "--tap"], "TAP-Windows"),
        (["--new", "c0", "--wireshark"], "wireshark is not in PATH; -w FILE writes what it reads"),
    ],
    ids=["no name", "of others", "a TAP", "Wireshark"],
)
def test_a_capture_that_cannot_be(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = said(capsys, "capture", *words)
    assert answer.startswith("aiotun capture: ")
    assert told in answer
    assert len(answer.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_capture_of_a_new_adapter(
    adapters: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def arrive() -> None:
        while adapters.call("Find", "c0") is None:
            pass
        while not Far(adapters, "c0").push(packet(1)):
            pass

    file = tmp_path / "c0.pcapng"
    thread, _ = in_thread(arrive)
    assert cli.main(["capture", "--new", "c0", "--count", "1", "--write", str(file)]) == 0
    thread.join()
    assert read(file).packets == [(packet(1), OUTBOUND, "")]
    assert adapters.call("Find", "c0") is None
    assert "made c0, and capturing" in capsys.readouterr().err


def test_a_capture_with_a_filter(
    adapters: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = said(capsys, "capture", "--new", "c0", "-w", str(tmp_path / "file"), "tcp")
    assert "filters take libpcap, which is not here (record all, and filter" in answer
    assert adapters.call("Find", "c0") is None


def test_nothing_is_measured(adapters: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    """Not even where adapters can be made: between them there are no namespaces."""
    probe.cache_clear()
    assert probe("tun").available
    probe.cache_clear()
    answer = said(capsys, "bench", "--rounds", "1", "--seconds", "0.1")
    assert "Windows has no network namespaces for it to stay in." in answer


def test_a_script_for_a_shell_has_no_cr() -> None:
    command = [sys.executable, "-m", "aiotun", "completion", "bash"]
    script = subprocess.run(command, check=True, capture_output=True, timeout=30).stdout
    assert script.endswith(b"\n")
    assert b"\r" not in script
