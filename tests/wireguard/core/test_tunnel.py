"""Tunnels joined back to back, with a clock of their own: no socket, no device, no waiting."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address, ip_network
from itertools import pairwise
from typing import Any, NamedTuple
from unittest import mock

import packets
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ways import WAYS, leave_all_to_python

from aiotun import Datagram, DatagramTrain
from aiotun.offload import NO_OFFLOAD, GROTable
from aiotun.trains import batches
from aiotun.udp import SocketAddress
from aiotun.wireguard.config import PeerConfig
from aiotun.wireguard.core.cookie import COOKIE_REST, SOURCE_BURST, TokenBucket
from aiotun.wireguard.core.messages import (
    COOKIE_REPLY,
    INITIATION,
    RESPONSE,
    TRANSPORT,
    CookieReply,
)
from aiotun.wireguard.core.peer import Peer
from aiotun.wireguard.core.session import REJECT_AFTER_MESSAGES, REKEY_AFTER_MESSAGES
from aiotun.wireguard.core.tunnel import HANDSHAKE_BURST, Tunnel
from aiotun.wireguard.keys import generate_private_key, public_key_of

HANDSHAKE = [INITIATION, RESPONSE]
JITTER = 0.334


class Sent(NamedTuple):
    """What a tunnel has for the network, with names."""

    addr: SocketAddress
    local: str | None
    ecn: int
    data: list[bytes]


class Side:
    """One end: a tunnel, and where it is."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        world.sides.append(self)
        self.number = number
        self.addr: SocketAddress = (f"192.0.2.{number}", 51820)
        self.private_key = generate_private_key()
        self.public_key = public_key_of(self.private_key)
        self.start()

    def start(self) -> None:
        self.tunnel = Tunnel(
            self.private_key, random=random.Random(self.number), wall_clock=self.world.wall_clock
        )

    def meet(self, other: Side, *, endpoint: bool = True, **settings: Any) -> Peer:
        config = PeerConfig(
            other.public_key,
            allowed_ips=(ip_network(f"10.0.{other.number}.0/24"), ip_network("fd00::/8")),
        )
        config = dataclasses.replace(config, **settings)
        return self.tunnel.set_peer(config, self.world.now, other.addr if endpoint else None)

    def packet(self, other: Side, number: int = 0, size: int = 100, **fields: Any) -> bytes:
        return packets.udp(
            payload=number.to_bytes(4, "big") + bytes(size - 32),
            identification=number,  # coalesced and split again, it is the same
            source=f"10.0.{self.number}.1",
            destination=f"10.0.{other.number}.1",
            **fields,
        )

    def send(self, *packets: bytes) -> None:
        if self.world.joined:
            frames = GROTable().coalesce(packets)
            self.tunnel.frames_from_device(frames, self.world.now)
        else:
            self.tunnel.packets_from_device(list(packets), self.world.now)

    def take(self) -> list[Sent]:
        return [Sent(*outgoing) for outgoing in self.tunnel.take_datagrams()]

    def receive(self, data: bytes, addr: SocketAddress, ecn: int = 0) -> None:
        self.tunnel.datagrams_received([Datagram(data, addr, "198.51.100.1", ecn)], self.world.now)

    def receive_train(self, datagrams: list[bytes], addr: SocketAddress, ecn: int) -> None:
        train = b"".join(datagrams), len(datagrams[0])
        self.tunnel.trains_received(
            [DatagramTrain(*train, addr, "198.51.100.1", ecn)], self.world.now
        )

    @property
    def dropped(self) -> dict[str, int]:
        """Drops by reason, where there are any."""
        counters = dataclasses.asdict(self.tunnel.counters)
        return {name: count for name, count in counters.items() if count}


class World:
    """Two sides, the time, and a network that delivers at once.

    `joined`: packets of a flow are super-packets, and datagrams of one length trains.
    """

    def __init__(self, joined: bool = False) -> None:
        self.joined = joined
        self.now = 1000.0
        self.sides: list[Side] = []
        self.a, self.b = Side(self, 1), Side(self, 2)
        self.sent: list[tuple[float, int, bytes]] = []
        """When, by which side, and the first four bytes of what."""
        self.lost: Callable[[bytes], bool] = lambda data: False

    def wall_clock(self) -> float:
        return 1_700_000_000 + self.now

    def exchange(self) -> None:
        """Deliver until nobody has anything to send."""
        while sum([self.deliver(side) for side in self.sides]):
            pass

    def deliver(self, side: Side) -> int:
        """Deliver what one side has sent; how many datagrams that were."""
        count = 0
        for outgoing in side.take():
            (other,) = (each for each in self.sides if each.addr == outgoing.addr)
            count += len(outgoing.data)
            self.sent += [(self.now, side.number, data[:4]) for data in outgoing.data]
            arriving = [data for data in outgoing.data if not self.lost(data)]
            if self.joined:
                for batch in batches(arriving):
                    other.receive_train(batch, side.addr, outgoing.ecn)
            else:
                for data in arriving:
                    other.receive(data, side.addr, outgoing.ecn)
        return count

    def sleep(self, seconds: float) -> None:
        """Let time pass, with all that happens in it."""
        end = self.now + seconds
        while (due := min(side.tunnel.next_deadline for side in self.sides)) <= end:
            self.now = max(self.now, due)
            for side in self.sides:
                side.tunnel.tick(self.now)
            self.exchange()
        self.now = end

    def kinds(self, since: float = 0.0) -> list[tuple[int, bytes]]:
        """Which side sent what from then on."""
        return [(number, kind) for when, number, kind in self.sent if when >= since]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packets that are plain go through C, and through Python."""
    if request.param == "python":
        leave_all_to_python(monkeypatch)


@pytest.fixture(params=[False, True], ids=["singly", "joined"])
def world(way: None, request: pytest.FixtureRequest) -> World:
    """Two that know each other; the second one does not know where the first one is."""
    world = World(request.param)
    world.a.meet(world.b)
    world.b.meet(world.a, endpoint=False)
    return world


def connect(world: World) -> None:
    """Complete a handshake that the first one begins."""
    world.a.send(world.a.packet(world.b))
    world.exchange()
    assert len(world.b.tunnel.take_packets()) == 1
    assert world.a.dropped == world.b.dropped == {}
    world.sent.clear()


def passes(world: World, sender: Side, receiver: Side) -> bool:
    packet = sender.packet(receiver, number=7)
    receiver.tunnel.take_packets()
    sender.send(packet)
    world.exchange()
    return receiver.tunnel.take_packets() == [packet]


# The way of a packet.


def test_a_handshake_then_packets(world: World) -> None:
    ours = [world.a.packet(world.b, number) for number in range(3)]
    world.a.send(*ours)
    world.exchange()
    assert world.b.tunnel.take_packets() == ours
    assert [kind for _, kind in world.kinds()] == [INITIATION, RESPONSE] + 3 * [TRANSPORT]
    theirs = [world.b.packet(world.a, number) for number in range(3)]
    world.b.send(*theirs)
    world.exchange()
    assert world.a.tunnel.take_packets() == theirs
    assert world.a.dropped == world.b.dropped == {}


def test_what_is_known_of_a_peer(world: World) -> None:
    peer = world.b.tunnel.peers[world.a.public_key]
    assert (peer.endpoint, peer.last_handshake, peer.rx_bytes) == (None, None, 0)
    connect(world)
    assert peer.endpoint == world.a.addr
    assert peer.last_handshake == world.wall_clock()
    other = world.a.tunnel.peers[world.b.public_key]
    assert peer.rx_bytes == other.tx_bytes == 148 + 112 + 32
    assert peer.tx_bytes == other.rx_bytes == 92
    assert peer.allowed_ips == (ip_network("10.0.1.0/24"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("size", "length"), [(96, 128), (97, 144), (111, 144), (1408, 1440), (1409, 1452), (1420, 1452)]
)
def test_padding(world: World, size: int, length: int) -> None:
    connect(world)
    packet = world.a.packet(world.b, size=size)
    world.a.send(packet)
    (outgoing,) = world.a.take()
    assert [len(data) for data in outgoing.data] == [length]
    world.b.receive(outgoing.data[0], world.a.addr)
    assert world.b.tunnel.take_packets() == [packet]


def test_ipv6(world: World) -> None:
    world.b.meet(world.a, allowed_ips=(ip_network("fd01::/64"),))
    packet = packets.udp(6, b"payload", source="fd01::1", destination="fd02::1")
    world.a.send(packet)
    world.exchange()
    assert world.b.tunnel.take_packets() == [packet]


def test_each_peer_gets_its_own(world: World) -> None:
    third = Side(world, 3)
    world.a.meet(third)
    third.meet(world.a)
    mixed = [world.a.packet(to, number) for number in range(5) for to in (world.b, third)]
    world.a.send(*mixed)
    world.exchange()
    assert world.b.tunnel.take_packets() == mixed[0::2]
    assert third.tunnel.take_packets() == mixed[1::2]


def test_a_batch_from_many_in_many_ways(world: World) -> None:
    """However they alternate, each peer's packets keep their order, and it is where it was last."""
    third = Side(world, 3)
    world.b.meet(third, endpoint=False, allowed_ips=(ip_network("10.0.3.0/24"),))
    third.meet(world.b)
    ours: dict[Side, list[bytes]] = {}
    messages = []
    for side in (world.a, third):
        side.send(side.packet(world.b))
        world.exchange()
        ours[side] = [side.packet(world.b, number, tos=2) for number in range(6)]
        side.send(*ours[side])
        messages.append([data for out in side.take() for data in out.data])
    world.b.tunnel.take_packets()
    ways = [(0, 1), (3, 1), (0, 1), (0, 2), (3, 2), (0, 2)]
    world.b.tunnel.datagrams_received(
        [
            Datagram(data, (f"198.51.100.{side.number}", port), None, ecn)
            for several, (ecn, port) in zip(zip(*messages, strict=True), ways, strict=True)
            for side, data in zip(ours, several, strict=True)
        ],
        world.now,
    )
    received = world.b.tunnel.take_packets()
    for side, packets_sent in ours.items():
        own = [packet for packet in received if packet[12:16] == packets_sent[0][12:16]]
        assert [packet[20:] for packet in own] == [packet[20:] for packet in packets_sent]
        assert [packet[1] & 3 for packet in own] == [2, 3, 2, 2, 3, 2]
        peer = world.b.tunnel.peers[side.public_key]
        assert peer.endpoint == (f"198.51.100.{side.number}", 2)
    assert world.b.dropped == {}


@pytest.mark.parametrize(
    "packet",
    [b"", b"\x45", bytes(40), b"\x60" + bytes(20), packets.udp(destination="10.0.9.9")],
    ids=["empty", "one byte", "zeros", "short IPv6", "to nobody"],
)
def test_for_nobody(world: World, packet: bytes) -> None:
    connect(world)
    world.a.send(packet)
    assert world.a.dropped == {"no_route": 1}
    assert world.a.take() == []


def test_a_peer_that_nobody_has_seen(world: World) -> None:
    world.b.send(world.b.packet(world.a))
    assert world.b.dropped == {"no_endpoint": 1}
    assert world.b.take() == []


@pytest.mark.parametrize("ecn", range(4))
@pytest.mark.parametrize(
    ("inner", "why"),
    [
        (b"\x45", "bad_packet"),
        (bytes(48), "bad_packet"),
        (b"\x60" + bytes(16), "bad_packet"),
        (packets.udp(payload=bytes(64))[:50], "bad_packet"),
        (b"\x45\0\0\x13" + bytes(32), "bad_packet"),
        (b"\x40" + packets.udp(source="10.0.1.1", tos=2)[1:], "bad_packet"),
        (b"\x44" + packets.udp(source="10.0.1.1", tos=2)[1:], "bad_packet"),
        (b"\x4f\2\0\x3b" + packets.udp(source="10.0.1.1", payload=bytes(40))[4:], "bad_packet"),
        (packets.udp(source="10.0.7.1"), "bad_source"),
        (packets.udp(6, source="fe80::1"), "bad_source"),
    ],
    ids=[
        *("one byte", "zeros", "short IPv6", "cut", "length below a header", "no header"),
        *("IHL of 4", "header beyond its length", "source", "source 6"),
    ],
)
def test_what_a_peer_may_not_send(world: World, inner: bytes, why: str, ecn: int) -> None:
    connect(world)
    peer = world.a.tunnel.peers[world.b.public_key]
    inside = [NO_OFFLOAD + inner, NO_OFFLOAD + world.a.packet(world.b, tos=2)]
    peer.send(inside, world.now, ecn)
    world.exchange()
    assert world.b.dropped == {why: 1}
    assert len(world.b.tunnel.take_packets()) == 1


def test_allowed_ips_of_another(world: World) -> None:
    connect(world)
    third = Side(world, 3)
    world.b.meet(third, allowed_ips=(ip_network("10.0.1.0/24"),))
    assert world.b.tunnel.peers[world.a.public_key].allowed_ips == (ip_network("fd00::/8"),)
    assert not passes(world, world.a, world.b)
    assert world.b.dropped == {"bad_source": 1}


@pytest.mark.parametrize("ecn", [1, 2, 3])
def test_congestion_marks(world: World, ecn: int) -> None:
    """RFC 6040: the mark is copied out, and one that a router made is copied in."""
    connect(world)
    plain = world.a.packet(world.b)
    marked = [world.a.packet(world.b, number, tos=ecn) for number in (1, 2)]
    world.a.send(plain, *marked)
    first, second = world.a.take()
    assert (first.ecn, len(first.data), second.ecn, len(second.data)) == (0, 1, ecn, 2)
    world.b.receive(second.data[0], world.a.addr, ecn)
    world.b.receive(second.data[1], world.a.addr, 3)
    assert world.b.tunnel.take_packets() == [marked[0], world.a.packet(world.b, 2, tos=3)]
    world.b.receive(first.data[0], world.a.addr, 3)
    assert world.b.dropped == {"congested": 1}


# Super-packets and trains.


def stream(count: int, size: int = 1360, **fields: Any) -> list[bytes]:
    """Segments of one TCP connection from the first side to the second one."""
    fields = {"source": "10.0.1.1", "destination": "10.0.2.1", **fields}
    return [
        packets.tcp(payload=bytes([n]) * size, seq=1 + n * size, identification=n, **fields)
        for n in range(count)
    ]


def carry(world: World, ecn: int = 0) -> None:
    """What the first side sends is in trains."""
    sent = world.a.tunnel.take_trains()
    assert all(addr == world.b.addr for _, _, addr, _, _ in sent)
    came = [
        DatagramTrain(data, segment, world.a.addr, None, ecn) for data, segment, _, _, _ in sent
    ]
    world.b.tunnel.trains_received(came, world.now)


def test_a_super_packet_stays_one(world: World) -> None:
    connect(world)
    segments = stream(40)
    frames = GROTable().coalesce(segments)
    assert len(frames) == 1
    world.a.tunnel.frames_from_device(frames, world.now)
    carry(world)
    assert world.b.tunnel.take_frames() == frames
    assert world.b.dropped == {}
    assert world.b.tunnel.peers[world.a.public_key].rx_bytes > 40 * 1400


def test_super_packets_wait_for_a_session_as_packets(world: World) -> None:
    segments = stream(40)
    world.a.tunnel.frames_from_device(GROTable().coalesce(segments), world.now)
    assert len(world.a.tunnel.peers[world.b.public_key]._queue) == 40
    world.exchange()
    assert world.b.tunnel.take_packets() == segments


def test_a_super_packet_to_nobody(world: World) -> None:
    connect(world)
    frames = GROTable().coalesce(stream(40, destination="10.0.9.9"))
    world.a.tunnel.frames_from_device(frames, world.now)
    assert world.a.dropped == {"no_route": 40}


def test_a_device_without_the_offload(world: World) -> None:
    connect(world)
    world.b.tunnel.set_offload(False, True)
    segments = stream(40)
    world.a.tunnel.frames_from_device(GROTable().coalesce(segments), world.now)
    carry(world)
    assert world.b.tunnel.take_frames() == [NO_OFFLOAD + segment for segment in segments]


@pytest.mark.parametrize("asked", [False, True])
def test_udp_without_checksums_is_coalesced_on_request(world: World, asked: bool) -> None:
    connect(world)
    world.b.tunnel.set_offload(True, True, asked)
    ends: dict[str, Any] = {"source": "10.0.1.1", "destination": "10.0.2.1"}
    datagrams = [packets.unsummed(packets.udp(4, bytes([n]) * 100, **ends)) for n in range(5)]
    world.a.tunnel.frames_from_device([NO_OFFLOAD + each for each in datagrams], world.now)
    carry(world)
    assert len(world.b.tunnel.take_frames()) == (1 if asked else 5)


def test_malformed_frames_cost_themselves_alone(world: World) -> None:
    connect(world)
    segments = stream(3)
    (frame,) = GROTable().coalesce(segments)
    world.a.tunnel.frames_from_device([frame[:-1], frame, b"", frame[:5]], world.now)
    assert world.a.dropped == {"no_route": 3}
    carry(world)
    assert world.b.tunnel.take_packets() == segments


def test_a_super_packet_from_an_address_of_another(world: World) -> None:
    connect(world)
    wrong, good = (
        GROTable().coalesce(stream(40, source=source))[0] for source in ("10.0.7.1", "10.0.1.1")
    )
    world.a.tunnel.frames_from_device([wrong, good], world.now)
    carry(world)
    assert world.b.dropped == {"bad_source": 40}
    assert world.b.tunnel.take_frames() == [good]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("inner", "outer", "then"), [(0, 3, None), (2, 3, 3), (2, 1, 1), (1, 1, 1)]
)
def test_marks_of_super_packets(
    world: World, version: int, inner: int, outer: int, then: int | None
) -> None:
    connect(world)
    ends: dict[str, Any] = {"source": "fd00::1", "destination": "fd00::2"} if version == 6 else {}

    def segments(tos: int) -> list[bytes]:
        return stream(40, version=version, tos=tos, **ends)

    world.a.tunnel.frames_from_device(GROTable().coalesce(segments(inner)), world.now)
    carry(world, outer)
    if then is None:
        assert world.b.dropped == {"congested": 40}
    else:
        assert world.b.tunnel.take_frames() == GROTable().coalesce(segments(then))


def test_a_train_of_several_sessions(world: World) -> None:
    """Each datagram finds its own, and what is of none is counted."""
    connect(world)
    old, new = stream(2, 100), stream(3, 100, sport=7)
    world.a.send(*old)
    messages = world.a.take()[0].data
    world.sleep(5)
    world.a.tunnel.peers[world.b.public_key].initiate(world.now)
    world.exchange()
    world.a.send(*new)
    messages += world.a.take()[0].data
    messages.append(TRANSPORT + bytes(len(messages[0]) - 4))
    assert len({data[:8] for data in messages}) == 3
    for order in (messages, messages[::-1]):
        world.b.tunnel.take_packets()
        world.b.receive_train(order, world.a.addr, 0)
        if order is messages:
            received = world.b.tunnel.take_packets()
            assert sorted(received) == sorted(old + new)
            assert world.b.dropped == {"unknown_index": 1}
    assert world.b.dropped == {"unknown_index": 2, "replayed": 5}


def test_a_train_for_a_session_that_is_too_old(world: World) -> None:
    connect(world)
    segments = stream(40)
    world.a.tunnel.frames_from_device(GROTable().coalesce(segments), world.now)
    world.now += 180
    carry(world)
    assert world.b.dropped == {"expired": 40}


# Handshakes.


def test_who_answers_waits_for_the_first_message(world: World) -> None:
    world.a.send(world.a.packet(world.b))
    world.deliver(world.a)
    packet = world.b.packet(world.a)
    world.b.send(packet)
    assert [[len(each) for each in out.data] for out in world.b.take()] == [[92]]


def test_a_handshake_without_packets_ends_with_a_keepalive(world: World) -> None:
    world.a.tunnel.peers[world.b.public_key].initiate(world.now)
    world.exchange()
    assert world.kinds() == [(1, INITIATION), (2, RESPONSE), (1, TRANSPORT)]
    assert world.b.tunnel.take_packets() == []
    assert passes(world, world.b, world.a)


def test_both_begin_at_once(world: World) -> None:
    world.b.meet(world.a)
    world.a.send(world.a.packet(world.b))
    world.b.send(world.b.packet(world.a))
    initiations = world.a.take()[0].data + world.b.take()[0].data
    world.b.receive(initiations[0], world.a.addr)
    world.a.receive(initiations[1], world.b.addr)
    world.exchange()
    assert len(world.a.tunnel.take_packets()) == len(world.b.tunnel.take_packets()) == 1
    assert passes(world, world.a, world.b)
    assert passes(world, world.b, world.a)


@pytest.mark.parametrize(("theirs", "works"), [(b"\x01" * 32, True), (b"\x02" * 32, False)])
def test_preshared_key(world: World, theirs: bytes, works: bool) -> None:
    world.a.meet(world.b, preshared_key=b"\x01" * 32)
    world.b.meet(world.a, preshared_key=theirs)
    assert passes(world, world.a, world.b) is works
    assert world.a.dropped == ({} if works else {"bad_handshake": 1})


def test_a_stranger(world: World) -> None:
    stranger = Side(world, 3)
    stranger.meet(world.b)
    stranger.send(stranger.packet(world.b))
    world.b.receive(stranger.take()[0].data[0], stranger.addr)
    assert world.b.dropped == {"unknown_peer": 1}
    assert world.b.take() == []


def test_a_peer_restarted(world: World) -> None:
    connect(world)
    world.sleep(20)
    world.a.start()
    world.a.meet(world.b)
    assert passes(world, world.a, world.b)
    assert passes(world, world.b, world.a)


def test_an_initiation_again(world: World) -> None:
    world.a.send(world.a.packet(world.b))
    (initiation,) = world.a.take()[0].data
    world.b.receive(initiation, world.a.addr)
    assert len(world.b.take()) == 1
    world.now += 10
    world.b.receive(initiation, ("203.0.113.1", 1))
    assert world.b.dropped == {"replayed_handshake": 1}
    assert world.b.take() == []
    assert world.b.tunnel.peers[world.a.public_key].endpoint == world.a.addr


def test_initiations_in_a_row(world: World) -> None:
    """A peer is answered fifty times a second."""
    peer = world.a.tunnel.peers[world.b.public_key]
    for step in (0.0, 0.01, 0.01):
        world.now += step
        peer._handshake_sent = 0.0
        peer.initiate(world.now)
    for outgoing in world.a.take():
        world.b.receive(outgoing.data[0], world.a.addr)
    assert world.b.dropped == {"flooded": 2}


def test_timestamps_grow_whatever_the_clock_says(world: World) -> None:
    connect(world)
    world.wall_clock = lambda: 0.0  # type: ignore[method-assign]
    world.a.tunnel._interface.wall_clock = world.wall_clock
    world.sleep(130)
    assert passes(world, world.a, world.b)
    assert (1, INITIATION) in world.kinds()
    assert world.b.dropped == {}


def test_a_timestamp_is_tai64n(world: World) -> None:
    """Seconds from 1970 on, behind 2**62 and the 10 leap seconds of then."""
    seconds = 0x6553F10A  # whose bits an addition carries on
    world.a.tunnel._interface.wall_clock = lambda: seconds + 0.5
    connect(world)
    timestamp = world.b.tunnel.peers[world.a.public_key].timestamp
    assert int.from_bytes(timestamp[:8], "big") == 2**62 + 10 + seconds
    assert 484_000_000 < int.from_bytes(timestamp[8:], "big") <= 500_000_000


def test_a_response_for_nothing(world: World) -> None:
    world.a.send(world.a.packet(world.b))
    world.deliver(world.a)
    (response,) = world.b.take()[0].data
    world.a.receive(response, world.b.addr)
    world.a.receive(response, world.b.addr)
    assert world.a.dropped == {"bad_handshake": 1}  # the index is the session's by now
    world.a.tunnel.remove_peer(world.b.public_key)
    world.a.receive(response, world.b.addr)
    assert world.a.dropped == {"bad_handshake": 1, "unknown_index": 1}


def test_a_public_key_that_nobody_can_have(world: World) -> None:
    peer = world.a.tunnel.set_peer(PeerConfig(bytes(32)), world.now, world.b.addr)
    peer.initiate(world.now)
    assert world.a.take() == []


def test_no_private_key(world: World) -> None:
    world.b.tunnel.set_private_key(bytes(32))
    assert world.b.tunnel.public_key == bytes(32)
    world.a.send(world.a.packet(world.b))
    world.exchange()
    assert world.b.dropped == {"bad_mac1": 1}
    world.b.meet(world.a)
    world.b.send(world.b.packet(world.a))
    assert world.b.take() == []


def test_another_private_key(world: World) -> None:
    connect(world)
    world.sleep(6)
    key = generate_private_key()
    world.a.tunnel.set_private_key(key)
    assert (world.a.tunnel.private_key, world.a.tunnel.public_key) == (key, public_key_of(key))
    world.a.send(world.a.packet(world.b))
    world.exchange()
    assert world.b.dropped == {"unknown_peer": 1}
    world.a.tunnel.set_private_key(world.b.private_key)
    assert world.a.tunnel.peers == {}


def test_a_removed_peer(world: World) -> None:
    connect(world)
    world.b.tunnel.remove_peer(world.a.public_key)
    assert not passes(world, world.a, world.b)
    assert world.b.dropped == {"unknown_index": 1}
    with pytest.raises(KeyError):
        world.b.tunnel.remove_peer(world.a.public_key)
    assert not world.b.tunnel._interface.indices
    assert not world.b.tunnel._interface.sessions


def test_logged_keys() -> None:
    lines: list[str] = []
    world = World()
    world.a.tunnel = Tunnel(world.a.private_key, keylog=lines.append)
    world.a.meet(world.b)
    world.a.send(world.a.packet(world.b))
    assert [line.partition(" = ")[0] for line in lines] == [
        "LOCAL_STATIC_PRIVATE_KEY",
        "REMOTE_STATIC_PUBLIC_KEY",
        "LOCAL_EPHEMERAL_PRIVATE_KEY",
        "PRESHARED_KEY",
    ]


# Timers (section 6 of the paper).


def test_an_answer_at_least_every_ten_seconds(world: World) -> None:
    connect(world)
    start = world.now
    world.sleep(9.9)
    assert world.kinds() == []
    world.sleep(100)
    assert [(when - start, number) for when, number, _ in world.sent] == [(10.0, 2)]


def test_further_packets_are_answered_ten_seconds_later(world: World) -> None:
    connect(world)
    start = world.now
    world.sleep(5)
    world.a.send(world.a.packet(world.b))
    world.exchange()
    world.sleep(100)
    assert [when - start for when, number, _ in world.sent if number == 2] == [10.0, 20.0]


def test_silence_makes_a_new_handshake(world: World) -> None:
    connect(world)
    world.sleep(50)
    start = world.now
    world.lost = lambda data: True
    world.a.send(world.a.packet(world.b))
    world.sleep(16)
    (when,) = (when for when, _, kind in world.sent if kind == INITIATION)
    assert 15 < when - start <= 15 + JITTER


def test_keepalives_are_not_answered(world: World) -> None:
    connect(world)
    world.sleep(50)
    world.sent.clear()
    world.a.tunnel.peers[world.b.public_key].keepalive(world.now)
    world.exchange()
    world.sleep(100)
    assert world.kinds() == [(1, TRANSPORT)]


@pytest.mark.parametrize("seconds", [5, 25])
def test_persistent_keepalive(world: World, seconds: int) -> None:
    world.a.meet(world.b, persistent_keepalive=seconds)
    world.exchange()
    assert world.kinds() == [(1, INITIATION), (2, RESPONSE), (1, TRANSPORT)]
    start = world.now
    world.sent.clear()
    world.sleep(100)
    times = [when - start for when, number, _ in world.sent if number == 1]
    assert times == [float(when) for when in range(seconds, 101, seconds)]
    world.a.meet(world.b)
    world.sent.clear()
    world.sleep(100)
    assert world.kinds() == []


def test_a_persistent_keepalive_goes_on_whatever_is_lost(world: World) -> None:
    world.b.meet(world.a, endpoint=False, persistent_keepalive=2)
    world.lost = lambda data: data[:4] == TRANSPORT  # the responder cannot send yet
    world.a.tunnel.peers[world.b.public_key].initiate(world.now)
    world.exchange()
    world.sent.clear()
    world.sleep(8)
    assert INITIATION in [kind for number, kind in world.kinds() if number == 2]


def test_a_persistent_keepalive_keeps_the_session_fresh(world: World) -> None:
    world.a.meet(world.b, persistent_keepalive=25)
    world.exchange()
    world.sleep(600)
    handshakes = [when - 1000 for when, _, kind in world.sent if kind == INITIATION]
    assert handshakes == [0.0, 125.0, 250.0, 375.0, 500.0]


@pytest.mark.parametrize("others", [0, 200])
def test_a_tick_visits_nobody_else(world: World, others: int) -> None:
    """What is due for one peer costs the same however many there are."""
    connect(world)
    for _ in range(others):  # they try every 5 s
        config = PeerConfig(generate_private_key(), persistent_keepalive=25)
        world.a.tunnel.set_peer(config, world.now, world.b.addr)
    world.a.take()
    peer = world.a.meet(world.b, persistent_keepalive=1)
    with mock.patch.object(Peer, "tick", autospec=True, side_effect=Peer.tick) as tick:
        world.sleep(4)
    assert tick.mock_calls == [mock.call(peer, world.now - 3 + n) for n in range(4)]


def test_who_began_begins_again_after_two_minutes(world: World) -> None:
    connect(world)
    world.sleep(119)
    assert passes(world, world.a, world.b)
    world.sleep(2)
    world.sent.clear()
    assert passes(world, world.b, world.a)  # the responder does not
    assert world.kinds() == [(2, TRANSPORT)]
    assert passes(world, world.a, world.b)
    assert [kind for _, kind in world.kinds()][1:4] == [TRANSPORT, INITIATION, RESPONSE]


def test_and_after_many_messages(world: World) -> None:
    connect(world)
    world.sleep(10)
    session = world.a.tunnel.peers[world.b.public_key]._current
    assert session is not None
    session.sent = REKEY_AFTER_MESSAGES - 2
    assert passes(world, world.a, world.b)
    assert (1, INITIATION) not in world.kinds()
    assert passes(world, world.a, world.b)
    assert passes(world, world.a, world.b)
    assert (1, INITIATION) in world.kinds()


def test_no_counter_is_used_twice(world: World) -> None:
    connect(world)
    session = world.a.tunnel.peers[world.b.public_key]._current
    assert session is not None
    session.sent = REJECT_AFTER_MESSAGES
    world.sleep(10)
    world.sent.clear()
    assert passes(world, world.a, world.b)
    assert world.kinds()[:3] == [(1, INITIATION), (2, RESPONSE), (1, TRANSPORT)]


def test_who_only_receives_begins_again_in_the_last_minute(world: World) -> None:
    connect(world)
    for age in range(10, 161, 10):
        world.a.tunnel.peers[world.b.public_key]._keepalive_due = math.inf  # it says nothing itself
        world.now = 1000.0 + age
        assert passes(world, world.b, world.a)
    assert {number for number, _ in world.kinds()} == {2}
    world.now = 1165.0
    world.sent.clear()
    assert passes(world, world.b, world.a)
    assert passes(world, world.b, world.a)
    assert [kind for _, kind in world.kinds()].count(INITIATION) == 1
    assert world.kinds()[:3] == [(2, TRANSPORT), (1, INITIATION), (2, RESPONSE)]


def test_and_does_so_once(world: World) -> None:
    """What it receives after that leaves the trying again to the timer, which gives up."""
    connect(world)
    world.sleep(60)
    world.lost = lambda data: data[:4] == INITIATION
    for now in (1165.0, 1170.0, 1175.0):
        world.now = now
        assert passes(world, world.b, world.a)
    assert [kind for _, kind in world.kinds()].count(INITIATION) == 1


def test_messages_on_their_way_during_a_rekey(world: World) -> None:
    connect(world)
    world.sleep(30)
    late = world.a.packet(world.b, 1)
    world.a.send(late)
    (outgoing,) = world.a.take()
    world.a.tunnel.peers[world.b.public_key].initiate(world.now)
    world.exchange()
    world.b.receive(outgoing.data[0], world.a.addr)
    assert world.b.tunnel.take_packets() == [late]


def test_three_minutes_are_the_end_of_a_session(world: World) -> None:
    connect(world)
    world.a.send(world.a.packet(world.b))
    (outgoing,) = world.a.take()
    world.now += 180
    world.b.receive(outgoing.data[0], world.a.addr)
    assert world.b.dropped == {"expired": 1}
    world.b.send(world.b.packet(world.a))
    assert [out.data[0][:4] for out in world.b.take()] == [INITIATION]


def test_everything_is_forgotten_after_nine(world: World) -> None:
    connect(world)
    world.a.send(world.a.packet(world.b))
    (outgoing,) = world.a.take()
    world.sleep(541)
    for side in (world.a, world.b):
        assert not side.tunnel._interface.sessions
        assert not side.tunnel._interface.indices
    world.b.receive(outgoing.data[0], world.a.addr)
    assert world.b.dropped["unknown_index"] == 1


def test_an_unanswered_handshake_is_tried_for_a_minute_and_a_half(world: World) -> None:
    world.lost = lambda data: True
    world.a.send(world.a.packet(world.b), world.a.packet(world.b))
    world.exchange()
    world.sleep(300)
    times = [when for when, _, _ in world.sent]
    assert len(times) == 19
    steps = [round(later - when, 6) for when, later in pairwise(times)]
    assert all(5 <= step <= 5 + JITTER for step in steps)
    assert len(set(steps)) > 1
    assert world.a.dropped == {"no_session": 2}
    world.lost = lambda data: False
    assert passes(world, world.a, world.b)


@pytest.mark.parametrize("every", [1.0, 300.0], ids=["packets each second", "one packet"])
def test_each_initiation_without_an_answer_is_told(world: World, every: float) -> None:
    """Whether it is sent again for its timer or for a packet that comes just before."""
    told: list[float] = []
    world.a.tunnel.on_unanswered(lambda peer: told.append(world.now))
    world.lost = lambda data: True
    end = world.now + 60
    while world.now < end:
        world.a.send(world.a.packet(world.b))
        world.exchange()
        world.sleep(min(every, 60.0))
    _, *others = [when for when, _, kind in world.sent if kind == INITIATION]
    assert told == others
    assert len(told) >= 11
    world.lost = lambda data: False
    connected = world.now + 5.4
    world.sleep(5.4)
    told.clear()
    assert passes(world, world.a, world.b)
    world.sleep(120)
    assert passes(world, world.a, world.b)  # it begins a new session
    assert world.kinds(connected).count((1, INITIATION)) == 1
    assert told == []


def test_what_began_a_handshake_in_vain_is_forgotten(world: World) -> None:
    world.lost = lambda data: True
    world.a.send(world.a.packet(world.b))
    world.sleep(100)
    assert len(world.a.tunnel._interface.indices) == 1
    world.sleep(541)
    assert not world.a.tunnel._interface.indices


def test_who_has_just_answered_begins_no_handshake_of_its_own(world: World) -> None:
    world.lost = lambda data: data[:4] == RESPONSE
    world.a.send(world.a.packet(world.b))
    world.exchange()
    world.b.send(world.b.packet(world.a))
    assert world.b.take() == []
    world.now += 5
    world.b.send(world.b.packet(world.a))
    assert [out.data[0][:4] for out in world.b.take()] == [INITIATION]


def test_what_waits_is_sent_when_the_other_side_begins(world: World) -> None:
    world.b.meet(world.a)
    world.lost = lambda data: True
    packet = world.b.packet(world.a)
    world.b.send(packet)
    world.exchange()
    world.lost = lambda data: False
    world.now += 1
    world.a.tunnel.peers[world.b.public_key].initiate(world.now)
    world.exchange()
    assert world.a.tunnel.take_packets() == [packet]


def _begins(kind: bytes, data: bytes) -> bool:
    return data[:4] == kind


def test_sessions_that_are_replaced_are_forgotten(world: World) -> None:
    """Those of answers that nobody used, and of handshakes that crossed."""
    world.b.meet(world.a)
    for lost in (b"", RESPONSE, RESPONSE, b"", RESPONSE, b""):
        world.now += 6
        world.lost = partial(_begins, lost)
        for side in world.sides:
            (peer,) = side.tunnel.peers.values()
            peer.initiate(world.now)
        world.exchange()
        for side in world.sides:
            (peer,) = side.tunnel.peers.values()
            interface = side.tunnel._interface
            known = {session for _, session in interface.sessions.values()}
            assert known == {peer._previous, peer._current, peer._next} - {None}
            assert len(interface.indices) == len(known) + (peer._handshake is not None)


@pytest.mark.parametrize("why", ["silence", "no answer", "another endpoint", "an error"])
def test_where_it_was_heard_is_not_where_to_send_from_for_ever(world: World, why: str) -> None:
    """The address of ours may be gone: then the system chooses another one."""
    connect(world)
    peer = world.b.tunnel.peers[world.a.public_key]
    world.b.send(world.b.packet(world.a))
    (sent,) = world.b.take()
    assert sent.local == "198.51.100.1"
    if why == "another endpoint":
        peer.set_endpoint(world.a.addr)
    elif why == "an error":
        world.b.tunnel.forget_sources()
    elif why == "no answer":
        peer.initiate(world.now + 5)
        (sent,) = world.b.take()
        assert sent.local == "198.51.100.1"
        world.b.tunnel.tick(world.now + 11)
    else:
        world.b.tunnel.tick(world.now + 16)
    world.now += 30
    world.b.send(world.b.packet(world.a))
    assert {out.local for out in world.b.take()} == {None}


def test_sessions_are_renewed_where_there_are_any(world: World) -> None:
    world.a.tunnel.renew_sessions(world.now)
    assert world.a.take() == []
    connect(world)
    peer = world.b.tunnel.peers[world.a.public_key]
    before = peer._current
    world.now += 10
    world.b.tunnel.renew_sessions(world.now)
    assert peer._local is None  # the address of ours may have gone
    world.exchange()
    assert world.kinds() == [(2, INITIATION), (1, RESPONSE), (2, TRANSPORT)]
    assert peer._current is not before
    assert passes(world, world.a, world.b)
    assert passes(world, world.b, world.a)
    assert world.a.dropped == world.b.dropped == {}


def test_what_waits_is_bounded(world: World) -> None:
    waiting = [world.a.packet(world.b, number) for number in range(200)]
    for packet in waiting:
        world.a.send(packet)
    assert world.a.dropped == {"no_session": 72}
    world.exchange()
    assert world.b.tunnel.take_packets() == waiting[72:]


def test_what_waits_for_a_peer_that_goes(world: World) -> None:
    world.a.send(*[world.a.packet(world.b)] * 3)
    world.a.tunnel.remove_peer(world.b.public_key)
    assert world.a.dropped == {"no_session": 3}


def test_without_a_key_nothing_waits(world: World) -> None:
    world.a.send(*[world.a.packet(world.b)] * 3)
    world.a.tunnel.set_private_key(bytes(32))
    assert world.a.dropped == {"no_session": 3}
    world.a.send(*[world.a.packet(world.b)] * 2)
    assert world.a.dropped == {"no_session": 5}
    world.a.tunnel.set_private_key(world.a.private_key)
    world.a.take()
    world.now += 6
    assert passes(world, world.a, world.b)


def test_another_key_keeps_what_waits(world: World) -> None:
    packet = world.a.packet(world.b)
    world.a.send(packet)
    world.a.tunnel.set_private_key(generate_private_key())
    assert world.a.dropped == {}
    world.a.tunnel.set_private_key(world.a.private_key)
    world.a.take()
    world.sleep(6)
    assert world.b.tunnel.take_packets() == [packet]


def test_for_a_key_that_nobody_has(world: World) -> None:
    """Its point is of low order."""
    world.a.tunnel.set_peer(
        PeerConfig(bytes(32), allowed_ips=(ip_network("10.0.9.0/24"),)), world.now, world.b.addr
    )
    world.a.send(packets.udp(destination="10.0.9.1"))
    assert world.a.dropped == {"no_session": 1}
    assert world.a.take() == []


def test_a_keepalive_that_waits_is_no_packet(world: World) -> None:
    world.lost = lambda data: True
    world.a.meet(world.b, persistent_keepalive=25)
    world.sleep(300)
    world.a.tunnel.remove_peer(world.b.public_key)
    assert world.a.dropped == {}


# A loop.


def wrapped(sent: Sent, number: int = 0, **fields: Any) -> bytes:
    """A datagram of a tunnel, as it comes out of the device when its route leads there."""
    version = 6 if ":" in sent.addr[0] else 4
    if version == 4:
        fields.setdefault("fragment", 0)  # so that some with the same ID are not coalesced
    fields = {"destination": sent.addr[0], "sport": 51820, "dport": sent.addr[1], **fields}
    return packets.udp(version, sent.data[number], **fields)


@pytest.mark.parametrize("host", ["192.0.2.2", "2001:db8::2", "fe80::2%eth0"])
def test_a_datagram_of_our_own(world: World, host: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is not sealed again and again; all else that goes to that address is."""
    everything = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    peer = world.a.meet(world.b, endpoint=False, allowed_ips=everything)
    peer.set_endpoint((host, 51820))
    plain = host.partition("%")[0]
    peer.initiate(world.now)
    (initiation,) = world.a.take()
    looped = wrapped(initiation._replace(addr=(plain, 51820)))
    world.a.send(looped, looped)
    assert world.a.dropped == {"looped": 2}
    world.a.send(looped)
    assert caplog.text.count("route leads into the tunnel") == 1
    assert f"a datagram to the endpoint {host} came out" in caplog.text
    assert plain in caplog.text
    stranger = Side(world, 3)
    stranger.meet(world.b)
    stranger.send(stranger.packet(world.b))
    others = wrapped(stranger.take()[0]._replace(addr=(plain, 51820)))
    ping = packets.udp(6 if ":" in host else 4, destination=plain, payload=b"ping")
    world.a.send(looped, others, ping)
    assert world.a.dropped == {"looped": 4}
    assert list(peer._queue) == [others, ping]


def test_datagrams_of_a_session_of_our_own(world: World) -> None:
    """The route changed while the session was up."""
    world.a.meet(world.b, allowed_ips=(ip_network("0.0.0.0/0"),))
    connect(world)
    world.a.send(world.a.packet(world.b), world.a.packet(world.b, 1))
    (sent,) = world.a.take()
    fragment = wrapped(sent, fragment=100)
    options = wrapped(sent, 1, options=bytes(8))
    world.a.send(wrapped(sent), options, fragment)
    assert world.a.dropped == {"looped": 2}
    assert len(world.a.take()[0].data) == 1
    world.b.tunnel.packets_from_device([wrapped(sent)], world.now)  # another's
    assert world.b.dropped == {"no_route": 1}


def test_only_where_peers_are_is_looked_for_loops(world: World) -> None:
    def contacted(side: Side) -> list[str]:
        return [str(ip_address(each)) for each in side.tunnel._interface.contacted]

    connect(world)
    assert (contacted(world.a), contacted(world.b)) == (["192.0.2.2"], ["192.0.2.1"])
    world.sleep(20)
    world.now += 110
    world.a.addr = ("2001:db8::1", 7)
    assert passes(world, world.a, world.b)
    assert passes(world, world.a, world.b)
    assert contacted(world.b) == ["2001:db8::1"]
    third = Side(world, 3)
    third.addr = world.a.addr
    world.b.meet(third).initiate(world.now)
    world.b.tunnel.remove_peer(world.a.public_key)
    assert contacted(world.b) == ["2001:db8::1"]
    world.b.tunnel.remove_peer(third.public_key)
    assert contacted(world.b) == []


# The network.


def test_roaming(world: World) -> None:
    connect(world)
    world.a.addr = ("203.0.113.9", 4000)
    world.a.send(world.a.packet(world.b))
    world.exchange()
    assert passes(world, world.b, world.a)
    world.b.send(world.b.packet(world.a))
    (outgoing,) = world.b.take()
    assert (outgoing.addr, outgoing.local) == (world.a.addr, "198.51.100.1")


def test_what_is_not_authentic_moves_nobody(world: World) -> None:
    connect(world)
    world.a.send(world.a.packet(world.b))
    (data,) = world.a.take()[0].data
    peer = world.b.tunnel.peers[world.a.public_key]
    world.b.receive(data[:-1] + bytes([data[-1] ^ 1]), ("203.0.113.9", 1))
    assert (world.b.dropped, peer.endpoint) == ({"forged": 1}, world.a.addr)
    world.b.receive(data, world.a.addr)
    world.b.receive(data, ("203.0.113.9", 1))
    assert (world.b.dropped, peer.endpoint) == ({"forged": 1, "replayed": 1}, world.a.addr)


@pytest.mark.parametrize("size", [0, 3, 4, 8, 15, 16, 31])
@pytest.mark.parametrize("kind", [INITIATION, RESPONSE, COOKIE_REPLY, TRANSPORT, b"\x05\0\0\0"])
def test_too_short(world: World, kind: bytes, size: int) -> None:
    connect(world)
    session = next(iter(world.b.tunnel._interface.sessions))
    for begin in (kind, session):
        world.b.receive((begin + bytes(32))[:size], world.a.addr)
    assert sum(world.b.dropped.values()) == 2
    assert passes(world, world.a, world.b)


@pytest.mark.parametrize("kind", [INITIATION, RESPONSE, COOKIE_REPLY])
def test_too_long(world: World, kind: bytes) -> None:
    world.b.receive(kind + bytes(1000), world.a.addr)
    assert world.b.dropped == {"malformed": 1}


def test_reserved_bytes_are_zero(world: World) -> None:
    world.b.receive(b"\x01\0\0\x01" + bytes(144), world.a.addr)
    assert world.b.dropped == {"malformed": 1}


# Under load.


@pytest.fixture
def load(world: World) -> None:
    """No handshake is worked on unasked."""
    world.b.tunnel._unproven = TokenBucket(0, 0)


def test_many_initiations_are_load(world: World) -> None:
    stranger = Side(world, 3)
    stranger.meet(world.b)
    stranger.send(stranger.packet(world.b))
    (initiation,) = stranger.take()[0].data
    for _ in range(HANDSHAKE_BURST + 1):
        world.b.receive(initiation, stranger.addr)
    assert world.b.dropped == {"unknown_peer": HANDSHAKE_BURST, "unproven": 1}


@pytest.mark.usefixtures("load")
def test_a_cookie_under_load(world: World) -> None:
    packet = world.a.packet(world.b)
    world.a.send(packet)
    world.exchange()
    assert world.kinds() == [(1, INITIATION), (2, COOKIE_REPLY)]
    assert world.b.dropped == {"unproven": 1}
    world.sleep(6)
    assert world.kinds()[2:] == [(1, INITIATION), (2, RESPONSE), (1, TRANSPORT)]
    assert world.b.dropped == {"unproven": 1}
    assert world.b.tunnel.take_packets() == [packet]


@pytest.mark.usefixtures("load")
def test_a_cookie_is_of_no_use_elsewhere(world: World) -> None:
    world.a.send(world.a.packet(world.b))
    world.exchange()
    world.a.addr = ("203.0.113.9", 51820)
    world.sleep(6)
    assert world.b.dropped == {"unproven": 2}


def test_sessions_do_not_feel_the_load(world: World, request: pytest.FixtureRequest) -> None:
    connect(world)
    request.getfixturevalue("load")
    assert passes(world, world.a, world.b)
    assert passes(world, world.b, world.a)


@pytest.mark.usefixtures("load")
def test_cookies_are_rationed(world: World) -> None:
    world.a.send(world.a.packet(world.b))
    (initiation,) = world.a.take()[0].data
    for _ in range(2 * COOKIE_REST):
        world.b.receive(initiation, world.a.addr)
    assert len(world.b.take()) == COOKIE_REST + SOURCE_BURST
    world.b.receive(initiation, ("198.51.100.7", 1))
    assert len(world.b.take()) == 1
    assert world.b.dropped == {"unproven": 2 * COOKIE_REST + 1}


@pytest.mark.usefixtures("load")
def test_a_proven_source_has_its_share(world: World) -> None:
    peer = world.a.tunnel.peers[world.b.public_key]
    peer.initiate(world.now)
    world.exchange()
    world.now += 5
    peer.initiate(world.now)
    (initiation,) = world.a.take()[0].data
    for _ in range(8):
        world.b.receive(initiation, world.a.addr)
    assert world.b.dropped == {"unproven": 1, "replayed_handshake": 4, "flooded": 3}


def test_a_cookie_for_nothing(world: World) -> None:
    connect(world)
    (index, *_) = world.a.tunnel._interface.indices
    world.a.receive(CookieReply(index, bytes(24), bytes(32)).pack(), world.b.addr)
    world.a.receive(CookieReply(index ^ 1, bytes(24), bytes(32)).pack(), world.b.addr)
    assert world.a.dropped == {"bad_cookie": 1, "unknown_index": 1}


# Whatever happens.


@given(st.data())
def test_a_bad_network(data: st.DataObject) -> None:
    """Reordered, lost, duplicated: no packet comes twice or changed, and later all is well."""
    world = World()
    world.a.meet(world.b)
    world.b.meet(world.a, endpoint=False)
    under_way: list[tuple[Side, bytes, SocketAddress]] = []
    sent: dict[Side, list[bytes]] = {world.a: [], world.b: []}
    got: dict[Side, list[bytes]] = {world.a: [], world.b: []}
    others = {world.a: world.b, world.b: world.a}
    for _ in range(data.draw(st.integers(1, 30), "steps")):
        side = data.draw(st.sampled_from([world.a, world.b]), "side")
        for _ in range(data.draw(st.integers(0, 3), "packets")):
            packet = side.packet(others[side], len(sent[side]), size=40)
            sent[side].append(packet)
            side.send(packet)
        for outgoing in side.take():
            under_way += [(others[side], each, side.addr) for each in outgoing.data]
        for _ in range(data.draw(st.integers(0, 3), "deliveries")):
            if under_way:
                index = data.draw(st.integers(0, len(under_way) - 1), "which")
                receiver, datagram, addr = under_way[index]
                receiver.receive(datagram, addr)
                got[receiver] += receiver.tunnel.take_packets()
                if data.draw(st.booleans(), "once"):
                    del under_way[index]
        if data.draw(st.booleans(), "wait"):
            world.now += data.draw(st.sampled_from([0.1, 1, 6, 12, 70, 200]), "seconds")
            side.tunnel.tick(world.now)
    for side, received in got.items():
        assert len(set(received)) == len(received)
        assert set(received) <= set(sent[others[side]])
    for sender, receiver in ((world.a, world.b), (world.b, world.a)):
        tries = 1
        while not passes(world, sender, receiver):
            # One may have a session that the other has not: it takes 15 s of silence to notice.
            world.sleep(20)
            tries += 1
            assert tries < 4


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"", INITIATION, RESPONSE, COOKIE_REPLY, TRANSPORT]),
            st.sampled_from([0, 24, 28, 56, 60, 88, 144]) | st.integers(0, 200),
            st.binary(max_size=40),
        )
    )
)
def test_any_bytes(messages: list[tuple[bytes, int, bytes]]) -> None:
    world = World()
    world.b.meet(world.a)
    for kind, size, data in messages:
        world.b.receive(kind + (data + bytes(size))[:size], world.a.addr)
    assert sum(world.b.dropped.values()) == len(messages)
    assert world.b.tunnel.take_packets() == []


@st.composite
def nearly_packets(draw: st.DrawFn) -> bytes:
    """Of any version, header length and mark, mostly as long as it says."""
    first = draw(st.sampled_from([0x40, 0x60])) | draw(st.integers(0, 15))
    body = draw(st.binary(max_size=64) | st.binary(min_size=16))
    length = len(body) + (4 if first < 0x60 else -36) + draw(st.sampled_from([0, 0, 0, 1, -16]))
    return bytes([first, draw(st.integers(0, 255))]) + (length % 2**16).to_bytes(2, "big") + body


@given(st.lists(nearly_packets(), max_size=8))
def test_any_bytes_sealed(inner: list[bytes]) -> None:
    """Whatever a peer seals, and whatever mark it gets: the batch loses no packet of others."""
    world = World()
    traitor = Side(world, 3)
    for side, network in ((world.a, "10.0.1.0/24"), (traitor, "0.0.0.0/0")):
        side.meet(world.b)
        world.b.meet(side, endpoint=False, allowed_ips=(ip_network(network),))
        side.tunnel.peers[world.b.public_key].initiate(world.now)
        world.exchange()
    for ecn in range(4):
        traitor.tunnel.peers[world.b.public_key].send(
            [NO_OFFLOAD + each for each in inner], world.now, ecn
        )
    good = world.a.packet(world.b)
    world.a.send(good)
    batch = [
        Datagram(data, side.addr, None, outgoing.ecn)
        for side in (traitor, world.a)
        for outgoing in side.take()
        for data in outgoing.data
    ]
    world.b.tunnel.datagrams_received(batch, world.now)
    *others, last = world.b.tunnel.take_packets()
    assert last == good
    assert len(others) + sum(world.b.dropped.values()) == 4 * len(inner)
