"""The way between servers of one service: a WireGuard tunnel without a device."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import aiotun

from ...cancelling import AsyncClosing
from ..config import PeerConfig
from ..core.tunnel import Tunnel
from ..endpoint import clock
from ..keys import generate_private_key, public_key_of
from ..values import format_host
from .encapsulation import HEADER_SIZE, link_network, unwrap, wrap

__all__ = ["Link", "Server"]

logger = logging.getLogger("aiotun.wireguard")


class Server(NamedTuple):
    """Another server, as it announces itself."""

    name: str
    public_key: bytes
    """On the link. It is made anew when a server starts, and names the server."""
    endpoint: tuple[str, int]
    """An address, and the UDP port of the link."""


class Link(AsyncClosing):
    """Sends packets to other servers, and hands on those that come from them.

    The key is this link's own, and is not kept. `deliver` gets lists of IP packets.
    """

    def __init__(self, address: tuple[str, int], deliver: Callable[[list[bytes]], None]) -> None:
        self._address = address
        self._deliver = deliver
        self._private_key = generate_private_key()
        self.public_key = public_key_of(self._private_key)
        self._own = link_network(self.public_key).network_address.packed
        self._tunnel = Tunnel(self._private_key)
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf
        self.sent = 0
        """Packets handed to other servers."""
        self.received = 0
        """Packets that came from them."""
        self.dropped = 0
        """Packets for them that came while the socket took no more."""
        self._full = False

    async def __aenter__(self) -> Link:
        """Raises `OSError` where the port cannot be had."""
        self._loop = asyncio.get_running_loop()
        host, port = self._address
        self.udp, _ = await aiotun.create_udp_endpoint(
            lambda: _Protocol(self),
            ("::" if ":" in host else "0.0.0.0", port),
            receive_many=None,
        )
        return self

    @property
    def endpoint(self) -> tuple[str, int]:
        """Where others reach it."""
        return self._address[0], self.udp.local_addr[1]

    def set_servers(self, servers: Mapping[bytes, Server], mtu: int) -> None:
        """Know these servers, by their public keys, and no others. Raises nothing.

        `mtu` is that of the interface whose packets are forwarded.
        """
        self._tunnel.mtu = mtu + HEADER_SIZE
        for key in self._tunnel.peers.keys() - servers.keys():
            self._tunnel.remove_peer(key)
        for key in servers.keys() - self._tunnel.peers.keys() - {self.public_key}:
            config = PeerConfig(key, allowed_ips=(link_network(key),))
            server = self._tunnel.set_peer(config, clock(), servers[key].endpoint)
            server.initiate(clock())  # one that was away for a while still uses an old session
        self._pass_on()

    def send(self, public_key: bytes, packets: Sequence[bytes]) -> None:
        """Send IP packets to the server with this key; what it cannot get is lost.

        Nobody waits for the link: whoever sends has other peers too. So what comes while it is
        full is dropped, as any router does it.
        """
        if self._full:
            self.dropped += len(packets)
            return
        destination = link_network(public_key).network_address.packed
        wrapped = [wrap(packet, self._own, destination) for packet in packets]
        self.sent += len(wrapped)
        self._tunnel.packets_from_device(wrapped, clock())
        self._pass_on()

    def received_datagrams(self, datagrams: list[aiotun.Datagram]) -> None:
        self._tunnel.datagrams_received(datagrams, clock())
        self._pass_on()

    def _pass_on(self) -> None:
        tunnel = self._tunnel
        for addr, local, ecn, data in tunnel.take_datagrams():
            try:
                self.udp.sendto_many(data, addr, local=local, ecn=ecn)
            except ValueError as exc:
                logger.debug("the link to %s: %s", format_host(addr), exc)
        packets = list(filter(None, map(unwrap, tunnel.take_packets())))
        if packets:
            self.received += len(packets)
            self._deliver(packets)
        if tunnel.next_deadline < self._due:
            due = tunnel.next_deadline
            timer = self._loop.call_later(max(due - clock(), 0.1), self._tick)
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._due = timer, due

    def _tick(self) -> None:
        self._due = math.inf
        self._tunnel.tick(clock())
        self._pass_on()

    async def aclose(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = -math.inf  # what still comes until it is closed sets no other
        if hasattr(self, "udp"):
            await self.udp.aclose()


class _Protocol(aiotun.UdpProtocol):
    def __init__(self, link: Link) -> None:
        self._link = link

    def datagrams_received(self, datagrams: list[aiotun.Datagram]) -> None:
        self._link.received_datagrams(datagrams)

    def pause_writing(self) -> None:
        self._link._full = True

    def resume_writing(self) -> None:
        self._link._full = False

    def error_received(self, exc: Exception) -> None:
        logger.debug("the link between servers: %s", exc)
