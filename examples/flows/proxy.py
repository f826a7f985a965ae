"""All that a command sends goes through a proxy, which it need not know of.

    pip install 'python-socks[asyncio]'
    python -m examples.flows.proxy socks5://127.0.0.1:1080 curl https://www.example.org/
    python -m examples.flows.proxy http://127.0.0.1:8080 git clone ...

The command runs in a network namespace of its own, which takes no privileges. TCP goes through
SOCKS5, SOCKS4 or HTTP CONNECT. The proxy connects before the client's own connection is
answered: so the client hears whether that worked. UDP goes through SOCKS5.
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import sys
from functools import partial
from urllib.parse import urlsplit

from python_socks import ProxyError
from python_socks.async_.asyncio import Proxy

import aiotun
from aiotun.flows import DatagramStream, Decision, Flow, open_rootless
from aiotun.flows.onward import pass_streams

TIMEOUT = 10.0


async def accept(url: str, flow: Flow) -> Decision:
    if flow.protocol == "udp":
        return Decision.TAKE if url.startswith("socks5://") else Decision.REFUSE
    try:
        sock = await Proxy.from_url(url).connect(*flow.destination, timeout=TIMEOUT)
    except (ProxyError, OSError, asyncio.TimeoutError) as exc:
        print(f"{flow.destination}: {exc}", flush=True)
        return Decision.UNREACHABLE if "unreachable" in str(exc) else Decision.REFUSE
    flow.attachment = await asyncio.open_connection(sock=sock)
    flow.add_done_callback(lambda flow: flow.attachment[1].close())
    return Decision.TAKE


async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    flow = writer.get_extra_info("flow")
    await pass_streams((reader, writer), flow.attachment)


# SOCKS5's UDP ASSOCIATE (RFC 1928 section 7), which python-socks does not have.


def request(command: int, host: str, port: int) -> bytes:
    """The end of a request (section 4), and the head of a datagram, but for its first bytes."""
    address = ipaddress.ip_address(host)
    kind = 1 if address.version == 4 else 4
    return bytes((5, command, 0, kind)) + address.packed + port.to_bytes(2, "big")


async def associate(url: str) -> tuple[asyncio.StreamWriter, str, int]:
    """Ask for a relay: the connection that keeps it, and where it is. Raises `OSError`."""
    where = urlsplit(url)
    host, port = where.hostname or "127.0.0.1", where.port or 1080
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(b"\x05\x01\x00")
        if await reader.readexactly(2) != b"\x05\x00":
            raise ConnectionRefusedError("the proxy asks for a password")
        writer.write(request(3, "0.0.0.0", 0))
        head = await reader.readexactly(4)
        if head[1]:
            raise ConnectionRefusedError(f"the proxy relays no UDP (reply {head[1]})")
        size = {1: 4, 4: 16}[head[3]]
        relay = ipaddress.ip_address(await reader.readexactly(size))
        relay_port = int.from_bytes(await reader.readexactly(2), "big")
        return writer, host if relay.is_unspecified else str(relay), relay_port
    except (asyncio.IncompleteReadError, KeyError) as exc:
        writer.close()
        raise ConnectionResetError("the proxy speaks no SOCKS5") from exc
    except BaseException:
        writer.close()
        raise


async def handle_datagrams(url: str, datagrams: DatagramStream) -> None:
    writer, host, port = await asyncio.wait_for(associate(url), TIMEOUT)
    head = b"\0\0\0" + request(0, *datagrams.flow.destination)[3:]
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: Answers(datagrams, len(head)), remote_addr=(host, port)
    )
    try:
        async for data in datagrams:
            transport.sendto(head + data)
    finally:
        transport.close()
        writer.close()


class Answers(asyncio.DatagramProtocol):
    """Sends on what the relay gets from the destination; its head is as long as ours."""

    def __init__(self, datagrams: DatagramStream, head: int) -> None:
        self._datagrams = datagrams
        self._head = head

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._datagrams.send(data[self._head :])


async def main(url: str, command: list[str]) -> int:
    rootless = await open_rootless(command=command)
    async with aiotun.start_flow_server(
        handle,
        datagrams=partial(handle_datagrams, url),
        accept=partial(accept, url),
        device=rootless.device,
        listeners=rootless.listeners,
    ):
        return await rootless.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("proxy", help="socks5://host:port, socks4://host:port or http://host:port")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    if not args.command:
        parser.error("say what to run, such as: curl https://www.example.org/")
    sys.exit(asyncio.run(main(args.proxy, args.command)))
