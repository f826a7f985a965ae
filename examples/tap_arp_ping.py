"""An Ethernet with one host on it, which answers ARP and ping.

sudo python examples/tap_arp_ping.py
ping 10.9.0.2           # from another terminal; ip neighbour then shows its MAC address
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from ipaddress import IPv4Address

import aiotun
from aiotun.testing.ping import echo_reply

IPV4 = b"\x08\x00"  # EtherType
ARP_REQUEST = bytes.fromhex("0806 0001 0800 06 04 0001")  # EtherType, then as in RFC 826
ARP_REPLY = bytes.fromhex("0806 0001 0800 06 04 0002")


class Host(aiotun.PacketProtocol):
    def __init__(self, address: IPv4Address, mac: bytes) -> None:
        self.address = address.packed
        self.mac = mac

    def connection_made(self, transport: aiotun.PacketTransport) -> None:
        self.transport = transport

    def packet_received(self, packet: bytes) -> None:
        """An Ethernet frame: destination, source, EtherType, payload."""
        sender = packet[6:12]
        if packet[12:22] == ARP_REQUEST and packet[38:42] == self.address:
            # Sender's MAC and IP address, target's MAC and IP address.
            reply = ARP_REPLY + self.mac + self.address + packet[22:32]
            self.transport.write(sender + self.mac + reply)
            print(f"answered who has {IPv4Address(self.address)}")
        elif packet[:6] == self.mac and packet[12:14] == IPV4 and packet[30:34] == self.address:
            pong = echo_reply(packet[14:])
            if pong is not None:
                self.transport.write(sender + self.mac + IPV4 + pong)
                print(f"answered a ping from {IPv4Address(packet[26:30])}")


async def main(address: str, host: IPv4Address, mac: bytes) -> None:
    transport, _ = await aiotun.create_device_endpoint(
        lambda: Host(host, mac), layer="tap", addresses=[address]
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, transport.close)
    print(f"{host} is at {mac.hex(':')} on {transport.name}")
    await transport.wait_closed()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", default="10.9.0.1/24", help="of this machine")
    parser.add_argument("--host", type=IPv4Address, default=IPv4Address("10.9.0.2"))
    parser.add_argument(  # the bit 0x02 of its first byte: an address given out by nobody
        "--mac",
        type=lambda text: bytes.fromhex(text.replace(":", "")),
        default=bytes.fromhex("020000000002"),
    )
    args = parser.parse_args()
    asyncio.run(main(args.address, args.host, args.mac))
