"""The named pipe where the `wg` tool asks."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import asyncio
import contextlib
import ctypes
import errno
from types import SimpleNamespace
from typing import Any

import pytest

from aiotun.platforms.windows.pipes import Pipe, _listen, open_pipe, pipe_names, serving
from aiotun.platforms.windows.security import SYSTEM, owner_of
from aiotun.wireguard import uapi_exchange
from aiotun.wireguard.changes import Control
from aiotun.wireguard.core.tunnel import Tunnel
from aiotun.wireguard.uapi_client import ask, find_socket, read_counters, read_status
from aiotun.wireguard.uapi_pipe import DIRECTORY, connect, label, open_uapi

KEY, ALICE = bytes([8]) * 32, bytes([1]) * 32

OK = b"errno=0\n\n"

NAME = "wg-of-a-test"

WINE = hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")

FULL = (
    f"set=1\nprivate_key={KEY.hex()}\nlisten_port=51999\n"
    f"public_key={ALICE.hex()}\nallowed_ip=10.0.0.1/32"
)


def control() -> Control:
    async def set_listen_port(port: int) -> None:
        interface.listen_port = port

    tunnel = Tunnel(KEY)
    interface: Any = SimpleNamespace(
        tunnel=tunnel,
        listen_port=51820,
        fwmark=0,
        set_peer=lambda config: tunnel.set_peer(config, 0.0, config.endpoint),
        set_private_key=tunnel.set_private_key,
        set_listen_port=set_listen_port,
    )
    return Control(interface)


async def test_conversation() -> None:
    async with open_uapi(control(), NAME) as path:
        assert str(path) == rf"\\.\pipe\ProtectedPrefix\Administrators\WireGuard\{NAME}"
        await ask(path, FULL)
        status, counters = await asyncio.gather(read_status(path), read_counters(path))
        assert (status.listen_port, [peer.public_key for peer in status.peers]) == (51999, [ALICE])
        assert counters["replayed"] == 0
        with pytest.raises(OSError, match="errno -22"):
            await ask(path, "set=1\nnonsense=1")
        # Several requests on one connection, in pieces.
        async with connect(path) as pipe:
            await pipe.write(b"set=1\nlisten_")
            await asyncio.sleep(0.01)
            await pipe.write(b"port=7\n\nget=1\n\n")
            assert await pipe.read_until(b"\n\n", 1000) == OK
            assert b"listen_port=7\n" in await pipe.read_until(b"\n\n", 1000)
        left = await open_pipe(str(path))  # still connected at the end
    with pytest.raises(asyncio.IncompleteReadError):
        await left.read_until(b"\n\n", 1000)
    left.close()
    with pytest.raises(OSError, match="is the interface up"):
        await ask(path, "get=1")


async def test_a_large_answer_comes_whole() -> None:
    peers = [number.to_bytes(32, "big") for number in range(1, 1001)]
    async with open_uapi(control(), NAME) as path:
        await ask(path, "\n".join(["set=1", *(f"public_key={key.hex()}" for key in peers)]))
        assert [peer.public_key for peer in (await read_status(path)).peers] == peers


async def test_many_ask_at_once() -> None:
    async with open_uapi(control(), NAME) as path, contextlib.AsyncExitStack() as stack:
        pipes = [await stack.enter_async_context(connect(path)) for _ in range(20)]
        for pipe in pipes:
            await pipe.write(b"get=1\n\n")
        for pipe in reversed(pipes):
            assert (await pipe.read_until(b"\n\n", 10000)).endswith(OK)


async def test_without_handles_it_goes_on_later(monkeypatch: pytest.MonkeyPatch) -> None:
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    refusals = [1, 2]

    def refuse(path: str) -> Pipe:
        if refusals:
            refusals.pop()
            raise OSError(errno.EMFILE, "of the test")
        return _listen(path)

    monkeypatch.setattr("aiotun.platforms.windows.pipes.ACCEPT_PAUSE", 0.01)
    async with open_uapi(control(), NAME) as path:
        monkeypatch.setattr("aiotun.platforms.windows.pipes._listen", refuse)
        for _ in range(2):
            await ask(path, "get=1")
    assert [str(path) in report["message"] for report in reports] == [True, True]


async def test_a_request_without_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uapi_exchange, "REQUEST_MAX", 1000)
    async with open_uapi(control(), NAME) as path:
        with pytest.raises(OSError, match=r"no answer|pipe"):
            await ask(path, "set=1\n" + "listen_port=1\n" * 100000)
        await ask(path, "get=1")


@pytest.mark.skipif(WINE, reason="wine takes no notice of FILE_FLAG_FIRST_PIPE_INSTANCE")
async def test_a_name_in_use() -> None:
    async with open_uapi(control(), NAME) as path:
        with pytest.raises(PermissionError, match="as administrator"):
            async with open_uapi(control(), NAME):
                pass
        await ask(path, "get=1")


async def test_nothing_of_it_is_left() -> None:
    for _ in range(2):
        async with open_uapi(control(), NAME) as path:
            (await open_pipe(str(path))).close()  # before anybody has waited for it
        with pytest.raises(FileNotFoundError):
            await open_pipe(str(path))


async def test_it_belongs_to_the_system() -> None:
    async with open_uapi(control(), NAME) as path, connect(path) as pipe:
        assert owner_of(pipe.handle) == SYSTEM


async def test_one_that_somebody_else_made_is_not_asked() -> None:
    path = DIRECTORY / NAME

    async def serve(pipe: Pipe) -> None:
        await pipe.read_until(b"\n\n", 1000)
        raise AssertionError("it was asked")

    async with serving(str(path), "O:BAD:(A;;GA;;;WD)", serve):
        with pytest.raises(PermissionError, match="does not belong to the system"):
            await ask(path, "get=1")


@pytest.mark.parametrize("name", ["../wg9", "wg9;reboot", "wg%d", "nul", "com1.x", "a" * 33])
async def test_a_name_that_no_interface_has(name: str) -> None:
    with pytest.raises(ValueError, match="is no name of an interface"):
        async with open_uapi(control(), name):
            pass
    with pytest.raises(ValueError, match="is no name of an interface"):
        find_socket(name)


def test_the_only_one_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["InitShutdown", "WireGuard\\x"]
    monkeypatch.setattr("aiotun.wireguard.uapi_pipe.pipe_names", lambda: names)
    with pytest.raises(ValueError, match="no interface is up"):
        find_socket(None)
    names.append(r"ProtectedPrefix\Administrators\WireGuard\office.eu")
    assert find_socket(None) == DIRECTORY / "office.eu"
    assert label(DIRECTORY / "office.eu") == "office.eu"
    names.append(r"ProtectedPrefix\Administrators\WireGuard\wg0")
    with pytest.raises(ValueError, match=r"there are office\.eu, wg0"):
        find_socket(None)
    assert find_socket("wg0") == DIRECTORY / "wg0"


@pytest.mark.skipif(WINE, reason="wine does not list pipes")
async def test_pipes_are_listed() -> None:
    async with open_uapi(control(), NAME):
        assert rf"ProtectedPrefix\Administrators\WireGuard\{NAME}" in pipe_names()
