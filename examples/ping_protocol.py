"""A whole network that answers pings, in a protocol of one method.

    sudo python examples/ping_protocol.py
    ping 10.9.0.42          # from another terminal: any address of the network answers
    ping fd09::42

Ctrl-C ends it, and the network is gone.
"""

from __future__ import annotations

import argparse
import asyncio
import signal

import aiotun
from aiotun.testing.ping import echo_reply


class PingResponder(aiotun.PacketProtocol):
    def connection_made(self, transport: aiotun.PacketTransport) -> None:
        self.transport = transport

    def packet_received(self, packet: bytes) -> None:
        reply = echo_reply(packet)
        if reply is not None:
            self.transport.write(reply)


async def main(addresses: list[str]) -> None:
    transport, _ = await aiotun.create_device_endpoint(PingResponder, addresses=addresses)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, transport.close)
    print(f"{transport.name} answers pings around {', '.join(addresses)}")
    await transport.wait_closed()
    print(f"{transport.counters.packets_sent} pings were answered")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "addresses",
        nargs="*",
        default=["10.9.0.1/24", "fd09::1/64"],
        help="of this machine; all others in the same networks answer pings",
    )
    asyncio.run(main(parser.parse_args().addresses))
