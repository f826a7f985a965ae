"""A web page at every address: HTTP that is answered by Python alone.

sudo python -m examples.flows.page 198.51.100.0/24
curl http://198.51.100.7/any/thing      # from another terminal
"""

from __future__ import annotations

import argparse
import asyncio
import html
import signal

import aiotun

REQUEST_MAX = 65536


async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    flow = writer.get_extra_info("flow")
    try:
        request = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.TimeoutError):
        writer.transport.abort()
        return
    asked = html.escape(request.partition(b"\r\n")[0].decode("latin-1"))
    page = f"<h1>{flow.destination}</h1><p>You are {flow.source}, and said: {asked}</p>\n".encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(page)}\r\n"
    writer.write(head.encode() + b"Connection: close\r\n\r\n" + page)
    writer.close()
    print(f"{flow.source} asked {flow.destination}")


def accept(flow: aiotun.flows.Flow) -> aiotun.flows.Decision:
    """Nobody listens at any other port."""
    port = flow.destination.port
    return aiotun.flows.Decision.TAKE if port == 80 else aiotun.flows.Decision.REFUSE


async def main(network: str) -> None:
    async with aiotun.start_flow_server(
        handle, accept=accept, echo=True, addresses=["10.9.0.1/24"], routes=[network]
    ) as flows:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, flows.close)
        print(f"there is a page at each address of {network}")
        await flows.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("network", nargs="?", default="198.51.100.0/24")
    asyncio.run(main(parser.parse_args().network))
