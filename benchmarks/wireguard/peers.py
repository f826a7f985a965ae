"""Processor time a packet in the core of ours, with few peers and with many, and of its cipher."""

from __future__ import annotations

import ipaddress
import statistics
import time

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from aiotun import Datagram, DatagramTrain
from aiotun.offload import NO_OFFLOAD
from aiotun.testing.ping import echo_request
from aiotun.trains import cut
from aiotun.udp import SocketAddress
from aiotun.wireguard.config import PeerConfig
from aiotun.wireguard.core.tunnel import Tunnel
from aiotun.wireguard.keys import generate_private_key

from ..workloads import Metrics
from .crowd import CENTER, host
from .nodes import MTU, PORT

__all__ = ["COUNTS", "RUNS", "Star"]

COUNTS = (1, 10, 200)

RUNS = (1, 16)
"""Packets of one peer in a row: every one from another, and as UDP_GRO brings them."""

BATCH = 128
"""Packets at a time: few enough that each of 200 peers has one of them at most."""

BATCHES = 40

EVERYTHING = (ipaddress.ip_network("0.0.0.0/0"),)


class Star:
    """A tunnel with a session with each of so many peers, in memory."""

    def __init__(self, count: int) -> None:
        self._center = Tunnel(generate_private_key())
        self._address: SocketAddress = ("192.0.2.1", PORT)
        self._peers = [Tunnel(generate_private_key()) for _ in range(count)]
        for number, peer in enumerate(self._peers):
            network = (ipaddress.ip_network(host(number)),)
            self._center.set_peer(PeerConfig(peer.public_key, allowed_ips=network), 0)
            config = PeerConfig(self._center.public_key, allowed_ips=EVERYTHING)
            peer.set_peer(config, 0, self._address)
            self._center.datagrams_received(self._sent_by(number, b"\x45" + bytes(19)), 0)
            for _, _, _, messages in self._center.take_datagrams():
                answers = [Datagram(data, self._address, None, 0) for data in messages]
                peer.datagrams_received(answers, 0)
            self._center.datagrams_received(self._sent_by(number, b"\x45" + bytes(19)), 0)
        self._center.take_packets()
        self._ciphers = [ChaCha20Poly1305(key) for key in self._center.peers]

    def _sent_by(self, number: int, packet: bytes) -> list[Datagram]:
        """What a peer sends when it is given the packet."""
        peer, address = self._peers[number], ("192.0.2.2", 10_000 + number)
        peer.packets_from_device([packet], 0)
        sent = [data for _, _, _, messages in peer.take_datagrams() for data in messages]
        return [Datagram(data, address, None, 0) for data in sent]

    def time_a_packet(self, run: int) -> Metrics:
        """Microseconds to seal and to open one, and for the cipher alone, as often with another
        key: the median of batches, MTU-sized packets."""
        data = bytes(MTU - 28)
        outgoing = [echo_request(CENTER, host(n), 1, 1, data) for n in range(len(self._peers))]
        incoming = [echo_request(host(n), CENTER, 1, 1, data) for n in range(len(self._peers))]
        sealing, opening, enciphering = [], [], []
        for batch in range(BATCHES):
            order = [(batch * BATCH + place) // run % len(self._peers) for place in range(BATCH)]
            packets = [outgoing[number] for number in order]
            frames = [NO_OFFLOAD + packet for packet in packets]
            trains = [
                DatagramTrain(data, 0, addr, local, ecn)
                for n in order
                for data, addr, local, ecn in self._sent_by(n, incoming[n])
            ]
            assert len(trains) == BATCH

            start = time.thread_time()
            self._center.frames_from_device(frames, 0)
            sent = self._center.take_trains()
            sealing.append(time.thread_time() - start)
            assert sum(len(cut(data, segment)) for data, segment, *_ in sent) == BATCH

            start = time.thread_time()
            self._center.trains_received(trains, 0)
            received = self._center.take_frames()
            opening.append(time.thread_time() - start)
            assert len(received) == BATCH

            start = time.thread_time()
            for number, packet in zip(order, packets, strict=True):
                self._ciphers[number].encrypt(bytes(12), packet, None)
            enciphering.append(time.thread_time() - start)
        return {
            "seal": 1e6 * statistics.median(sealing) / BATCH,
            "open": 1e6 * statistics.median(opening) / BATCH,
            "cipher": 1e6 * statistics.median(enciphering) / BATCH,
        }
