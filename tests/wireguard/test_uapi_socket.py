"""The UNIX socket where the `wg` tool asks an interface. On Windows it is a named pipe."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from uapi_fakes import ALICE, BOB, FULL, KEY, OK, Fake

from aiotun.wireguard import uapi_socket
from aiotun.wireguard.changes import Control
from aiotun.wireguard.uapi_client import ask, find_socket, read_counters, read_status
from aiotun.wireguard.uapi_socket import open_uapi


async def test_conversation_over_the_socket(tmp_path: Path) -> None:
    fake = Fake()
    async with open_uapi(Control(fake), "wg9", tmp_path / "run") as path:
        assert path == tmp_path / "run" / "wg9.sock"
        assert os.stat(path).st_mode & 0o777 == 0o600
        await ask(path, "\n".join(FULL))
        status, counters = await asyncio.gather(read_status(path), read_counters(path))
        assert [peer.public_key for peer in status.peers] == [ALICE, BOB]
        assert counters["replayed"] == 0
        with pytest.raises(OSError, match="errno -22"):
            await ask(path, "set=1\nnonsense=1")
        # Several requests on one connection, in pieces.
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"set=1\nlisten_")
        await asyncio.sleep(0.01)
        writer.write(b"port=7\n\nget=1\n\n")
        assert await reader.readuntil(b"\n\n") == OK.encode()
        assert b"listen_port=7\n" in await reader.readuntil(b"\n\n")
        leave = writer  # still connected at the end
    assert not path.exists()
    assert await reader.read() == b""
    leave.close()


@pytest.mark.parametrize("more", [True, False], ids=["in the middle", "at the end"])
async def test_who_reads_no_answers_keeps_nobody_waiting(tmp_path: Path, more: bool) -> None:
    fake = Fake()
    with socket.socket(socket.AF_UNIX) as client:
        async with open_uapi(Control(fake), "wg9", tmp_path) as path:
            await ask(path, "\n".join(FULL))
            client.connect(str(path))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:  # more than the sockets hold of answers
                    client.send(b"get=1\n\n" * 100)
                    await asyncio.sleep(0)
            if not more:
                client.shutdown(socket.SHUT_WR)
            await asyncio.sleep(0)


async def test_a_request_without_end_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uapi_socket, "REQUEST_MAX", 1000)
    async with open_uapi(Control(Fake()), "wg9", tmp_path) as path:
        with pytest.raises(OSError, match=r"no answer|reset|pipe"):
            await ask(path, "set=1\n" + "listen_port=1\n" * 10000)
        await ask(path, "get=1")


async def test_nothing_listens_when_it_is_cancelled(tmp_path: Path) -> None:
    for when in range(5):
        uapi = open_uapi(Control(Fake()), "wg9", tmp_path)
        opening = asyncio.ensure_future(uapi.__aenter__())
        for _ in range(when):
            await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait([opening])
        if not opening.cancelled():
            await uapi.__aexit__(None, None, None)
        assert not os.listdir(tmp_path)


async def test_a_name_in_use_and_a_socket_left_behind(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "wg9.sock"))
    async with open_uapi(Control(Fake()), "wg9", tmp_path) as path:
        with pytest.raises(OSError, match="in use by another program"):
            async with open_uapi(Control(Fake()), "wg9", tmp_path):
                pass
        await ask(path, "get=1")


@pytest.mark.parametrize("name", ["../wg9", "wg9;reboot", "wg%d", "wg9\n", "", "..", "a" * 16])
async def test_a_name_that_no_interface_has(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is no name of an interface"):
        async with open_uapi(Control(Fake()), name, tmp_path / "run"):
            pass
    assert not os.listdir(tmp_path)


async def test_what_cannot_be_asked_is_told_without_keys(tmp_path: Path) -> None:
    async with open_uapi(Control(Fake()), "wg9", tmp_path) as path:
        with pytest.raises(OSError, match="refused 'set=1' with errno -22") as caught:
            await ask(path, f"set=1\nprivate_key={KEY.hex()}\nnonsense=1")
        assert KEY.hex() not in str(caught.value)


async def test_a_directory_that_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mkdir(*args: Any, **kwargs: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(PermissionError, match="--no-uapi"):
        async with open_uapi(Control(Fake()), "wg9", tmp_path):
            pass


def test_the_only_socket_is_found(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no interface is up"):
        find_socket(None, tmp_path)
    (tmp_path / "wg0.sock").touch()
    assert find_socket(None, tmp_path) == tmp_path / "wg0.sock"
    (tmp_path / "wg1.sock").touch()
    with pytest.raises(ValueError, match="there are wg0, wg1"):
        find_socket(None, tmp_path)
    assert find_socket("wg7", tmp_path) == tmp_path / "wg7.sock"
    with pytest.raises(ValueError, match="no name of an interface"):
        find_socket("../wg7", tmp_path)
