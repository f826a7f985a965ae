"""The same as ping_protocol.py, but as a stream of packets, and with dpkt to read them.

pip install dpkt
sudo python examples/ping_stream.py
ping 10.9.0.42          # from another terminal: any address of the network answers
"""

from __future__ import annotations

import argparse
import asyncio
import signal

import dpkt

import aiotun


def answer(packet: bytes) -> bytes | None:
    """The reply to an IPv4 echo request, None to anything else."""
    try:
        ip = dpkt.ip.IP(packet)
    except dpkt.UnpackError:  # not IPv4, or cut short
        return None
    icmp = ip.data
    if not isinstance(icmp, dpkt.icmp.ICMP) or icmp.type != dpkt.icmp.ICMP_ECHO:
        return None
    ip.src, ip.dst = ip.dst, ip.src
    icmp.type = dpkt.icmp.ICMP_ECHOREPLY
    ip.sum = icmp.sum = 0  # to be computed anew
    return bytes(ip)


async def main(address: str) -> None:
    async with aiotun.open_device(addresses=[address]) as tun:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, tun.transport.close)  # which ends the iteration
        print(f"{tun.device.name} answers pings around {address}")
        async for packet in tun:
            reply = answer(packet)
            if reply is not None:
                await tun.send(reply)
                print(f"answered a ping from {dpkt.utils.inet_to_str(packet[12:16])}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "address",
        nargs="?",
        default="10.9.0.1/24",
        help="of this machine; all others in the same network answer pings",
    )
    asyncio.run(main(parser.parse_args().address))
