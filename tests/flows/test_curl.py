"""curl as a client: of pages that Python answers, and of a real server behind an exit."""

from __future__ import annotations

import asyncio
import http.server
import random
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from flow_rigs import HOST, FlowNet
from rigs import until

import aiotun
from aiotun.flows import onward

pytestmark = [pytest.mark.interop, pytest.mark.requires("tun", "netns", "curl")]

URLS = [f"http://{HOST[4]}", f"http://[{HOST[6]}]"]

LARGE = random.Random(3).randbytes(5_000_000)


async def curl(net: FlowNet, *arguments: str) -> None:
    """It fails if curl does, of which any answer but one of 200 is a reason."""
    command = ["curl", "--silent", "--show-error", "--fail", "--max-time", "40", *arguments]
    await asyncio.to_thread(net.namespace.command, *command)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What was sent, as a page."""
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
    body = await reader.readexactly(int(fields.get(b"Content-Length", b"0")))
    path = head.split()[1]
    page = body or path
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % len(page))
    writer.write(b"Connection: close\r\n\r\n" + page)
    await writer.drain()
    writer.close()


@pytest.mark.parametrize("url", URLS)
async def test_a_page_by_python(flow_net: FlowNet, url: str, tmp_path: Path) -> None:
    sent, got = tmp_path / "sent", tmp_path / "got"
    sent.write_bytes(LARGE)
    async with aiotun.start_flow_server(answer, device=flow_net.device()) as flows:
        await curl(flow_net, "-H", "Expect:", "--data-binary", f"@{sent}", "-o", f"{got}", url)
        assert got.read_bytes() == LARGE
        await until(lambda: not flows.flows)


async def test_a_page_with_200_parts(flow_net: FlowNet, tmp_path: Path) -> None:
    async with aiotun.start_flow_server(answer, device=flow_net.device()) as flows:
        arguments = ["--parallel", "--parallel-immediate", "--parallel-max", "200"]
        await curl(flow_net, *arguments, "-o", f"{tmp_path}/#1", f"{URLS[0]}/[1-200]")
        got = {each.name: each.read_text() for each in tmp_path.iterdir()}  # noqa: ASYNC240
        assert got == {f"{number}": f"/{number}" for number in range(1, 201)}
        assert flows.counters.established == 200
        await until(lambda: not flows.flows)
        assert not flows.counters.drops


@contextmanager
def files(folder: Path, version: int) -> Iterator[None]:
    """A server of files that knows nothing of flows."""

    class Server(http.server.ThreadingHTTPServer):
        address_family = socket.AF_INET if version == 4 else socket.AF_INET6

    handler = partial(http.server.SimpleHTTPRequestHandler, directory=f"{folder}")
    with Server((HOST[version], 80), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("version", [4, 6])
async def test_a_server_behind_an_exit(flow_net: FlowNet, version: int, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(LARGE)
    got = tmp_path / "got"
    with aiotun.Device(addresses=[f"{HOST[version]}/{32 if version == 4 else 128}"]):
        async with aiotun.start_flow_server(
            onward.pass_connection, accept=onward.connect, device=flow_net.device()
        ):
            url = URLS[version == 6]
            with pytest.raises(subprocess.CalledProcessError) as caught:
                await curl(flow_net, url)
            assert caught.value.returncode == 7, "it could not connect"
            with files(tmp_path, version):
                await curl(flow_net, "-o", f"{got}", f"{url}/file")
    assert got.read_bytes() == LARGE
