"""What keep-alives cost an interface with many peers, the device and the socket included."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import socket
import time

from aiotun import Datagram
from aiotun.testing import memory_devices
from aiotun.udp import SocketAddress
from aiotun.wireguard import InterfaceConfig, PeerConfig, WireGuard
from aiotun.wireguard.core.allowed_ips import Network
from aiotun.wireguard.core.cookie import TokenBucket
from aiotun.wireguard.core.tunnel import Tunnel
from aiotun.wireguard.endpoint import clock
from aiotun.wireguard.keys import generate_private_key

from ..workloads import Metrics

__all__ = ["COUNTS", "INTERVAL", "measure", "meet"]

COUNTS = (80, 8000)

INTERVAL = 25
"""Seconds between two keep-alives to each peer."""

EVERYTHING = (ipaddress.ip_network("0.0.0.0/0"),)


def measure(count: int, seconds: float) -> Metrics:
    """Per cent of a core, and datagrams sent a second; no handshake is made meanwhile."""
    return asyncio.run(_measure(count, seconds))


async def _measure(count: int, seconds: float) -> Metrics:
    near, far = memory_devices()
    with far, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peers:
        peers.bind(("127.0.0.1", 0))
        async with WireGuard(InterfaceConfig(generate_private_key()), device=near) as wireguard:
            wireguard.tunnel._unproven = TokenBucket(math.inf, math.inf)  # all come at once
            for _ in range(count):
                meet(wireguard.tunnel, peers.getsockname())
            now = clock()
            for number, peer in enumerate(wireguard.tunnel.peers.values()):
                peer.keepalive(now - INTERVAL * number / count)  # the last one was then
            wireguard._pass_on()
            await asyncio.sleep(1)
            counters = wireguard.udp.counters
            sent, spent, start = counters.datagrams_sent, time.process_time(), time.monotonic()
            await asyncio.sleep(seconds)
            passed = time.monotonic() - start
            return {
                "core": 100 * (time.process_time() - spent) / passed,
                "sent": (counters.datagrams_sent - sent) / passed,
            }


def meet(tunnel: Tunnel, addr: SocketAddress, *networks: Network) -> None:
    """Make a session with another peer, which has these allowed IPs."""
    now = clock()
    peer = Tunnel(generate_private_key())
    peer.set_peer(PeerConfig(tunnel.public_key, allowed_ips=EVERYTHING), now, ("192.0.2.1", 1))
    config = PeerConfig(peer.public_key, allowed_ips=networks, persistent_keepalive=INTERVAL)
    tunnel.set_peer(config, now, addr)
    for _ in range(2):
        sent = [data for *_, messages in tunnel.take_datagrams() for data in messages]
        peer.datagrams_received([Datagram(data, addr, None, 0) for data in sent], now)
        sent = [data for *_, messages in peer.take_datagrams() for data in messages]
        tunnel.datagrams_received([Datagram(data, addr, None, 0) for data in sent], now)
    assert tunnel.peers[peer.public_key].last_handshake is not None
