"""What a program holds of flows that it does not read, whatever their clients send."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from flow_rigs import HOST, FlowNet
from rigs import settle, until

import aiotun
from aiotun.flows import DatagramStream, Decision, Drop, Flow, FlowLimits

pytestmark = pytest.mark.requires("tun", "netns")

LIMIT = 64 << 10
"""Bytes, of a reader's buffer and of a conversation's queue."""

READ_MAX = 256 << 10
"""What a loop reads of a socket at once: both loops' is this at most."""


@contextmanager
def bounded(size: int) -> Iterator[None]:
    """Python allocates no more than so much meanwhile."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
        assert peak < size
    finally:
        tracemalloc.stop()


async def test_connections(flow_net: FlowNet) -> None:
    """A reader takes twice its limit and one read more; then the window closes."""
    stop = asyncio.Event()
    clients = 5
    sent = [0] * clients

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stop.wait()
        writer.transport.abort()

    async def send_what_goes(client: int) -> None:
        loop, piece = asyncio.get_running_loop(), bytes(1 << 16)
        with flow_net.open_socket() as sock:
            await loop.sock_connect(sock, (HOST[4], 80))
            while sent[client] < 64 << 20:
                await loop.sock_sendall(sock, piece)
                sent[client] += len(piece)

    async with aiotun.start_flow_server(handle, limit=LIMIT, device=flow_net.device()) as server:
        with bounded(clients * (2 * LIMIT + READ_MAX) + (1 << 20)):
            sending = [asyncio.ensure_future(send_what_goes(n)) for n in range(clients)]
            await until(lambda: min(sent))
            await settle(lambda: sum(sent))
        assert max(sent) < 64 << 20
        for each in sending:
            each.cancel()
        await asyncio.wait(sending)
        stop.set()
        await until(lambda: not server.flows)


@pytest.mark.parametrize("undecided", [False, True])
async def test_conversations(flow_net: FlowNet, undecided: bool) -> None:
    """What is over the limit is dropped and counted, and while `accept=` decides it is, too."""
    stop = asyncio.Event()

    async def answer(datagrams: DatagramStream) -> None:
        await stop.wait()

    async def accept(flow: Flow) -> Decision:
        await stop.wait()
        return Decision.TAKE

    async with (
        aiotun.start_flow_server(
            None,
            datagrams=answer,
            accept=accept if undecided else None,
            limits=FlowLimits(queued_bytes=LIMIT),
            device=flow_net.device(),
        ) as server,
        flow_net.udp() as sock,
    ):
        reason = Drop.PENDING if undecided else Drop.QUEUE_FULL
        counters = server.transport.counters

        def received(count: int) -> bool:
            return counters.packets_received >= count

        with bounded(1 << 20):
            for sent in range(0, 4000, 100):
                for _ in range(100):
                    sock.send(bytes(1000))
                await until(partial(received, sent + 100))
        assert server.counters.drops[reason] == 4000 - LIMIT // 1064
        stop.set()
