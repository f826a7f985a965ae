"""Peers that another server of the service holds."""

from __future__ import annotations

from ipaddress import ip_network

import packets
import pytest

from aiotun import Datagram
from aiotun.wireguard.config import PeerConfig
from aiotun.wireguard.core.peer import REKEY_TIMEOUT, Peer
from aiotun.wireguard.core.tunnel import Tunnel
from aiotun.wireguard.keys import generate_private_key, public_key_of

SERVER, CLIENT = ("192.0.2.1", 1), ("192.0.2.2", 2)


class Pair:
    """A server that knows where its client is, and that client."""

    def __init__(self) -> None:
        self.now = 1000.0
        keys = [generate_private_key() for _ in range(2)]
        self.server, self.client = (Tunnel(key, wall_clock=lambda: self.now) for key in keys)
        everything = (ip_network("0.0.0.0/0"),)
        of_client = PeerConfig(public_key_of(keys[1]), allowed_ips=everything)
        of_server = PeerConfig(public_key_of(keys[0]), allowed_ips=everything)
        self.peer: Peer = self.server.set_peer(of_client, self.now, CLIENT)
        self.client.set_peer(of_server, self.now, SERVER)

    def exchange(self) -> None:
        busy = True
        while busy:
            busy = False
            for sender, receiver, addr in (
                (self.server, self.client, SERVER),
                (self.client, self.server, CLIENT),
            ):
                for _, _, _, data in sender.take_datagrams():
                    busy = True
                    received = [Datagram(each, addr, None, 0) for each in data]
                    receiver.datagrams_received(received, self.now)


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_its_packets_go_there_and_no_handshake_begins(pair: Pair) -> None:
    sent: list[bytes] = []
    pair.peer.elsewhere = sent.extend
    packet = packets.udp(payload=b"x")
    pair.server.packets_from_device([packet], pair.now)
    pair.peer.set_persistent_keepalive(25, pair.now)
    pair.peer.initiate(pair.now)
    for _ in range(20):
        pair.now += 10
        pair.server.tick(pair.now)
    assert sent == [packet]
    assert pair.server.take_datagrams() == []


def test_what_waits_goes_there_when_its_sessions_end(pair: Pair) -> None:
    packet = packets.udp(payload=b"x")
    pair.server.packets_from_device([packet], pair.now)
    assert len(pair.server.take_datagrams()) == 1
    sent: list[bytes] = []
    pair.peer.elsewhere = sent.extend
    pair.peer.end_sessions()
    pair.now += 2 * REKEY_TIMEOUT
    pair.server.tick(pair.now)  # it would begin again
    assert sent == [packet]
    assert pair.server.take_datagrams() == []


def test_a_handshake_with_us_takes_it_back(pair: Pair) -> None:
    held: list[Peer] = []
    pair.server.on_handshake(held.append)
    sent: list[bytes] = []
    pair.peer.elsewhere = sent.extend
    packet = packets.udp(payload=b"x")
    pair.client.packets_from_device([packet], pair.now)
    pair.exchange()
    assert pair.server.take_packets() == [packet]
    assert held == [pair.peer]
    assert pair.peer.elsewhere is None
    pair.server.packets_from_device([packet], pair.now)
    pair.exchange()
    assert pair.client.take_packets() == [packet]
    assert sent == []


def test_a_timestamp_that_another_server_heard(pair: Pair) -> None:
    pair.client.packets_from_device([packets.udp(payload=b"x")], pair.now)
    ((_, _, _, (initiation,)),) = pair.client.take_datagrams()
    pair.server.datagrams_received([Datagram(initiation, CLIENT, None, 0)], pair.now)
    assert len(pair.server.take_datagrams()) == 1
    other = Pair()
    other.peer.learn_timestamp(pair.peer.timestamp)
    other.peer.learn_timestamp(b"")
    assert other.peer.timestamp == pair.peer.timestamp
    other.now = pair.now  # so its client has no newer one
    other.client.packets_from_device([packets.udp(payload=b"x")], other.now)
    other.exchange()
    assert other.server.counters.replayed_handshake == 1
    assert other.server.take_packets() == []
