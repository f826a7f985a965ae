"""One device, several queues: a thread with an event loop of its own for each.

    sudo python examples/multi_queue.py --queues 2
    ping 10.9.0.42          # from other terminals: any address of the network answers

The kernel keeps each flow on one queue. Ctrl-C or SIGTERM ends it and tells what each queue did.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import threading

import aiotun
from aiotun.testing.ping import echo_reply


async def answer(queue: aiotun.Device, number: int, stop: aiotun.Interrupt) -> None:
    async with aiotun.open_device(device=queue) as stream:
        stopping = asyncio.Event()
        asyncio.get_running_loop().add_reader(stop, stopping.set)
        task = asyncio.create_task(answer_all(stream))
        await stopping.wait()
        asyncio.get_running_loop().remove_reader(stop)
        task.cancel()
        await asyncio.wait([task])
        sent = stream.transport.counters.packets_sent
    print(f"queue {number} answered {sent} pings")


async def answer_all(stream: aiotun.PacketStream) -> None:
    async for packet in stream:
        reply = echo_reply(packet)
        if reply is not None:
            await stream.send(reply)


def main(address: str, count: int) -> None:
    with aiotun.Interrupt() as stop:
        first = aiotun.Device(addresses=address, multi_queue=True)
        queues = [first, *(first.open_queue() for _ in range(count - 1))]
        threads = [
            threading.Thread(target=lambda n=n, q=q: asyncio.run(answer(q, n, stop)))
            for n, q in enumerate(queues)
        ]
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, frame: stop.set())
        print(f"{first.name} answers pings around {address} on {first.queues} queues")
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("address", nargs="?", default="10.9.0.1/24")
    parser.add_argument("--queues", type=int, default=2)
    arguments = parser.parse_args()
    main(arguments.address, arguments.queues)
