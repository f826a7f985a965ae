"""udp_echo.py WHAT LOOP: sends every datagram back; prints "ready PORT" first.

The peer's program in `peers/quinn-udp` does the same.
"""

from __future__ import annotations

import argparse
import asyncio
from itertools import groupby
from operator import itemgetter
from typing import Any

import aiotun

HERE = ("127.0.0.1", 0)


class EchoEach(aiotun.UdpProtocol):
    """One call a datagram."""

    def connection_made(self, transport: aiotun.UdpTransport) -> None:
        self.transport = transport

    def datagrams_received(self, datagrams: list[aiotun.Datagram]) -> None:
        for data, addr, *_ in datagrams:
            self.transport.sendto(data, addr)


class EchoBatch(EchoEach):
    """One call for what goes to one place."""

    def datagrams_received(self, datagrams: list[aiotun.Datagram]) -> None:
        for addr, run in groupby(datagrams, itemgetter(1)):
            self.transport.sendto_many([each[0] for each in run], addr)


class EchoPlain(asyncio.DatagramProtocol):
    """For the loop's own endpoint, and as it stands for ours."""

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data, addr)


async def echo(what: str) -> None:
    transport: Any
    if what == "plain":
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(EchoPlain, HERE)
    else:
        factory: Any = {"batch": EchoBatch, "each": EchoEach, "unchanged": EchoPlain}[what]
        transport, _ = await aiotun.create_udp_endpoint(factory, HERE)
    print("ready", transport.get_extra_info("sockname")[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["each", "batch", "unchanged", "plain"])
    parser.add_argument("loop", choices=["asyncio", "uvloop"])
    options = parser.parse_args()
    if options.loop == "uvloop":
        import uvloop

        uvloop.run(echo(options.what))
    else:
        asyncio.run(echo(options.what))
