"""What a command connects to, and under which names: a log of its connections.

    pip install dpkt
    python -m examples.flows.log curl https://www.example.org/

The command runs in a network namespace of its own, which takes no privileges. Each of its
connections is made again outside, and bytes pass through; the server's name is read from the
TLS client hello.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

import dpkt

import aiotun
from aiotun.flows import DatagramStream, open_rootless
from aiotun.flows.onward import connect, pass_conversation, pass_streams

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


async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    flow = writer.get_extra_info("flow")
    began = time.monotonic()
    watched = Watched(reader)
    await pass_streams((watched, writer), flow.attachment)
    took = time.monotonic() - began
    print(f"tcp {flow.destination} {watched.name or '-'} {took:.2f} s", flush=True)


async def handle_datagrams(datagrams: DatagramStream) -> None:
    try:
        await pass_conversation(datagrams)
    finally:
        print(f"udp {datagrams.flow.destination}", flush=True)


async def main(command: list[str]) -> int:
    rootless = await open_rootless(command=command)
    async with aiotun.start_flow_server(
        handle,
        datagrams=handle_datagrams,
        accept=connect,
        device=rootless.device,
        listeners=rootless.listeners,
    ):
        return await rootless.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    if not args.command:
        parser.error("say what to run, such as: curl https://www.example.org/")
    sys.exit(asyncio.run(main(args.command)))
