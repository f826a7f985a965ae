"""Several servers of one service, with a real NATS between them.

Interfaces are devices in memory, sockets real ones on the loopback interface. A client fails over
by another address in its configuration, as one does whose name of the server leads elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock, patch

import packets
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats_servers import NatsServer, nats_server, url
from rigs import until

import aiotun
from aiotun import cancelling
from aiotun.metrics import WIREGUARD
from aiotun.testing import memory_devices
from aiotun.wireguard.cluster import member as member_module
from aiotun.wireguard.cluster.encapsulation import HEADER_SIZE, link_network, unwrap, wrap
from aiotun.wireguard.cluster.member import Member, joined
from aiotun.wireguard.config import InterfaceConfig, PeerConfig
from aiotun.wireguard.core.peer import Peer
from aiotun.wireguard.core.tunnel import Tunnel
from aiotun.wireguard.endpoint import WireGuard, clock
from aiotun.wireguard.keys import encode_key, generate_private_key, public_key_of
from aiotun.wireguard.metrics import Metrics
from aiotun.wireguard.server import Server as WireGuardServer
from aiotun.wireguard.stores import bucket as bucket_module
from aiotun.wireguard.stores.bucket import UnreachableError

__all__ = ["nats_server", "url"]

SERVICE = generate_private_key()
CLIENTS = [generate_private_key() for _ in range(2)]


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member_module, "INTERVAL", 0.05)
    monkeypatch.setattr(bucket_module, "RETRY", 0.05)


class End:
    def __init__(self, wireguard: WireGuard, host: aiotun.PacketStream) -> None:
        self.wireguard = wireguard
        self.host = host

    async def recv(self) -> bytes:
        return await asyncio.wait_for(self.host.recv(), 20)


class Serving(End):
    """A server with its member, which runs."""

    member: Member

    def peer(self, number: int) -> Peer:
        return self.wireguard.tunnel.peers[public_key_of(CLIENTS[number])]

    def holds(self, number: int) -> bool:
        holding = self.member.holdings.get(public_key_of(CLIENTS[number]))
        return holding is not None and holding.server == self.member.link.public_key


@contextlib.asynccontextmanager
async def interface(config: InterfaceConfig, kind: type[End] = End) -> AsyncIterator[End]:
    near, far = memory_devices(mtu=1420)
    async with aiotun.open_device(device=far) as host, WireGuard(config, device=near) as wireguard:
        yield kind(wireguard, host)


@contextlib.asynccontextmanager
async def server(url: str) -> AsyncIterator[Serving]:
    config = InterfaceConfig(
        SERVICE,
        peers=tuple(
            PeerConfig(public_key_of(key), allowed_ips=(ip_network(f"10.9.0.{number + 2}/32"),))
            for number, key in enumerate(CLIENTS)
        ),
    )
    async with joined(url, ("127.0.0.1", 0)) as member, interface(config, Serving) as end:
        assert isinstance(end, Serving)
        end.member = member
        member.serve(end.wireguard)
        task = asyncio.ensure_future(member.run())
        try:
            yield end
        finally:
            assert not task.done(), task.result()
            await cancelling.end([task])


def way_to(end: End | None) -> PeerConfig:
    """What a client is configured with to reach the service at this server."""
    return PeerConfig(
        public_key_of(SERVICE),
        endpoint=None if end is None else ("127.0.0.1", end.wireguard.listen_port),
        allowed_ips=(ip_network("0.0.0.0/0"),),
    )


def client(number: int, *peers: PeerConfig) -> contextlib.AbstractAsyncContextManager[End]:
    return interface(InterfaceConfig(CLIENTS[number], peers=peers))


def packet(source: str, destination: str, number: int = 0) -> bytes:
    return packets.udp(
        payload=bytes(800), source=source, destination=destination, identification=number
    )


async def test_a_peer_moves_and_is_reached_through_any_server(url: str) -> None:
    async with server(url) as first, server(url) as second:
        await until(lambda: len(first.member.servers) == len(second.member.servers) == 2)
        async with client(0, way_to(first)) as phone:
            up = packet("10.9.0.2", "10.0.0.1")
            await phone.host.send(up)
            assert await first.recv() == up
            await until(lambda: first.holds(0) and second.peer(0).elsewhere is not None)
            # From the network behind the second server, over the link.
            down = packet("192.0.2.7", "10.9.0.2")
            await second.host.send(down)
            assert await phone.recv() == down
            assert (second.member.link.sent, first.member.link.received) == (1, 1)
            # The client fails over.
            await move(phone, second)
            await until(lambda: first.peer(0).elsewhere is not None)
            assert first.peer(0)._current is None
            assert first.peer(0).timestamp == second.peer(0).timestamp != b""
            await first.host.send(down)
            assert await phone.recv() == down


@contextlib.contextmanager
def cut_off(serving: Serving) -> Iterator[None]:
    """It reaches the store no more, but clients do reach it."""
    bucket = serving.member._bucket
    with pytest.MonkeyPatch.context() as patched:
        for method in ("read", "write"):
            patched.setattr(bucket, method, AsyncMock(side_effect=UnreachableError("cut off")))
        yield


async def move(phone: End, to: Serving) -> None:
    """Send a packet in a session that the client begins there."""
    phone.wireguard.set_peer(way_to(to))
    peer = phone.wireguard.tunnel.peers[public_key_of(SERVICE)]
    peer.forget_sessions()
    peer._handshake_sent = -1e9
    up = packet("10.9.0.2", "10.0.0.1")
    await phone.host.send(up)
    assert await to.recv() == up


async def passes_on(phone: End, held: Serving, other: Serving) -> None:
    """The client's packets arrive at one server, and reach it through both."""
    await until(lambda: held.holds(0) and other.peer(0).elsewhere is not None)
    await until(lambda: not held.member._claims and not other.member._claims)
    assert held.peer(0).elsewhere is None
    assert held.holds(0)
    assert not other.holds(0)
    for end in (held, other):
        down = packet("192.0.2.7", "10.9.0.2")
        await end.host.send(down)
        assert await phone.recv() == down
    up = packet("10.9.0.2", "10.0.0.1", 7)
    await phone.host.send(up)
    assert await held.recv() == up


async def test_a_handshake_of_which_nobody_heard_is_not_claimed_later(url: str) -> None:
    """The peer has moved on: its greatest time stamp is not that server's."""
    async with server(url) as first, server(url) as second, client(0, way_to(first)) as phone:
        await until(lambda: len(first.member.servers) == len(second.member.servers) == 2)
        with cut_off(first):
            await move(phone, first)
            await move(phone, second)
            await until(lambda: second.holds(0))
        await passes_on(phone, second, first)


@pytest.mark.parametrize("again", [False, True], ids=["stays", "moves again"])
async def test_a_server_that_is_back_begins_a_handshake(url: str, again: bool) -> None:
    """It has not heard yet that the peer has moved; the peer goes back to it."""
    async with server(url) as first, server(url) as second, client(0, way_to(first)) as phone:
        await until(lambda: len(first.member.servers) == len(second.member.servers) == 2)
        await move(phone, first)
        await until(lambda: first.holds(0) and second.peer(0).elsewhere is not None)
        with cut_off(first):
            await move(phone, second)
            await until(lambda: second.holds(0))
            at_first = first.peer(0)
            at_first._handshake_sent = -1e9
            at_first.initiate(clock())
            first.wireguard._pass_on()
            await until(lambda: at_first.began_session)
            if again:
                await move(phone, second)
                await until(lambda: second.holds(0))
        await passes_on(phone, *((second, first) if again else (first, second)))


def from_client(data: bytes) -> aiotun.Datagram:
    return aiotun.Datagram(data, ("127.0.0.1", 9), None, 0)


async def test_a_replayed_initiation_is_refused_by_every_server(url: str) -> None:
    """Also by one that was not there when it came."""
    phone = Tunnel(CLIENTS[0])
    phone.set_peer(way_to(None), 0.0, ("127.0.0.1", 9))
    phone.packets_from_device([packet("10.9.0.2", "10.0.0.1")], 0.0)
    ((_, _, _, (initiation,)),) = phone.take_datagrams()
    async with server(url) as first:
        tunnel = first.wireguard.tunnel
        tunnel.datagrams_received([from_client(initiation)], 1e9)
        ((_, _, _, (response,)),) = tunnel.take_datagrams()
        phone.datagrams_received([from_client(response)], 0.0)
        ((_, _, _, (data,)),) = phone.take_datagrams()
        tunnel.datagrams_received([from_client(data)], 1e9)
        await until(lambda: first.holds(0))
    async with server(url) as second:
        tunnel = second.wireguard.tunnel
        tunnel.datagrams_received([from_client(initiation)], 1e9)
        assert tunnel.counters.replayed_handshake == 1
        assert tunnel.take_datagrams() == []


async def test_what_was_written_of_a_peer_goes_with_it(url: str) -> None:
    """Its time stamp, which would keep it out if its clock had been ahead. A server that starts
    later sees to those that went while there was none."""
    key, nobody = public_key_of(CLIENTS[0]), bytes(32)

    def holders(server: Serving) -> set[str]:
        entries = server.member._known.entries.items()
        return {at for at, (_, value) in entries if at.startswith("holder.") and value is not None}

    async with server(url) as first, client(0, way_to(first)) as phone:
        await phone.host.send(packet("10.9.0.2", "10.0.0.1"))
        await first.recv()
        await until(lambda: holders(first) == {f"holder.{key.hex()}"})
        value = first.member._known.entries[f"holder.{key.hex()}"].value
        await first.member._bucket.write(f"holder.{nobody.hex()}", value)
        async with server(url) as second:
            await until(lambda: holders(second) == {f"holder.{key.hex()}"})
            assert second.peer(0).timestamp
            for each in (first, second):
                each.wireguard.remove_peer(key)
                each.member.place([key])
            await until(lambda: holders(first) == holders(second) == set())
    async with server(url) as third:
        assert third.peer(0).timestamp == b""


async def test_a_peer_that_others_took_for_gone_is_claimed_again(url: str) -> None:
    """It was disabled and enabled while the server that holds it was cut off, say."""
    async with server(url) as first, server(url) as second, client(0, way_to(first)) as phone:
        await phone.host.send(packet("10.9.0.2", "10.0.0.1"))
        await first.recv()
        await until(lambda: second.peer(0).elsewhere is not None)
        handshakes = first.wireguard.tunnel.handshakes
        with patch.object(first.member, "read", new=AsyncMock()):  # as if it was cut off
            await second.member._bucket.write(f"holder.{public_key_of(CLIENTS[0]).hex()}", None)
            await until(lambda: second.peer(0).elsewhere is None)
        await until(lambda: second.peer(0).elsewhere is not None)
        down = packet("192.0.2.7", "10.9.0.2")
        await second.host.send(down)
        assert await phone.recv() == down
        assert first.wireguard.tunnel.handshakes == handshakes


async def test_an_initiation_alone_moves_nobody(url: str) -> None:
    """Whoever passes it on to another server cannot use the session."""
    async with server(url) as first, server(url) as second, client(0, way_to(first)) as phone:
        await phone.host.send(packet("10.9.0.2", "10.0.0.1"))
        await first.recv()
        await until(lambda: second.peer(0).elsewhere is not None)
        tunnel = phone.wireguard.tunnel
        peer = tunnel.peers[public_key_of(SERVICE)]
        peer._handshake_sent = -1e9
        peer.initiate(0.0)
        (_, _, _, (initiation,)) = tunnel.take_datagrams()[0]
        second.wireguard.tunnel.datagrams_received(
            [aiotun.Datagram(initiation, ("127.0.0.1", 9), None, 0)], 1e9
        )
        assert len(second.wireguard.tunnel.take_datagrams()) == 1
        await asyncio.sleep(2.5 * member_module.INTERVAL)
        assert first.holds(0)
        down = packet("192.0.2.7", "10.9.0.2")
        await first.host.send(down)
        assert await phone.recv() == down


async def test_a_server_that_is_gone_holds_nobody(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member_module, "ANNOUNCEMENT_TTL", 1.0)
    async with server(url) as second:
        async with server(url) as first, client(0, way_to(first)) as phone:
            await phone.host.send(packet("10.9.0.2", "10.0.0.1"))
            await first.recv()
            await until(lambda: second.peer(0).elsewhere is not None)
            monkeypatch.setattr(member_module, "ANNOUNCEMENTS", 1e9)  # as if it had died
            first.member.leave = second.member.read  # type: ignore[method-assign]
        await until(lambda: first.member.link.public_key not in second.member.servers)
        assert second.peer(0).elsewhere is None


async def test_one_server_begins_handshakes(url: str) -> None:
    """With a peer whose endpoint stands in the store, until somebody holds it."""
    async with server(url) as first, server(url) as second:
        await until(lambda: len(first.member.servers) == len(second.member.servers) == 2)
        async with client(0) as office:
            office.wireguard.set_peer(way_to(None))
            endpoint = ("127.0.0.1", office.wireguard.listen_port)
            for each in (first, second):
                config = PeerConfig(
                    public_key_of(CLIENTS[0]),
                    endpoint=endpoint,
                    allowed_ips=(ip_network("10.9.0.2/32"),),
                )
                each.wireguard.set_peer(config)
                each.member.place([config.public_key])
            assert (first.peer(0).elsewhere is None) != (second.peer(0).elsewhere is None)
            down = packet("192.0.2.7", "10.9.0.2")
            for each in (first, second):
                await each.host.send(down)
                assert await office.recv() == down
            await until(lambda: first.holds(0) or second.holds(0))
            assert (first.peer(0)._current is None) != (second.peer(0)._current is None)


async def test_clients_of_two_servers_reach_each_other(url: str) -> None:
    async with server(url) as first, server(url) as second, contextlib.AsyncExitStack() as stack:
        phone = await stack.enter_async_context(client(0, way_to(first)))
        laptop = await stack.enter_async_context(client(1, way_to(second)))
        await phone.host.send(packet("10.9.0.2", "10.0.0.1"))
        await laptop.host.send(packet("10.9.0.3", "10.0.0.1"))
        await first.recv()
        await second.recv()
        await until(lambda: first.peer(1).elsewhere and second.peer(0).elsewhere)
        await phone.host.send(packet("10.9.0.2", "10.9.0.3", 7))
        forwarded = await first.recv()  # its kernel sends it back into the device
        await first.host.send(forwarded)
        assert await laptop.recv() == packet("10.9.0.2", "10.9.0.3", 7)


async def test_without_a_store_a_server_keeps_its_peers(
    nats_server: NatsServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    nats = NatsServer(tmp_path_factory.mktemp("away"))
    nats.start()
    try:
        nats.wait()
        async with server(f"nats://{nats.address}/peers") as first:
            nats.kill()
            async with client(0, way_to(first)) as phone:
                up = packet("10.9.0.2", "10.0.0.1")
                await phone.host.send(up)
                assert await first.recv() == up
                assert not first.holds(0)
                nats.start()
                await asyncio.to_thread(nats.wait)
                await until(lambda: first.holds(0))
    finally:
        nats.kill()


async def test_two_servers_that_take_each_other_for_the_holder(url: str) -> None:
    """A packet goes over the link once, and is counted."""
    async with server(url) as first, server(url) as second:
        await until(lambda: len(first.member.servers) == len(second.member.servers) == 2)
        for each, other in ((first, second), (second, first)):
            link = other.member.link.public_key
            each.peer(0).elsewhere = lambda packets, each=each, link=link: each.member._forward(
                link, packets
            )
        await first.host.send(packet("192.0.2.7", "10.9.0.2"))
        await until(lambda: second.member.lost == 1)
        assert first.member.lost == 0


def takes_nothing(udp: aiotun.UdpTransport) -> contextlib.AbstractContextManager[object]:
    """A socket that pushes back. At most 21 datagrams wait for it."""
    udp.set_write_buffer_limits(high=20)
    return patch.object(udp, "_send")


async def test_a_link_that_is_full(url: str) -> None:
    """What waits for it is bounded, and what is dropped is counted."""
    async with server(url) as first, server(url) as second, client(0, way_to(first)) as phone:
        await move(phone, first)
        await until(lambda: first.holds(0) and second.peer(0).elsewhere is not None)
        down, link = packet("192.0.2.7", "10.9.0.2"), second.member.link
        await second.host.send(down)
        assert await phone.recv() == down  # so the link has a session
        with takes_nothing(link.udp):
            for _ in range(100):
                link.send(first.member.link.public_key, [down])
                await asyncio.sleep(0)
            assert link.udp.get_write_buffer_size() == 21
            assert (link.sent, link.dropped) == (22, 79)
        for _ in range(21):
            await phone.recv()
        await second.host.send(down)
        assert await phone.recv() == down


async def test_a_link_to_a_server_whose_socket_is_full(url: str) -> None:
    """It is read no further, as the device is not: the kernel drops what is too much."""
    async with server(url) as first, server(url) as second, client(0, way_to(first)) as phone:
        await move(phone, first)
        await until(lambda: first.holds(0) and second.peer(0).elsewhere is not None)
        down, link = packet("192.0.2.7", "10.9.0.2"), first.member.link
        with takes_nothing(first.wireguard.udp):
            while link.udp.is_reading():
                await second.host.send(down)
                await asyncio.sleep(0.001)
            assert not first.wireguard.transport.is_reading()
            received = link.received
            for _ in range(20):
                await second.host.send(down)
                await asyncio.sleep(0.001)
            assert link.received == received
        await until(link.udp.is_reading)
        assert first.wireguard.transport.is_reading()
        assert await phone.recv() == down


async def test_a_server_that_was_away_reaches_the_holder_at_once(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others have forgotten it meanwhile, with the session of the link; it has not."""
    monkeypatch.setattr(member_module, "ANNOUNCEMENT_TTL", 1.0)
    async with server(url) as first, server(url) as second, client(0, way_to(first)) as phone:
        await until(lambda: len(first.member.servers) == len(second.member.servers) == 2)
        await move(phone, first)
        await until(lambda: first.holds(0) and second.peer(0).elsewhere is not None)
        down, own = packet("192.0.2.7", "10.9.0.2"), first.member.link.public_key
        await second.host.send(down)
        assert await phone.recv() == down  # over the link
        with cut_off(first):
            await move(phone, second)
            await until(lambda: second.holds(0) and own not in second.member.servers)
            assert first.peer(0).elsewhere is None  # it knows no better
        await until(lambda: first.peer(0).elsewhere is not None and own in second.member.servers)
        assert first.peer(0)._current is None
        deadline = asyncio.get_running_loop().time() + 20
        while first.member.link.sent == 0 or phone.host.transport.counters.packets_received == 1:
            assert asyncio.get_running_loop().time() < deadline
            await first.host.send(down)
            await asyncio.sleep(0.1)
        assert await phone.recv() == down


async def test_metrics_of_a_server_of_several(url: str) -> None:
    """All names that there are."""
    async with server(url) as first:
        await until(lambda: first.member.servers)
        alone = SimpleNamespace(name="wg0", store=None, flows=None)
        told = SimpleNamespace(**vars(first), **vars(alone))
        text = Metrics(cast(WireGuardServer, told)).text().decode()
    for each in WIREGUARD:
        assert f"# HELP {each.name}" in text
    assert 'aiotun_wireguard_servers{interface="wg0"} 1.0' in text
    assert 'forwarded_packets_total{direction="dropped",interface="wg0"} 0.0' in text


async def test_nonsense_in_the_bucket(url: str, caplog: pytest.LogCaptureFixture) -> None:
    async with server(url) as first:
        bucket = first.member._bucket
        for key in ("server.x", f"server.{bytes(32).hex()}", f"holder.{bytes(32).hex()}", "x"):
            for value in (b"{", b"[]", b'{"server": 1, "timestamp": "00", "endpoint": []}'):
                await bucket.write(key, value)
                await first.member.read()
        assert list(first.member.servers) == [first.member.link.public_key]
        assert first.member.holdings == {}
        assert "is no server" in caplog.text


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=4), parts),
    max_leaves=4,
)


@given(
    st.fixed_dictionaries(
        {
            "public_key": values | st.just(encode_key(bytes(32))),
            "endpoint": values | st.sampled_from(["127.0.0.1:5", "[::1]:5", "a:5"]),
            "name": values | st.text(max_size=70),
        }
    )
)
def test_an_announcement_that_is_none(fields: dict[str, Any]) -> None:
    """It raises nothing; and the name of a server can be printed."""
    key = f"server.{bytes(32).hex()}"
    found = member_module._decode_server(key, json.dumps(fields).encode())
    assert found is None or (found.name.isprintable() and len(found.name) <= 64)


@given(st.fixed_dictionaries({"server": values, "timestamp": values, "completed": values}) | values)
def test_a_claim_that_is_none(fields: Any) -> None:
    assert member_module._decode_holding(json.dumps(fields).encode()) is None


# Packets within packets.

ip_packets = st.builds(
    packets.udp,
    payload=st.binary(max_size=100),
    source=st.sampled_from(["10.0.0.1", "192.0.2.9"]),
    destination=st.just("10.9.0.2"),
)


@given(ip_packets)
def test_a_packet_comes_out_as_it_went_in(packet: bytes) -> None:
    one, two = (link_network(bytes([n]) * 32).network_address.packed for n in (1, 2))
    wrapped = wrap(packet, one, two)
    assert len(wrapped) == HEADER_SIZE + len(packet)
    assert (wrapped[12:16], wrapped[16:20]) == (one, two)
    assert unwrap(wrapped) == packet


@given(st.binary(max_size=80))
def test_anything_else_raises_nothing(data: bytes) -> None:
    with contextlib.suppress(IndexError):
        unwrap(bytes([0x45, 0]) + data[:30].ljust(18, b"\0") + data[30:])
