"""Our server: `python -m benchmarks.flows.ours [asyncio|uvloop] [exit]`.

With "exit" it makes each connection again, to a SOCKS5 proxy at 127.0.0.1:1080, as tun2socks does.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial

import aiotun
from aiotun.flows import DatagramStream, Decision, Flow
from aiotun.flows.onward import pass_connection
from examples.flows.proxy import handle_datagrams

from .load import ECHO, SINK
from .rows import ADDRESS, DEVICE, PROXY
from .sink import hand_shake

CHUNK = bytes(1 << 18)


class Peer(asyncio.BufferedProtocol):
    """Does what the first byte of its connection says."""

    def __init__(self) -> None:
        self._buffer = bytearray(1 << 18)
        self._kind = b""
        self._taken = 0
        self._writable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = memoryview(self._buffer)[:nbytes]
        if not self._kind:
            self._kind, data = bytes(data[:1]), data[1:]
        if self._kind == SINK:
            self._taken += len(data)
        elif self._kind == ECHO:
            self._transport.write(bytes(data))
        else:
            self.resume_writing()

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        while self._writable and not self._transport.is_closing():
            self._transport.write(CHUNK)

    def eof_received(self) -> None:
        if self._kind == SINK:
            self._transport.write(b"%d" % self._taken)


async def echo(datagrams: DatagramStream) -> None:
    async for data in datagrams:
        datagrams.send(data)


class EchoDatagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport)
        self._transport = transport

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._transport.sendto(data)


async def accept(flow: Flow) -> Decision:
    if flow.protocol == "udp":
        return Decision.TAKE
    flow.attachment = await asyncio.open_connection("127.0.0.1", 1080, limit=1 << 18)
    await hand_shake(*flow.attachment)
    return Decision.TAKE


async def main(leads_on: bool) -> None:
    settings = {"name": DEVICE, "addresses": [ADDRESS], "routes": ["0.0.0.0/0"]}
    if leads_on:
        server = await aiotun.start_flow_server(
            pass_connection,
            datagrams=partial(handle_datagrams, PROXY),
            accept=accept,
            **settings,  # type: ignore[arg-type]
        )
    else:
        server = await aiotun.create_flow_server(Peer, datagrams=EchoDatagrams, **settings)  # type: ignore[arg-type]
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if "uvloop" in sys.argv:
        import uvloop

        uvloop.run(main("exit" in sys.argv))
    else:
        asyncio.run(main("exit" in sys.argv))
