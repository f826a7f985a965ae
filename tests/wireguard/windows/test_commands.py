"""Commands of an interface, by cmd.exe."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import _winapi
import asyncio
from pathlib import Path

import pytest
from rigs import until

from aiotun.wireguard.keys import encode_key
from aiotun.wireguard.wg_quick import run_hooks


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


async def test_commands_know_the_interface(here: Path) -> None:
    await run_hooks(["echo %i>first", 'echo "a" %WIREGUARD_TUNNEL_NAME%>second'], "wg0")
    assert written(here) == {"first": "wg0\n", "second": '"a" wg0\n'}


async def test_one_that_fails_is_the_last(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    key = encode_key(bytes(range(32)))
    with pytest.raises(OSError, match=r"failed with status 3: exit 3 & rem \(hidden\)"):
        await run_hooks([f"exit 3 & rem {key}", "echo x>after"], "wg0")
    assert written(here) == {}
    assert key not in caplog.text


SLEEP = """
import os, pathlib, time
pathlib.Path("begun").write_text(str(os.getpid()))
time.sleep(30)
"""

SYNCHRONIZE = 0x100000


async def test_one_that_runs_is_ended_with_what_it_started(here: Path) -> None:
    (here / "sleep.py").write_text(SLEEP)
    task = asyncio.ensure_future(run_hooks([f'"{sys.executable}" sleep.py & rem'], "wg0"))
    await until(lambda: written(here).get("begun"))
    child = _winapi.OpenProcess(SYNCHRONIZE, False, int(written(here)["begun"]))
    assert _winapi.WaitForSingleObject(child, 0) == _winapi.WAIT_TIMEOUT
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 20)
    assert _winapi.WaitForSingleObject(child, 5000) == _winapi.WAIT_OBJECT_0
    _winapi.CloseHandle(child)


async def test_what_one_leaves_running_goes_on(here: Path) -> None:
    (here / "sleep.py").write_text(SLEEP.replace("30", "3"))
    await run_hooks([f'start /b "" "{sys.executable}" sleep.py'], "wg0")
    await until(lambda: written(here).get("begun"))
    child = _winapi.OpenProcess(SYNCHRONIZE, False, int(written(here)["begun"]))
    assert _winapi.WaitForSingleObject(child, 500) == _winapi.WAIT_TIMEOUT
    assert _winapi.WaitForSingleObject(child, 20000) == _winapi.WAIT_OBJECT_0
    _winapi.CloseHandle(child)


async def test_no_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMSPEC", r"C:\nowhere\cmd.exe")
    with pytest.raises(FileNotFoundError):
        await run_hooks(["exit 0"], "wg0")
