"""Commands of an interface, by cmd.exe."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

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


async def test_one_that_runs_is_ended(here: Path) -> None:
    sleep = f'echo x>begun& "{sys.executable}" -c "import time; time.sleep(30)"'
    task = asyncio.ensure_future(run_hooks([sleep], "wg0"))
    await until(lambda: bool(written(here)))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 20)
