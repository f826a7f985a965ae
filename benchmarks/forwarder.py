"""forwarder.py MODE A B: two TUN devices, what comes out of one goes into the other.

Our own rows; the peers' programs in `peers/` do the same.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Coroutine
from typing import Any

import aiotun


class Forwarder(aiotun.PacketProtocol):
    other: aiotun.PacketTransport


class EachPacket(Forwarder):
    """One Python call a packet."""

    def packet_received(self, packet: bytes) -> None:
        self.other.write(packet)


class EachBatch(Forwarder):
    """One Python call a batch."""

    def packets_received(self, packets: list[bytes]) -> None:
        self.other.writelines(packets)


class ZeroSplit(Forwarder):
    """Super-packets handed on as they are."""

    def super_packets_received(self, packets: list[aiotun.SuperPacket]) -> None:
        for packet in packets:
            self.other.write_super(packet)


PROTOCOLS: dict[str, type[Forwarder]] = {
    "packet": EachPacket,
    "batch": EachBatch,
    "super": ZeroSplit,
}


async def forward(mode: str, names: list[str], offload: bool) -> None:
    ends = [
        await aiotun.create_device_endpoint(PROTOCOLS[mode], name=name, offload=offload)
        for name in names
    ]
    (a, protocol_a), (b, protocol_b) = ends
    protocol_a.other, protocol_b.other = b, a
    print("ready", flush=True)
    await asyncio.gather(a.wait_closed(), b.wait_closed())


async def relay(names: list[str], offload: bool) -> None:
    async with (
        aiotun.open_device(name=names[0], offload=offload) as a,
        aiotun.open_device(name=names[1], offload=offload) as b,
    ):
        print("ready", flush=True)
        await aiotun.relay(a, b)


def run(main: Coroutine[Any, Any, None], loop: str) -> None:
    if loop == "uvloop":
        import uvloop

        uvloop.run(main)
    else:
        asyncio.run(main)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=[*PROTOCOLS, "relay"])
    parser.add_argument("names", nargs=2)
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--no-offload", dest="offload", action="store_false")
    args = parser.parse_args()
    if args.mode == "relay":
        run(relay(args.names, args.offload), args.loop)
    else:
        run(forward(args.mode, args.names, args.offload), args.loop)


if __name__ == "__main__":
    main()
