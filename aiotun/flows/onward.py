"""What an exit does with flows: it makes them again from this host, and lets bytes through."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from .base import Decision, Flow
from .udp import DatagramStream

__all__ = ["connect", "pass_connection", "pass_conversation", "pass_streams"]

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

CHUNK = 1 << 18


async def connect(flow: Flow) -> Decision:
    """An `accept=` that connects onward first: the client's connect fails as this one does.

    `flow.attachment` then are the streams of the connection.
    """
    if flow.protocol == "udp":
        return Decision.TAKE
    try:
        flow.attachment = await asyncio.open_connection(*flow.destination, limit=CHUNK)
    except ConnectionRefusedError:
        return Decision.REFUSE
    except OSError:
        return Decision.UNREACHABLE
    flow.add_done_callback(_close_onward)
    return Decision.TAKE


def _close_onward(flow: Flow) -> None:
    flow.attachment[1].close()


async def pass_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A handler for what `connect` has accepted."""
    await pass_streams((reader, writer), writer.get_extra_info("flow").attachment)


async def pass_streams(one: Streams, other: Streams) -> None:
    """Let bytes through both ways, until both sides have ended, or one was reset.

    Both are closed then, and where there was a reset, both are reset.
    """
    ways = [
        asyncio.ensure_future(_pass(one[0], other[1])),
        asyncio.ensure_future(_pass(other[0], one[1])),
    ]
    try:
        await asyncio.gather(*ways)
    except OSError:
        for _, writer in (one, other):
            writer.transport.abort()
    finally:
        for way in ways:
            way.cancel()
        for _, writer in (one, other):
            writer.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def pass_conversation(datagrams: DatagramStream) -> None:
    """A handler that sends datagrams on from a socket of this host, and brings answers back.

    Raises `ConnectionError` where no way leads to the destination, or none back to the client.
    """
    try:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Answers(datagrams), sock=_connected(*datagrams.flow.destination)
        )
        try:
            async for data in datagrams:
                transport.sendto(data)
        finally:
            transport.close()
    except OSError as exc:  # any client can have it: an end of the flow, and no fault of ours
        raise ConnectionAbortedError(exc.errno, exc.strerror) from exc


def _connected(host: str, port: int) -> socket.socket:
    """A socket whose datagrams go there. (A loop of uvloop leaves its own open, if that fails.)"""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.connect((host, port))
    except BaseException:
        sock.close()
        raise
    return sock


class _Answers(asyncio.DatagramProtocol):
    """What comes back."""

    def __init__(self, datagrams: DatagramStream) -> None:
        self._datagrams = datagrams

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._datagrams.send(data)

    def error_received(self, exc: Exception) -> None:
        """Nobody is there: the client's next datagram may find somebody."""
