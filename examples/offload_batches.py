"""Offload seen batch by batch: super-packets taken apart, turned round, put together again.

    sudo python examples/offload_batches.py

Every address of the network sends UDP datagrams back to where they came from. Send some
in bulk, from another terminal (17, 103: SOL_UDP, UDP_SEGMENT):

    python -c "import socket; s = socket.socket(type=socket.SOCK_DGRAM); \\
        s.setsockopt(17, 103, 1000); s.sendto(bytes(8000), ('10.9.0.2', 7))"
"""

from __future__ import annotations

import argparse
import asyncio
import signal

import aiotun
from aiotun.offload import GROTable

UDP = 17  # IANA protocol number


def describe(packet: aiotun.SuperPacket) -> str:
    header = packet.header
    if not header.gso_type:
        return f"packet of {len(packet)} bytes"
    kind = "TCP" if header.is_tcp else "UDP"
    return f"{kind} super-packet of {len(packet)} bytes, {header.gso_size} in each segment"


def reflect(packet: bytes) -> bytes | None:
    """An IPv4 UDP datagram with both ends exchanged, which leaves its checksums as they are."""
    if len(packet) < 28 or packet[0] != 0x45 or packet[9] != UDP:
        return None
    source, destination = packet[12:16], packet[16:20]
    source_port, destination_port = packet[20:22], packet[22:24]
    return packet[:12] + destination + source + destination_port + source_port + packet[24:]


class Reflector(aiotun.PacketProtocol):
    def connection_made(self, transport: aiotun.PacketTransport) -> None:
        self.transport = transport
        device = transport.device
        self.table = GROTable(tcp=device.tcp_offload, udp=device.udp_offload)

    # A protocol that overrides packet_received has all this done by the transport.
    def super_packets_received(self, packets: list[aiotun.SuperPacket]) -> None:
        print(f"batch of {len(packets)}")
        for packet in packets:
            segments = packet.split()
            print(f"   in: {describe(packet)} -> {len(segments)} packets")
            replies = [reply for reply in map(reflect, segments) if reply is not None]
            for frame in self.table.coalesce(replies):
                out = aiotun.SuperPacket(frame)
                self.transport.write_super(out)
                print(f"  out: {describe(out)}")


async def main(address: str) -> None:
    transport, _ = await aiotun.create_device_endpoint(Reflector, addresses=[address])
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, transport.close)
    print(f"{transport.name} reflects UDP around {address}")
    await transport.wait_closed()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "address",
        nargs="?",
        default="10.9.0.1/24",
        help="of this machine; all others in the same network reflect UDP",
    )
    asyncio.run(main(parser.parse_args().address))
