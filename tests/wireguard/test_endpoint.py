"""WireGuard interfaces on devices in memory and sockets on the loopback interface."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_network
from typing import Any, cast

import packets
import pytest

import aiotun
from aiotun.platforms.memory import MemoryInterface
from aiotun.testing import memory_devices
from aiotun.wireguard.config import InterfaceConfig, PeerConfig
from aiotun.wireguard.endpoint import SO_MARK, WireGuard
from aiotun.wireguard.keys import generate_private_key, public_key_of

KEYS = [generate_private_key() for _ in range(2)]
PUBLIC = [public_key_of(key) for key in KEYS]


class End:
    """An interface, and the host behind it."""

    def __init__(self, wireguard: WireGuard, host: aiotun.PacketStream) -> None:
        self.wireguard = wireguard
        self.host = host

    async def recv(self) -> bytes:
        return await asyncio.wait_for(self.host.recv(), 5)


@contextlib.asynccontextmanager
async def end(number: int, *peers: PeerConfig, **settings: Any) -> AsyncIterator[End]:
    near, far = memory_devices(mtu=1420, addresses=[f"10.9.0.{number + 1}/24"])
    async with aiotun.open_device(device=far) as host:
        config = InterfaceConfig(KEYS[number], peers=peers, **settings)
        async with WireGuard(config, device=near) as wireguard:
            yield End(wireguard, host)


def peer(number: int, port: int | None = None, host: str = "127.0.0.1") -> PeerConfig:
    return PeerConfig(
        PUBLIC[number],
        endpoint=None if port is None else (host, port),
        allowed_ips=(ip_network(f"10.9.0.{number + 1}/32"),),
    )


def packet(sender: int, receiver: int, number: int = 0) -> bytes:
    return packets.udp(
        payload=number.to_bytes(4, "big") + bytes(1000),
        source=f"10.9.0.{sender + 1}",
        destination=f"10.9.0.{receiver + 1}",
        identification=number,
    )


async def passes(sender: End, receiver: End, number: int = 0) -> None:
    one = packet(0, 1, number) if sender.wireguard.tunnel.private_key == KEYS[0] else packet(1, 0)
    await sender.host.send(one)
    assert await receiver.recv() == one


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not become true within 5 s")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
async def test_there_and_back(host: str) -> None:
    async with end(1, peer(0)) as b, end(0, peer(1, b.wireguard.listen_port, host)) as a:
        await passes(a, b)
        await passes(b, a)
        (known,) = b.wireguard.tunnel.peers.values()
        assert known.endpoint is not None
        assert known.endpoint[1] == a.wireguard.listen_port


async def test_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    async with end(1, peer(0)) as b, end(0, peer(1, b.wireguard.listen_port)) as a:
        await passes(a, b)
        with pytest.raises(OSError, match="no address for endpoint ::1"):
            await a.wireguard.set_peer(peer(1, 1, "::1"))
        await passes(b, a)


async def test_many_packets_in_order() -> None:
    async with end(1, peer(0)) as b, end(0, peer(1, b.wireguard.listen_port)) as a:
        await passes(a, b)
        many = [packet(0, 1, number) for number in range(300)]
        await a.host.send_many(many)
        assert [await b.recv() for _ in many] == many


async def test_handshakes_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop's timer: the first initiation goes to a port at which nobody listens yet."""
    monkeypatch.setattr("aiotun.wireguard.core.peer.REKEY_TIMEOUT", 0.2)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as reserved:
        reserved.bind(("::", 0))
        port = reserved.getsockname()[1]
    async with end(0, peer(1, port)) as a:
        await a.host.send(packet(0, 1))
        await asyncio.sleep(0.1)
        async with end(1, peer(0), listen_port=port) as b:
            assert await b.recv() == packet(0, 1)


async def test_another_port() -> None:
    async with end(1, peer(0)) as b, end(0, peer(1, b.wireguard.listen_port)) as a:
        await passes(a, b)
        before = b.wireguard.listen_port
        await b.wireguard.set_listen_port(0)
        assert b.wireguard.listen_port != before
        await passes(b, a)  # it roamed, for the other side
        await passes(a, b)
        taken = a.wireguard.listen_port
        with pytest.raises(OSError, match="in use"):
            await b.wireguard.set_listen_port(taken)
        await passes(b, a)


async def test_firewall_mark() -> None:
    def marks(udp: aiotun.UdpTransport) -> int:
        sock = udp.get_extra_info("socket")
        return sock.getsockopt(socket.SOL_SOCKET, SO_MARK)  # type: ignore[no-any-return]

    async with end(0, fwmark=7) as a:
        assert marks(a.wireguard.udp) == 7
        await a.wireguard.set_fwmark(9)
        await a.wireguard.set_listen_port(0)
        assert marks(a.wireguard.udp) == a.wireguard.fwmark == 9


async def test_peers_come_and_go() -> None:
    async with end(1) as b, end(0) as a:
        await a.wireguard.set_peer(peer(1, b.wireguard.listen_port))
        await b.wireguard.set_peer(peer(0))
        await passes(a, b)
        a.wireguard.remove_peer(PUBLIC[1])
        assert not a.wireguard.tunnel.peers
        a.wireguard.set_private_key(generate_private_key())


async def test_a_persistent_keepalive_begins_at_once() -> None:
    async with end(1, peer(0)) as b:
        near = PeerConfig(
            PUBLIC[1], endpoint=("127.0.0.1", b.wireguard.listen_port), persistent_keepalive=25
        )
        async with end(0, near):
            known = b.wireguard.tunnel.peers[PUBLIC[0]]
            await until(lambda: known.last_handshake is not None)


async def test_a_name_that_leads_nowhere() -> None:
    near, far = memory_devices()
    with far:
        config = InterfaceConfig(KEYS[0], peers=(peer(1, 1, "nowhere.invalid"),))
        with pytest.raises(OSError, match="no address for endpoint nowhere"):
            async with WireGuard(config, device=near):
                pass


async def test_the_port_is_taken() -> None:
    async with end(0) as a:
        with pytest.raises(OSError, match="in use"):
            async with end(1, listen_port=a.wireguard.listen_port):
                pass


async def test_the_interface_is_deleted() -> None:
    async with end(0) as a:
        interface = a.wireguard.device.interface
        assert isinstance(interface, MemoryInterface)
        interface.delete()
        with pytest.raises(aiotun.InterfaceGoneError):
            await asyncio.wait_for(a.wireguard.wait_closed(), 5)


async def test_the_socket_fails() -> None:
    async with end(0) as a:
        cast(asyncio.Protocol, a.wireguard.udp.get_protocol()).connection_lost(OSError(9, "bad"))
        with pytest.raises(OSError, match="bad"):
            await asyncio.wait_for(a.wireguard.wait_closed(), 5)


async def test_flow_control() -> None:
    async with end(0) as a:
        transport, udp = a.wireguard.transport, a.wireguard.udp
        for one, other in ((udp, transport), (transport, udp)):
            protocol = cast(asyncio.Protocol, one.get_protocol())
            protocol.pause_writing()
            assert not other.is_reading()
            protocol.resume_writing()
            assert other.is_reading()


async def test_an_address_of_ours_is_gone() -> None:
    """What is sent to a peer leaves from where it was heard, as long as that is possible."""
    async with end(1, peer(0)) as b, end(0, peer(1, b.wireguard.listen_port)) as a:
        await passes(a, b)
        (known,) = b.wireguard.tunnel.peers.values()
        assert known._local == "127.0.0.1"
        known._local = "203.0.113.1"
        await b.host.send(packet(1, 0, 1))  # lost
        await until(lambda: b.wireguard.udp.counters.dropped_sent == 1)
        await passes(b, a)


async def test_port_zero() -> None:
    """A datagram can be forged to come from there, and none can go there."""
    async with end(0) as a:
        await a.wireguard.set_peer(peer(1, 0))
        a.wireguard.tunnel.peers[PUBLIC[1]].initiate(a.wireguard._loop.time())
        a.wireguard._pass_on()
        assert a.wireguard.udp.counters.datagrams_sent == 0


async def test_the_mtu_follows_the_device() -> None:
    async with end(0) as a:
        assert a.wireguard.tunnel.mtu == 1420
        a.wireguard.device.mtu = 1300
        await until(lambda: a.wireguard.tunnel.mtu == 1300)
