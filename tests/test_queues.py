"""Several queues of one device, each in a thread with a loop of its own: flows stay on theirs."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter

import pytest

import aiotun
from aiotun.testing import Namespace

FLOWS, QUEUES = 6, 2
SIZE = 1 << 20

PORTS = slice(20, 24)
"""Of TCP, behind an IPv4 header without options."""


class Forwarder(aiotun.PacketProtocol):
    other: aiotun.PacketTransport

    def __init__(self) -> None:
        self.flows: Counter[bytes] = Counter()

    def packet_received(self, packet: bytes) -> None:
        self.flows[packet[PORTS]] += 1
        self.other.write(packet)


async def forward(
    pair: tuple[aiotun.Device, aiotun.Device],
    seen: list[Counter[bytes]],
    ready: threading.Barrier,
    stop: aiotun.Interrupt,
) -> None:
    (a, from_a), (b, from_b) = [
        await aiotun.create_device_endpoint(Forwarder, device=device) for device in pair
    ]
    from_a.other, from_b.other = b, a
    seen += [from_a.flows, from_b.flows]
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_reader(stop, stopping.set)
    ready.wait()
    await stopping.wait()
    asyncio.get_running_loop().remove_reader(stop)
    for transport in (a, b):
        transport.close()
        await transport.wait_closed()


def transfer(listener: socket.socket, namespace: Namespace) -> None:
    """Send through a connection of its own; what arrives is compared."""
    data = bytes(range(256)) * (SIZE // 256)
    client = namespace.run(socket.create_connection, listener.getsockname(), 5)
    server, _ = listener.accept()
    server.settimeout(5)
    with client, server, server.makefile("rb") as stream:
        sending = threading.Thread(target=client.sendall, args=(data,))
        sending.start()
        received = stream.read(SIZE)  # MSG_WAITALL would return early for a signal
        sending.join()
    assert received == data


@pytest.mark.requires("tun", "netns", "multi-queue")
def test_a_flow_stays_on_its_queue() -> None:
    seen: list[Counter[bytes]] = []
    ready = threading.Barrier(QUEUES + 1, timeout=10)
    with Namespace() as left, Namespace() as right, aiotun.Interrupt() as stop:
        a, b = (
            namespace.run(aiotun.Device, addresses=[addresses], multi_queue=True)
            for namespace, addresses in (
                (left, "10.0.0.1 peer 10.0.0.2"),
                (right, "10.0.0.2 peer 10.0.0.1"),
            )
        )
        pairs = [(a, b), *((a.open_queue(), b.open_queue()) for _ in range(QUEUES - 1))]
        threads = [
            threading.Thread(target=lambda pair=pair: asyncio.run(forward(pair, seen, ready, stop)))
            for pair in pairs
        ]
        for thread in threads:
            thread.start()
        ready.wait()
        try:
            with right.run(socket.create_server, ("10.0.0.2", 0)) as listener:
                listener.settimeout(5)
                for _ in range(FLOWS):
                    transfer(listener, left)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    # The first packets of a flow come by any queue, until the kernel knows by which it is answered.
    packets: Counter[bytes] = sum(seen, Counter())
    mostly = {flow: max(each[flow] for each in seen) for flow in packets}
    assert len(packets) >= 2 * FLOWS
    assert all(packets[flow] - mostly[flow] <= 4 for flow in packets if packets[flow] > 50)
