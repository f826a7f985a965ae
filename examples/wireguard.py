"""A WireGuard server in a program of its own: it prints a client's file, and tells of the client.

    python examples/wireguard.py 192.0.2.1     # where the client finds this machine

It needs `pip install 'aiotun[wireguard]'`. Give what it prints to `wg-quick up` or to
`aiotun wireguard serve` elsewhere, then ping 10.9.0.1.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from contextlib import suppress
from ipaddress import ip_interface, ip_network

from aiotun.wireguard import InterfaceConfig, PeerConfig, WireGuard, format_config
from aiotun.wireguard.keys import encode_key, generate_private_key, public_key_of

SERVER, CLIENT = ip_interface("10.9.0.1/24"), ip_interface("10.9.0.2/24")


async def tell(wireguard: WireGuard) -> None:
    """Of each peer that was heard since the last look; until the interface is deleted."""
    known: dict[bytes, int] = {}
    while True:
        for key, peer in wireguard.tunnel.peers.items():
            if peer.rx_bytes != known.get(key, 0):
                print(f"{encode_key(key)} at {peer.endpoint}: {peer.rx_bytes} bytes", flush=True)
            known[key] = peer.rx_bytes
        with suppress(asyncio.TimeoutError):
            return await asyncio.wait_for(wireguard.wait_closed(), 1)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("host", help="this machine's address, for the client")
    host = parser.parse_args().host
    ours, theirs = generate_private_key(), generate_private_key()
    client = PeerConfig(public_key_of(theirs), allowed_ips=(ip_network(CLIENT.ip),))
    config = InterfaceConfig(ours, addresses=(SERVER,), peers=(client,))
    async with WireGuard(config, name="wg0") as wireguard:
        server = PeerConfig(
            public_key_of(ours),
            endpoint=(host, wireguard.listen_port),
            allowed_ips=(SERVER.network,),
            persistent_keepalive=25,
        )
        print(format_config(InterfaceConfig(theirs, addresses=(CLIENT,), peers=(server,))))
        print("# This is for the client; Ctrl-C ends the server.", flush=True)
        telling = asyncio.ensure_future(tell(wireguard))
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, telling.cancel)
        with suppress(asyncio.CancelledError):
            await telling


if __name__ == "__main__":
    asyncio.run(main())
