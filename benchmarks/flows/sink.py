"""The SOCKS5 proxy behind exits, which itself is all that can be connected to."""

from __future__ import annotations

import asyncio
import contextlib
from typing import cast

from .load import ECHO, SINK

CHUNK = bytes(1 << 18)

GREETING, REQUEST = b"\x05\x01\x00", b"\x05\x01\x00\x01\xcb\x00\x71\x05\x00\x50"
REPLY = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x04\x38"
"""Of the address that it is at itself: there its relay of UDP is."""

ASSOCIATE = 3


async def hand_shake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The client's side (RFC 1928)."""
    writer.write(GREETING)
    await reader.readexactly(2)
    writer.write(REQUEST)
    await reader.readexactly(len(REPLY))


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        methods = (await reader.readexactly(2))[1]
        await reader.readexactly(methods)
        writer.write(b"\x05\x00")
        head = await reader.readexactly(4)
        await reader.readexactly({1: 4, 4: 16}.get(head[3], 4) + 2)
        writer.write(REPLY)
        if head[1] == ASSOCIATE:
            await reader.read()  # the association lasts as long as its connection
        kind = await reader.readexactly(1)
        taken = 0
        if kind == SINK:
            while data := await reader.read(1 << 18):
                taken += len(data)
            writer.write(b"%d" % taken)
        elif kind == ECHO:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        else:
            while True:
                writer.write(CHUNK)
                await writer.drain()
    writer.close()


class Relay(asyncio.DatagramProtocol):
    """All that it can reach echoes: an answer has the same head as what it answers."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)  # uvloop's is no subclass

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(data, addr)


async def main() -> None:
    loop = asyncio.get_running_loop()
    relay, _ = await loop.create_datagram_endpoint(Relay, local_addr=("127.0.0.1", 1080))
    server = await asyncio.start_server(serve, "127.0.0.1", 1080, limit=1 << 18)
    print("ready", flush=True)
    try:
        await server.serve_forever()
    finally:
        relay.close()


if __name__ == "__main__":
    try:
        import uvloop

        uvloop.run(main())
    except ImportError:
        asyncio.run(main())
