"""A forwarder between two devices, and a command that has no other way out than through it.

    sudo python examples/forwarder.py ping 10.9.0.1
    sudo python examples/forwarder.py python -m http.server --bind 10.9.0.2
    curl http://10.9.0.2:8000/    # from another terminal

The command runs in a network namespace of its own, behind the second device; what
comes out of one device goes into the other. It ends with the command.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import subprocess
import sys

import aiotun
from aiotun.testing import Namespace

HERE, THERE = "10.9.0.1", "10.9.0.2"


class Forwarder(aiotun.PacketProtocol):
    def connection_made(self, transport: aiotun.PacketTransport) -> None:
        self.transport = transport
        transport.pause_reading()  # until there is somewhere to forward to

    def forward_to(self, other: Forwarder) -> None:
        self.other = other.transport
        self.transport.resume_reading()

    def packet_received(self, packet: bytes) -> None:
        self.other.write(packet)  # a place to filter, count, encrypt, delay ...


async def main(here: str, there: str, command: list[str]) -> int:
    with (
        Namespace() as namespace,
        aiotun.Device(addresses=[f"{here} peer {there}"]) as near,
        namespace.run(aiotun.Device, addresses=[f"{there} peer {here}"]) as far,
    ):
        a, from_a = await aiotun.create_device_endpoint(Forwarder, device=near)
        b, from_b = await aiotun.create_device_endpoint(Forwarder, device=far)
        from_a.forward_to(from_b)
        from_b.forward_to(from_a)

        process = namespace.run(subprocess.Popen, command)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, process.send_signal, number)
        status: int = await loop.run_in_executor(None, process.wait)

        for transport in (a, b):
            await transport.aclose()
    print(f"{a.counters.packets_received} packets to it, {b.counters.packets_received} from it")
    return status


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--here", default=HERE, help=f"address on this side ({HERE})")
    parser.add_argument("--there", default=THERE, help=f"address on the command's side ({THERE})")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    if not args.command:
        parser.error("say what to run behind the forwarder, such as: ping 10.9.0.1")
    sys.exit(asyncio.run(main(args.here, args.there, args.command)))
