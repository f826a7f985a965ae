"""A connected endpoint on each of Windows' loops."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

from rigs import until
from udp_rigs import Recorder

import aiotun


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
