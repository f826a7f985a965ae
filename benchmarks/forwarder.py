"""forwarder.py MODE A B: two TUN devices, what comes out of one goes into the other.

Our own rows; the peers' programs in `peers/` do the same.
"""

from __future__ import annotations

import argparse
import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
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


Pair = tuple[aiotun.Device, aiotun.Device]


async def forward(mode: str, pair: Pair, ready: Callable[[], object]) -> None:
    ends = [await aiotun.create_device_endpoint(PROTOCOLS[mode], device=device) for device in pair]
    (a, protocol_a), (b, protocol_b) = ends
    protocol_a.other, protocol_b.other = b, a
    ready()
    await asyncio.gather(a.wait_closed(), b.wait_closed())


async def relay(mode: str, pair: Pair, ready: Callable[[], object]) -> None:
    async with aiotun.open_device(device=pair[0]) as a, aiotun.open_device(device=pair[1]) as b:
        ready()
        framed_a, framed_b = (aiotun.Framed(each, aiotun.codecs.Raw()) for each in (a, b))
        if mode == "relay":
            await aiotun.relay(a, b)
        elif mode == "framed":
            await aiotun.relay(framed_a, framed_b)
        else:
            await asyncio.gather(each_item(framed_a, framed_b), each_item(framed_b, framed_a))


async def each_item(source: aiotun.Framed[bytes], sink: aiotun.Framed[bytes]) -> None:
    async for item in source:
        await sink.send(item)


def pump(source: aiotun.Device, sink: aiotun.Device) -> None:
    """One direction, without a loop, in a thread of its own."""
    while True:
        with suppress(aiotun.InterfaceDownError, aiotun.errors.PacketError, aiotun.OffloadError):
            while True:
                sink.send_many(source.recv_many())


def run(main: Coroutine[Any, Any, None], loop: str) -> None:
    if loop == "uvloop":
        import uvloop

        uvloop.run(main)
    elif loop == "rloop":
        import rloop

        each = rloop.new_event_loop()
        asyncio.set_event_loop(each)
        each.run_until_complete(main)
    else:
        asyncio.run(main)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=[*PROTOCOLS, "relay", "framed", "items", "sync"])
    parser.add_argument("names", nargs=2)
    parser.add_argument("--loop", choices=["asyncio", "uvloop", "rloop"], default="asyncio")
    parser.add_argument("--no-offload", dest="offload", action="store_false")
    parser.add_argument("--queues", type=int, default=1, help="each with a thread and a loop")
    args = parser.parse_args()
    a, b = (
        aiotun.Device(name=name, offload=args.offload, multi_queue=args.queues > 1)
        for name in args.names
    )
    if args.mode == "sync":
        threading.Thread(target=pump, args=(a, b), daemon=True).start()
        print("ready", flush=True)
        pump(b, a)
    pairs = [(a, b), *((a.open_queue(), b.open_queue()) for _ in range(args.queues - 1))]
    barrier = threading.Barrier(len(pairs), lambda: print("ready", flush=True))
    work = forward if args.mode in PROTOCOLS else relay
    threads = [
        threading.Thread(
            target=lambda pair=pair: run(work(args.mode, pair, barrier.wait), args.loop),
            daemon=True,
        )
        for pair in pairs[1:]
    ]
    for thread in threads:
        thread.start()
    run(work(args.mode, pairs[0], barrier.wait), args.loop)


if __name__ == "__main__":
    main()
