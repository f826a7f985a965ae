"""What wg-quick does around an interface."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotun.wireguard.keys import encode_key
from aiotun.wireguard.wg_quick import interface_name, run_hooks

WINDOWS = sys.platform == "win32"

NAME_MAX = 32 if WINDOWS else 15


@pytest.mark.parametrize(
    "name",
    ["wg0", "a", "A=b_c+d.e-f", "1", "-", "x" * NAME_MAX, *(("nulls",) if WINDOWS else ("...",))],
)
def test_names(name: str) -> None:
    assert interface_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "x" * (NAME_MAX + 1), "wg;reboot", "wg%d", "%i", "../wg0", "/wg0", "wg0\n", "\nwg0",
     "w g", ".", "..",
     "wg\0", "wgé", "wg$x", "`x`", "wg:0", "wg*",
     *(("nul", "CON", "Com1.wg", "aux.", "...", ".wg", "wg.") if WINDOWS else ())],
)  # fmt: skip
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(name))):
        interface_name(name)


@given(st.text(max_size=NAME_MAX + 2))
def test_a_name_is_itself_in_a_path_and_in_a_shell(name: str) -> None:
    try:
        interface_name(name)
    except ValueError:
        return
    assert Path(f"/{name}").name == name
    assert re.fullmatch("[a-zA-Z0-9_=+.-]*", name)
    assert 1 <= len(name.encode()) <= NAME_MAX


needs_bash = pytest.mark.skipif(
    WINDOWS or shutil.which("bash") is None, reason="there is no bash, or it is not taken"
)


@needs_bash
@pytest.mark.parametrize(
    ("command", "printed"),
    [
        ("echo %i and %i", "wg0 and wg0\n"),
        ("echo 'a # b' # c", "a # b\n"),
        ("# nothing", ""),
        ("[[ %i == wg+([0-9]) ]] && echo yes", "yes\n"),  # bash's own, extglob too
        ("echo ${BASH_VERSION:+bash} $LC_ALL", "bash C\n"),
        ("cat <(echo a) <(echo b)", "a\nb\n"),
    ],
)
async def test_commands(command: str, printed: str, capfd: pytest.CaptureFixture[str]) -> None:
    await run_hooks([command], "wg0")
    assert capfd.readouterr().out == printed


@needs_bash
@pytest.mark.parametrize("command", ["false", "false; true", "false | true", "exit 1"])
async def test_one_that_fails_is_the_last(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OSError, match=f"failed with status 1: {re.escape(command)}"):
        await run_hooks(["echo first", command, "echo third"], "wg0")
    assert capfd.readouterr().out == "first\n"


@needs_bash
@pytest.mark.parametrize("key", [encode_key(bytes(range(32))), bytes(range(32)).hex()])
async def test_keys_in_them_are_not_told(key: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    command = f"key={key}; [[ $key == {key[:-1]}? ]] && false"
    with pytest.raises(OSError, match=r"status 1: key=\(hidden\); \[\[ \$key") as caught:
        await run_hooks([command], "wg0")
    assert key not in str(caught.value) + caplog.text


@needs_bash
async def test_they_are_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await run_hooks(["true %i"], "wg0")
    assert caplog.messages == ["true wg0"]


@pytest.mark.skipif(WINDOWS, reason="there it is cmd.exe")
async def test_without_bash(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="take the program bash"):
        await run_hooks(["true"], "wg0")


@needs_bash
async def test_one_that_runs_is_ended(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    task = asyncio.ensure_future(run_hooks([f"exec cat {fifo}"], "wg0"))
    writer = await asyncio.to_thread(fifo.open, "wb", buffering=0)  # when it has opened it too
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(BrokenPipeError), writer:
        writer.write(b"x")
