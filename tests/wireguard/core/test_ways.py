"""Random scripts drive the way in C and the one in Python: all that shows is the same."""

from __future__ import annotations

import contextlib
import dataclasses
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any

import packets
import pytest
from finalizers import collecting_within
from hypothesis import example, given
from hypothesis import strategies as st
from ways import WAYS

from aiotun import DatagramTrain
from aiotun.offload import NO_OFFLOAD, GROTable, SuperPacket
from aiotun.trains import batches, cut
from aiotun.udp import SocketAddress
from aiotun.wireguard.config import PeerConfig
from aiotun.wireguard.core.session import REJECT_AFTER_MESSAGES, REKEY_AFTER_MESSAGES
from aiotun.wireguard.core.states import Crossing, InterfaceState
from aiotun.wireguard.core.tunnel import Tunnel

pytestmark = pytest.mark.skipif("native" not in WAYS, reason="there is one way")

PEERS = 3
CENTER: SocketAddress = ("192.0.2.1", 51820)


class Side:
    def __init__(self, run: Run, number: int) -> None:
        self.addr: SocketAddress = (f"198.51.100.{number}", 1000 + number)
        self.tunnel = Tunnel(
            bytes([number + 1] * 32), random=random.Random(number), wall_clock=run.wall_clock
        )
        interface: Any = self.tunnel._interface
        if not run.native:
            interface.seal_for_peers = interface.open_from_peers = lambda objects, now: objects


class Run:
    """One script on one of the ways: a center, its peers, a network that keeps what was sent."""

    def __init__(self, native: bool) -> None:
        self.native = native
        self.now = 1000.0
        self.center = Side(self, 0)
        self.peers = [Side(self, number) for number in range(1, PEERS + 1)]
        self.seen: list[object] = []
        self.under_way: list[tuple[int, DatagramTrain]] = []
        """What peers have sent to the center, the latest last."""
        for number, peer in enumerate(self.peers):
            self.allow(number, number)
            config = PeerConfig(
                self.center.tunnel.public_key,
                allowed_ips=(ip_network("0.0.0.0/0"), ip_network("::/0")),
            )
            peer.tunnel.set_peer(config, self.now, CENTER)

    def wall_clock(self) -> float:
        return 1_700_000_000 + self.now

    # What scripts are made of.

    def allow(self, number: int, network: int, keepalive: int = 0) -> None:
        config = PeerConfig(
            self.peers[number].tunnel.public_key,
            allowed_ips=(ip_network(f"10.0.{network}.0/24"), ip_network(f"fd00:{network}::/32")),
            persistent_keepalive=keepalive,
        )
        self.center.tunnel.set_peer(config, self.now)

    def meet(self, number: int) -> None:
        """Shake hands, if there is no session."""
        self.send_in(number, [(number, 40, 0, 4)], 0, False)
        self.exchange()

    def exchange(self) -> None:
        for _ in range(4):
            self.take_out()
            for _, train in self.under_way:
                self.center.tunnel.trains_received([train], self.now)
            self.under_way.clear()

    def take_out(self) -> None:
        """What the center has for its peers reaches them; what they answer is under way."""
        outgoing = defaultdict(list)
        for data, segment, addr, local, ecn in self.center.tunnel.take_trains():
            for message in cut(data, segment):
                rest = message[4:16] if message[0] == 4 else b""
                outgoing[addr].append((local, ecn, len(message), message[:4], rest))
            for number, peer in enumerate(self.peers):
                if peer.addr == addr:
                    peer.tunnel.trains_received(
                        [DatagramTrain(data, segment, CENTER, None, ecn)], self.now
                    )
                    peer.tunnel.take_frames()
                    self.collect(number)
        incoming = defaultdict(list)
        for frame in self.center.tunnel.take_frames():
            incoming[frame[22:26]].append(frame)
        self.seen.append((dict(outgoing), dict(incoming)))

    def collect(self, number: int, ecn: int | None = None, joined: bool = True) -> None:
        peer = self.peers[number]
        for data, segment, _, _, own in peer.tunnel.take_trains():
            outer = own if ecn is None else ecn
            for each, size in [(data, segment)] if joined else [(m, 0) for m in cut(data, segment)]:
                came = DatagramTrain(each, size, peer.addr, "192.0.2.1", outer)
                self.under_way.append((number, came))

    def send_out(self, sizes: list[tuple[int, int, int, int]], joined: bool) -> None:
        made = [self.packet(to, 9, *rest) for to, *rest in sizes]
        frames = GROTable().coalesce(made) if joined else [NO_OFFLOAD + each for each in made]
        self.center.tunnel.frames_from_device(frames, self.now)

    def send_frame(self, header: bytes, packet: bytes) -> None:
        """A frame that may be malformed, and behind it others for peers."""
        frames = [NO_OFFLOAD + self.packet(1, 9, 40, ecn, 4) for ecn in (0, 2)]
        self.center.tunnel.frames_from_device(
            [header + (packet or frames[0][len(NO_OFFLOAD) :]), *frames], self.now
        )

    def send_in(
        self, number: int, sizes: list[tuple[int, int, int, int]], ecn: int, joined: bool
    ) -> None:
        """Let a peer send packets from somebody's addresses; they do not arrive yet."""
        made = [self.packet(9, source, *rest) for source, *rest in sizes]
        self.peers[number].tunnel.packets_from_device(made, self.now)
        self.collect(number, ecn or None, joined)

    def packet(self, to: int, source: int, size: int, ecn: int, version: int) -> bytes:
        own = f"10.0.{source}.1" if version == 4 else f"fd00:{source}::1"
        other = f"10.0.{to}.1" if version == 4 else f"fd00:{to}::1"
        return packets.udp(version, bytes(size), source=own, destination=other, tos=ecn)

    def arrive(self, order: random.Random, shuffled: bool, again: bool) -> None:
        trains = [train for _, train in self.under_way]
        if shuffled:
            order.shuffle(trains)
        self.center.tunnel.trains_received(trains, self.now)
        if not again:
            self.under_way.clear()

    def mix(self, number: int) -> None:
        """So much of what came, of several sessions, is joined to trains."""
        trains = [train for _, train in self.under_way]
        messages = [m for train in trains[:number] for m in cut(*train[:2])]
        made = [
            trains[0]._replace(data=b"".join(batch), segment=len(batch[0]))
            for batch in batches(messages)
        ]
        self.center.tunnel.trains_received([*made, *trains[number:]], self.now)
        self.under_way.clear()

    def forge(self, at: int) -> None:
        self.under_way = [
            (number, train._replace(data=self.flipped(train.data, at)))
            for number, train in self.under_way
        ]

    @staticmethod
    def flipped(data: bytes, at: int) -> bytes:
        at %= max(len(data), 1)
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] if data else data

    def roam(self, number: int, port: int) -> None:
        self.peers[number].addr = (self.peers[number].addr[0], port)

    def sleep(self, seconds: float) -> None:
        end = self.now + seconds
        for side in (self.center, *self.peers):
            while side.tunnel.next_deadline <= end:
                self.now = max(self.now, side.tunnel.next_deadline)
                side.tunnel.tick(self.now)
        self.now = end

    def use_up(self, number: int, left: int, limit: int) -> None:
        session = self.center.tunnel.peers[self.peers[number].tunnel.public_key]._current
        if session is not None:
            session.sent = max(session.sent, limit - left)

    def remove(self, number: int) -> None:
        self.center.tunnel.remove_peer(self.peers[number].tunnel.public_key)
        self.allow(number, number)

    def look(self) -> None:
        """Note all that shows."""
        tunnel = self.center.tunnel
        self.take_out()
        self.seen.append((dataclasses.asdict(tunnel.counters), tunnel.next_deadline))
        for peer in tunnel.peers.values():
            session = peer._current
            self.seen.append(
                [
                    (peer.endpoint, peer._local, peer.rx_bytes, peer.tx_bytes),
                    (peer._silence_due, peer._keepalive_due, peer._persistent_due, peer.visit),
                    (peer._another_keepalive, peer._last_minute, peer._retry_due, peer._patience),
                    session and (session.sent, session.created, session.index),
                    len(peer._queue),
                ]
            )


numbers = st.integers(0, PEERS - 1)
sizes = st.lists(
    st.tuples(
        st.integers(0, PEERS),
        st.sampled_from([0, 1, 40, 100, 100, 1390]),
        st.integers(0, 3),
        st.sampled_from([4, 4, 6]),
    ),
    min_size=1,
    max_size=6,
)
ecn = st.integers(0, 3)
actions = st.one_of(
    st.tuples(st.just("allow"), numbers, numbers, st.sampled_from([0, 0, 25])),
    st.tuples(st.just("meet"), numbers),
    st.tuples(st.just("exchange")),
    st.tuples(st.just("send_out"), sizes, st.booleans()),
    st.tuples(
        st.just("send_frame"),
        st.sampled_from([NO_OFFLOAD, b"\0\1" + bytes(8)]) | st.binary(max_size=10),
        st.just(b"") | st.binary(max_size=60),
    ),
    st.tuples(st.just("send_in"), numbers, sizes, ecn, st.booleans()),
    st.tuples(st.just("send_in"), numbers, sizes, ecn, st.booleans()),
    st.tuples(st.just("arrive"), st.integers(0, 9), st.booleans(), st.booleans()),
    st.tuples(st.just("arrive"), st.integers(0, 9), st.booleans(), st.booleans()),
    st.tuples(st.just("mix"), st.integers(0, 4)),
    st.tuples(st.just("forge"), st.integers(0, 60)),
    st.tuples(st.just("roam"), numbers, st.integers(1, 3)),
    st.tuples(st.just("sleep"), st.sampled_from([0.0, 0.5, 6.0, 11.0, 60.0, 121.0, 166.0, 181.0])),
    st.tuples(
        st.just("use_up"),
        numbers,
        st.integers(0, 3),
        st.sampled_from([REKEY_AFTER_MESSAGES, REJECT_AFTER_MESSAGES]),
    ),
    st.tuples(st.just("remove"), numbers),
)


SMALL = [(0, 40, 0, 4)]
BEGUN = [("sleep", 181.0), ("send_out", SMALL, False), ("exchange",)]
"""The center has begun the session in use with the first peer."""


@given(st.lists(actions, max_size=25))
@example([*BEGUN, ("sleep", 121.0), ("send_out", SMALL, False)])
@example([*BEGUN, ("sleep", 166.0), ("send_in", 0, SMALL, 0, False), ("arrive", 0, False, False)])
@example(
    [
        ("send_in", 0, SMALL, 0, False),
        ("send_in", 1, [(1, 40, 0, 4)], 0, False),
        ("send_in", 0, [(0, 40, 2, 4)], 2, False),
        ("mix", 2),
    ]
)
@example(
    [
        ("send_in", 0, SMALL, 0, False),
        ("send_in", 1, [(1, 40, 0, 4)] * 2, 0, False),
        ("mix", 2),
    ]
)
@example(
    [
        ("send_in", 0, [(0, 40, 2, 4)], 0, False),
        ("send_in", 0, [(0, 40, 2, 4)], 3, False),
        ("arrive", 0, False, False),
    ]
)
@example([("allow", 0, 0, 25), ("sleep", 0.5), ("send_out", SMALL, False)])
@example(
    [
        ("allow", 0, 0, 25),
        ("sleep", 0.5),
        ("send_in", 0, SMALL, 0, False),
        ("arrive", 0, False, False),
    ]
)
@example([("send_frame", b"\0\1" + bytes(8), b"")])
@example([("use_up", 0, 1, 2**64), ("send_out", SMALL, False)])
def test_both_ways_do_the_same(script: list[tuple[Any, ...]]) -> None:
    seen = []
    for native in (True, False):
        run = Run(native)
        for number in range(PEERS):
            run.meet(number)
        for name, *arguments in script:
            if name == "arrive":
                arguments[0] = random.Random(arguments[0])
            if name != "mix" or run.under_way:
                getattr(run, name)(*arguments)
            run.look()
        run.exchange()
        run.look()
        seen.append(run.seen)
    assert seen[0] == seen[1]


def test_what_is_plain_goes_through_c() -> None:
    run = Run(True)
    for number in range(PEERS):
        run.meet(number)
    interface = run.center.tunnel._interface
    frames = [NO_OFFLOAD + run.packet(to, 9, 100, 0, 4) for to in (0, 1, 2, 7, 0)]
    assert interface.seal_for_peers(frames, run.now) == [frames[3]]
    assert len(interface.outgoing) == PEERS
    run.take_out()
    for number in range(PEERS):
        run.send_in(number, [(number, 100, 0, 4)], 0, False)
    trains = [train for _, train in run.under_way]
    stranger = trains[0]._replace(data=b"\4\0\0\0" + bytes(28))
    assert interface.open_from_peers([*trains, stranger], run.now) == [stranger]
    assert len(interface.incoming) == PEERS


def met() -> Run:
    """Peers that have had their handshakes, and a datagram of each under way."""
    run = Run(True)
    for number in range(PEERS):
        run.meet(number)
    run.exchange()
    for number in range(PEERS):
        run.send_in(number, [(number, 100, 0, 4)], 0, False)
    return run


def in_c(run: Run, opening: bool) -> Callable[[], list[Any]]:
    """What opens the datagrams under way, or seals a packet for each peer; what it leaves."""
    interface: Any = run.center.tunnel._interface
    if opening:
        trains = [train for _, train in run.under_way]
        return lambda: interface.open_from_peers(trains, run.now)
    frames = [NO_OFFLOAD + run.packet(to, 9, 100, 0, 4) for to in range(PEERS)]
    return lambda: interface.seal_for_peers(frames, run.now)


@pytest.mark.parametrize("after", range(12))
@pytest.mark.parametrize("opening", [False, True])
def test_an_interface_that_is_spoiled_within_a_call(opening: bool, after: int) -> None:
    run = met()
    interface: Any = run.center.tunnel._interface

    def spoil() -> None:
        for name in ("owners", "contacted", "sessions", "outgoing", "incoming"):
            delattr(interface, name)

    with contextlib.suppress(TypeError):  # if that was early
        collecting_within(in_c(run, opening), [spoil], after)


@pytest.mark.parametrize("name", ["outgoing", "incoming"])
def test_an_interface_that_is_spoiled_by_what_is_called(name: str) -> None:
    interface: Any = InterfaceState()
    interface.owners, interface.contacted, interface.sessions = {}, {}, {}
    interface.outgoing, interface.incoming = [()], []

    def post(outgoing: list[Any]) -> list[Any]:
        delattr(interface, name)
        return outgoing

    ends = SimpleNamespace(udp=SimpleNamespace(post=post), _due=0.0)
    timers = SimpleNamespace(deadline=0.0)
    tunnel: Any = None
    crossing = Crossing(ends, tunnel, interface, timers, lambda: 0.0, SuperPacket)
    with pytest.raises(TypeError, match="an interface has"):
        crossing.super_packets_received([])


def test_what_is_left_of_a_post_is_a_list() -> None:
    interface: Any = InterfaceState()
    interface.owners, interface.contacted, interface.sessions = {}, {}, {}
    interface.outgoing, interface.incoming = [()], []

    def post(outgoing: list[Any]) -> Iterator[Any]:
        del interface.outgoing
        yield from outgoing

    ends = SimpleNamespace(udp=SimpleNamespace(post=post), _due=0.0)
    tunnel: Any = None
    crossing = Crossing(
        ends, tunnel, interface, SimpleNamespace(deadline=0.0), lambda: 0.0, SuperPacket
    )
    with pytest.raises(TypeError, match="a post is a list"):
        crossing.super_packets_received([])


@pytest.mark.parametrize("after", range(12))
@pytest.mark.parametrize("opening", [False, True])
def test_sessions_that_go_within_a_call(opening: bool, after: int) -> None:
    """Up to Python 3.11 the garbage collector runs within what C allocates."""
    run = met()
    interface: Any = run.center.tunnel._interface
    peers: list[Any] = list(run.center.tunnel.peers.values())
    sessions: list[Any] = [peer._current for peer in peers]

    def take_away() -> None:
        for session in sessions:
            session._sealer = session._opener = session.sealed_head = session.head = None
        for peer in peers:
            peer.endpoint = peer._local = peer._current = None

    left = collecting_within(in_c(run, opening), [take_away], after)
    done = len(interface.incoming) if opening else len(interface.outgoing)
    assert len(left) + done == PEERS


def test_an_ecn_field_of_more_bits_is_not_plain() -> None:
    run = met()
    train = run.under_way[0][1]._replace(ecn=1 << 32)
    interface: Any = run.center.tunnel._interface
    assert interface.open_from_peers([train], run.now) == [train]


@pytest.mark.parametrize(
    ("arguments", "named"), [((), {}), (([], 0.0, 1), {}), (([],), {"now": 0.0})]
)
def test_arguments_that_are_too_few_or_have_names(
    arguments: tuple[Any, ...], named: dict[str, Any]
) -> None:
    run = met()
    interface: Any = run.center.tunnel._interface
    crossing: Any = run.center.tunnel.crossing(None, lambda: 0.0)
    for method in (
        interface.seal_for_peers,
        interface.open_from_peers,
        crossing.super_packets_received,
        crossing.trains_received,
    ):
        with pytest.raises(TypeError, match="arguments"):
            method(*arguments, **named)
