"""The server: gives each client its addresses, and passes packets between all of them."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import logging
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import aiotun
from aiotun.files import replace_file

from .certificates import SERVER, client_name, tls_context
from .wire import CODEC, MTU, addresses_of, while_alive

__all__ = ["serve"]

logger = logging.getLogger("tls_vpn")

Client = aiotun.Framed[bytes]


async def serve(directory: Path, host: str, port: int, networks: list[str], name: str) -> None:
    """Serve until cancelled. The first address of each network is the server's."""
    context = tls_context(directory / f"{SERVER}.pem", directory / "ca.pem", server=True)
    parsed = [ipaddress.ip_network(network) for network in networks]
    own = [f"{network[1]}/{network.prefixlen}" for network in parsed]
    async with aiotun.open_device(name=name, addresses=own, mtu=MTU) as tun:
        vpn = Server(tun, parsed, directory / "numbers.json")
        server = await aiotun.start_framed_server(vpn.client, CODEC, host, port, ssl=context)
        async with server:
            print(f"{tun.device.name} serves {', '.join(networks)} at port {port}", flush=True)
            while True:
                await vpn.route(await tun.recv_many())


class Server:
    def __init__(self, tun: aiotun.PacketStream, networks: list[Any], numbers: Path) -> None:
        self.tun = tun
        self.networks = networks
        self.numbers = numbers
        self.clients: dict[str, Client] = {}
        self.routes: dict[bytes, Client] = {}

    async def client(self, framed: Client) -> None:
        """Everything about one connection, from its handshake to its end."""
        name = _name(framed)
        interfaces = self.assign(name)
        addresses = {interface.packed for interface in interfaces}
        await framed.send(json.dumps([str(each) for each in interfaces]).encode())  # before packets
        previous = self.clients.get(name)
        self.clients[name] = framed
        self.routes.update(dict.fromkeys(addresses, framed))
        try:
            if previous is not None:  # it came back before its old connection was seen to end
                await _close_soon(previous)
            logger.info("%s is connected as %s", name, ", ".join(map(str, interfaces)))
            await while_alive(framed, self.receive(framed, addresses))
        except (OSError, ValueError) as exc:
            logger.info("%s is refused: %s", name, exc)
            raise
        finally:
            if self.clients.get(name) is framed:
                del self.clients[name]
                for address in addresses:
                    del self.routes[address]

    def assign(self, name: str) -> list[Any]:
        """The same addresses for the same name, for good."""
        numbers = json.loads(self.numbers.read_text()) if self.numbers.exists() else {}
        if name not in numbers:
            numbers[name] = len(numbers) + 2
            if any(numbers[name] >= network.num_addresses - 1 for network in self.networks):
                raise ConnectionRefusedError("no address is left")
            replace_file(self.numbers, json.dumps(numbers).encode())
        number = numbers[name]
        return [
            ipaddress.ip_interface(f"{network[number]}/{network.prefixlen}")
            for network in self.networks
        ]

    async def receive(self, framed: Client, addresses: set[bytes]) -> None:
        while True:
            try:
                packets = [packet for packet in await framed.recv_many() if packet]
            except aiotun.ClosedError:
                return
            for packet in packets:
                if addresses_of(packet)[0] not in addresses:
                    raise PermissionError("it sent a packet from an address that is not its own")
            rest = await self.route(packets)
            if rest:
                await self.tun.send_many(rest)

    async def route(self, packets: Iterable[bytes]) -> list[bytes]:
        """Pass packets on to the clients that they are for; return those for nobody."""
        groups: dict[Client | None, list[bytes]] = defaultdict(list)
        for packet in packets:
            groups[self.routes.get(addresses_of(packet)[1])].append(packet)
        rest = groups.pop(None, [])
        for client, group in groups.items():
            if client is not None and not client.full:  # a slow one loses its packets, alone
                with contextlib.suppress(OSError):  # what ended it is its own task's business
                    await client.send_all(group)
        return rest


def _name(framed: Client) -> str:
    certificate = framed.get_extra_info("ssl_object").getpeercert()
    return client_name(dict(pair for (pair,) in certificate["subject"])["commonName"])


async def _close_soon(framed: Client) -> None:
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(framed.aclose(), 0.1)
