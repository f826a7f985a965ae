"""UNIX sockets that are their owner's alone."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

assert sys.platform != "win32"

from aiohttp import web

from aiotun.wireguard.unix_socket import bind_privately
from aiotun.wireguard.web.listening import listening


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """One that grants everything, and that nothing has changed in the end."""
    before = os.umask(0)
    yield
    assert os.umask(before) == 0


def test_nobody_else_may_connect(tmp_path: Path) -> None:
    with bind_privately(tmp_path / "s"):
        assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600


def test_what_a_killed_program_left_gives_way(tmp_path: Path) -> None:
    bind_privately(tmp_path / "s").close()
    bind_privately(tmp_path / "s").close()


def test_one_that_listens_stays(tmp_path: Path) -> None:
    with bind_privately(tmp_path / "s") as first:
        first.listen()
        with pytest.raises(OSError, match="in use by another program") as caught:
            bind_privately(tmp_path / "s")
        assert caught.value.errno == errno.EADDRINUSE
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "s"))


busy = pytest.param(
    "busy", marks=pytest.mark.skipif(sys.platform != "linux", reason="BSDs refuse connections then")
)


@pytest.mark.parametrize("kind", [busy, "of datagrams"])
def test_one_that_takes_no_connection_stays(tmp_path: Path, kind: str) -> None:
    """As those of a system's log do."""
    path = tmp_path / "s"
    type_ = socket.SOCK_STREAM if kind == "busy" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_UNIX, type_) as first, contextlib.ExitStack() as stack:
        first.bind(str(path))
        if kind == "busy":
            first.listen(0)
            while True:
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                if client.connect_ex(str(path)):
                    break
        with pytest.raises(OSError, match="in use by another program"):
            bind_privately(path)
        assert path.is_socket()


@pytest.mark.parametrize(
    ("name", "why"),
    [("file", "in use"), ("none/s", "No such file"), ("s" * 200, "too long")],
    ids=["file", "no folder", "long"],
)
def test_what_cannot_be_bound_is_named(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=f"{why}.*{tmp_path / name}"):
        bind_privately(tmp_path / name)


@pytest.mark.parametrize("place", ["s", ("127.0.0.1", 0)], ids=["unix", "tcp"])
async def test_nothing_listens_when_it_is_cancelled(
    no_leaks: None, tmp_path: Path, place: str | tuple[str, int]
) -> None:
    for when in range(8):
        where = str(tmp_path / place) if isinstance(place, str) else place
        served = listening(web.Application(), where)
        opening = asyncio.ensure_future(served.__aenter__())
        for _ in range(when):
            await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait([opening])
        if not opening.cancelled():
            await served.__aexit__(None, None, None)
        assert not os.listdir(tmp_path)


async def test_an_application_there(tmp_path: Path) -> None:
    place = tmp_path / "s"
    async with listening(web.Application(), str(place)) as where:
        assert where == str(place)
        assert place.stat().st_mode & 0o777 == 0o600
        with pytest.raises(OSError, match="in use by another program"):
            async with listening(web.Application(), str(place)):
                pytest.fail("both listen")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(place))
    assert not place.exists()
