"""What a command connects to, and under which names: a log of its connections.

    pip install dpkt
    sudo python -m examples.flows.log curl https://www.example.org/

The command runs in a network namespace of its own. Each of its connections is made again
outside, and bytes pass through; the server's name is read from the TLS client hello.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

import dpkt

import aiotun
from aiotun.flows import DatagramStream, Decision, Flow, FlowServer

from .behind import pass_on, run_behind

SERVER_NAME = 0
"""Of a client hello's extensions (RFC 6066 section 3)."""


def server_name(data: bytes) -> str | None:
    """The name in a TLS client hello, if the data begins with one."""
    try:
        records, _ = dpkt.ssl.tls_multi_factory(data)
        hello = dpkt.ssl.TLSHandshake(records[0].data).data
        extensions = dict(hello.extensions)
        names = extensions[SERVER_NAME]
        size = int.from_bytes(names[3:5], "big")
        return str(names[5 : 5 + size].decode("ascii"))
    except (dpkt.Error, dpkt.ssl.SSL3Exception):
        return None
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):  # of another form
        return None


class Watched(asyncio.StreamReader):
    """What a reader gives; the first of it is looked at."""

    name: str | None = None

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._first = True

    async def read(self, n: int = -1) -> bytes:
        data = await self._reader.read(n)
        if self._first:
            self._first = False
            self.name = server_name(data)
        return data


async def accept(flow: Flow) -> Decision:
    """The client's connect fails as the real one does."""
    if flow.protocol == "udp":
        return Decision.TAKE
    try:
        flow.attachment = await asyncio.open_connection(*flow.destination)
    except ConnectionRefusedError:
        return Decision.REFUSE
    except OSError:
        return Decision.UNREACHABLE
    flow.add_done_callback(lambda flow: flow.attachment[1].close())
    return Decision.TAKE


async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    flow = writer.get_extra_info("flow")
    began = time.monotonic()
    watched = Watched(reader)
    await pass_on((watched, writer), flow.attachment)
    took = time.monotonic() - began
    print(f"tcp {flow.destination} {watched.name or '-'} {took:.2f} s", flush=True)


async def handle_datagrams(datagrams: DatagramStream) -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: Answers(datagrams), remote_addr=datagrams.flow.destination
    )
    count = 0
    try:
        async for data in datagrams:
            transport.sendto(data)
            count += 1
    finally:
        transport.close()
        print(f"udp {datagrams.flow.destination} {count} datagrams", flush=True)


class Answers(asyncio.DatagramProtocol):
    def __init__(self, datagrams: DatagramStream) -> None:
        self._datagrams = datagrams

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._datagrams.send(data)


async def serve(device: aiotun.Device) -> FlowServer:
    return await aiotun.start_flow_server(
        handle, datagrams=handle_datagrams, accept=accept, device=device
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    if not args.command:
        parser.error("say what to run, such as: curl https://www.example.org/")
    sys.exit(asyncio.run(run_behind(serve, args.command)))
