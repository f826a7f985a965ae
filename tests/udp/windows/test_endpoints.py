"""Endpoints on each of Windows' loops, and what is told of a port that is not to be had."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import socket

import pytest
from rigs import until
from udp_rigs import Recorder

import aiotun

WSAEACCES = 10013


async def test_a_connected_endpoint_sends_to_its_peer_and_hears_it() -> None:
    """The proactor's own endpoint does not ask a socket whether it is connected."""
    server, received = await aiotun.create_udp_endpoint(Recorder, local_addr=("127.0.0.1", 0))
    async with server:
        client, answers = await aiotun.create_udp_endpoint(Recorder, remote_addr=server.local_addr)
        async with client:
            client.sendto(b"question")
            await until(lambda: received.datagrams)
            server.sendto(b"answer", received.datagrams[0].addr)
            await until(lambda: answers.datagrams)
            assert [each.data for each in answers.datagrams] == [b"answer"]


async def test_a_port_that_windows_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for Hyper-V; and what another program has by SO_EXCLUSIVEADDRUSE."""

    def bind(sock: socket.socket, address: object) -> None:
        raise OSError(None, "forbidden by its access permissions", None, WSAEACCES)

    with monkeypatch.context() as patch:  # winloop binds sockets of its own at its end
        patch.setattr(socket.socket, "bind", bind)
        with pytest.raises(PermissionError, match=r"port 50000: forbidden.*Windows keeps it"):
            await aiotun.create_udp_endpoint(Recorder, ("127.0.0.1", 50000))
