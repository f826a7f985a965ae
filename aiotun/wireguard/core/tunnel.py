"""Tunnel: one WireGuard interface with its peers, without a socket, a device or a clock.

Packets and datagrams go in with the time; packets and datagrams come out. Packets are in
frames of a TUN, where many of one flow are one super-packet, and datagrams in trains as a UDP
socket takes and gives them: so what is alike goes straight from one to the other.
Nothing that comes from the network raises: what is wrong is dropped and counted.
"""

from __future__ import annotations

import logging
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from ...aead import implementation
from ...errors import OffloadError
from ...offload import SuperPacket, gso_split
from ...trains import cut
from ...udp import Datagram, DatagramTrain
from ..keys import KEY_SIZE
from .cookie import CookieChecker, CookieRation, SourceLimiter, TokenBucket
from .interface import Interface
from .messages import (
    COOKIE_REPLY,
    COOKIE_REPLY_SIZE,
    INITIATION,
    INITIATION_SIZE,
    RESPONSE,
    RESPONSE_SIZE,
    TRANSPORT,
    CookieReply,
    Initiation,
    Response,
)
from .noise import HandshakeError, Responder
from .packets import (
    BEGIN,
    count_of,
    destination_and_ecn,
    framed,
    split,
    udp_payload,
)
from .peer import Peer
from .states import Crossing

if TYPE_CHECKING:
    from ...trains import Train
    from ..config import PeerConfig
    from .allowed_ips import Network
    from .counters import Counters
    from .interface import Address, Outgoing

    Run = tuple[bytes, tuple[Address, str | None, int], list[Train]]
    """Trains that begin with one type and index and came in one way: address, local address, ECN
    field."""

__all__ = ["Tunnel"]

logger = logging.getLogger("aiotun.wireguard")

HANDSHAKE_RATE, HANDSHAKE_BURST = 100, 250
"""Handshake messages a second, and at once, that are worked on before MAC2 is asked for.

Each takes some 0.3 ms, mostly for X25519: 3 % of a core.
"""

TYPE_AND_INDEX = slice(8)
"""Of a message: of one for transport, all that finds its session."""

LOOP = (
    "a datagram to the endpoint %s came out of the interface itself: its route leads into the "
    "tunnel. Leave that address out of AllowedIPs, give it a route of its own, or mark what is "
    "sent to peers (FwMark) and route what is marked past the tunnel"
)

SIZES = {INITIATION: INITIATION_SIZE, RESPONSE: RESPONSE_SIZE, COOKIE_REPLY: COOKIE_REPLY_SIZE}


class Tunnel:
    """Takes and gives lists; times are seconds of a clock that only moves forward.

    A private key of zeros means that there is none, and nothing can be done
    yet. `mtu` is the device's: padding makes no packet longer than that.
    `keylog` is called with lines in the format of Wireshark's wg.keylog_file.
    `random` and `wall_clock` (unix time) are for tests.
    """

    def __init__(
        self,
        private_key: bytes,
        *,
        mtu: int = 1420,
        keylog: Callable[[str], None] | None = None,
        random: random.Random = random.SystemRandom(),  # noqa: B008 (it has no state)
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._interface = Interface(mtu, keylog, random, wall_clock)
        self._peers: dict[bytes, Peer] = {}
        self._unproven = TokenBucket(HANDSHAKE_RATE, HANDSHAKE_BURST)
        self._cookies = CookieRation()
        self._sources = SourceLimiter()
        self.set_private_key(private_key)

    # What it is.

    @property
    def counters(self) -> Counters:
        """What was dropped, by reason."""
        return self._interface.counters

    @property
    def handshakes(self) -> int:
        """How many were completed."""
        return self._interface.handshakes

    @property
    def mtu(self) -> int:
        return self._interface.mtu

    @mtu.setter
    def mtu(self, mtu: int) -> None:
        self._interface.mtu = mtu

    def set_offload(self, tcp: bool, udp: bool, udp_zero_checksum: bool = False) -> None:
        """Say which super-packets the device takes: the arguments of a `GROTable`."""
        interface = self._interface
        interface.tcp, interface.udp, interface.udp_zero_checksum = tcp, udp, udp_zero_checksum

    @property
    def private_key(self) -> bytes:
        return self._interface.private_key

    @property
    def public_key(self) -> bytes:
        """All zero without a private key."""
        static = self._interface.static
        return static.public_key().public_bytes_raw() if static else bytes(KEY_SIZE)

    @property
    def peers(self) -> Mapping[bytes, Peer]:
        """By public key."""
        return MappingProxyType(self._peers)

    def on_handshake(self, shook_hands: Callable[[Peer], None]) -> None:
        """Call this too when a handshake is complete, and the peer has shown that it has the keys.

        It may change the peer, and calls nothing of the tunnel.
        """
        self._interface.shook_hands.append(shook_hands)

    def on_unanswered(self, unanswered: Callable[[Peer], None]) -> None:
        """Call this when no answer came to an initiation, before it is sent again."""
        self._interface.unanswered = unanswered

    def set_private_key(self, private_key: bytes) -> None:
        """Take another key. All sessions end; a peer that has the same key is removed."""
        self._interface.set_private_key(private_key)
        for peer in self._peers.values():
            peer.forget_sessions()
            if self._interface.static is None:
                peer.drop_waiting()
        self._checker = CookieChecker(self.public_key)
        if self.public_key in self._peers:
            self.remove_peer(self.public_key)

    def set_peer(self, config: PeerConfig, now: float, endpoint: Address | None = None) -> Peer:
        """Add a peer, or make the one with this key what the configuration says.

        `endpoint` is the configured one, looked up; None leaves what is known.
        Allowed IPs that another peer has are taken from it. Sessions stay.
        """
        key = config.public_key
        peer = self._peers.get(key)
        if peer is None:
            peer = self._peers[key] = Peer(self._interface, key)
        if endpoint is not None:
            peer.set_endpoint(endpoint)
        peer.name = config.name
        peer.preshared_key = config.preshared_key
        self._route(peer, config.allowed_ips)
        peer.set_persistent_keepalive(config.persistent_keepalive, now)
        return peer

    def remove_peer(self, public_key: bytes) -> None:
        """Raises `KeyError`."""
        peer = self._peers.pop(public_key)
        self._route(peer, ())
        peer.leave()

    def _route(self, peer: Peer, networks: Iterable[Network]) -> None:
        self._interface.routes.set(peer, networks)

    def forget_sources(self) -> None:
        """Send from the address that the system chooses, until peers are heard again."""
        for peer in self._peers.values():
            peer.forget_source()

    def renew_sessions(self, now: float) -> None:
        """Begin handshakes where there are sessions, from whatever address: the machine has slept,
        so what peers know of us may be gone, and our own address too."""
        self.forget_sources()
        for peer in self._peers.values():
            peer.renew(now)

    # From the device.

    def packets_from_device(self, packets: Iterable[bytes], now: float) -> None:
        """`frames_from_device` where there is no offload: IP packets."""
        self.frames_from_device(map(framed, packets), now)

    def frames_from_device(self, frames: Iterable[bytes], now: float) -> None:
        """Seal the packets of frames for the peers to whom their destinations belong."""
        left = self._interface.seal_for_peers(frames, now)
        if left:
            self._seal(left, now)

    def _seal(self, frames: Iterable[bytes], now: float) -> None:
        find, contacted = self._interface.routes.find, self._interface.contacted
        groups: defaultdict[tuple[Peer | None, int], list[bytes]] = defaultdict(list)
        suspects: list[bytes] = []
        begin = destination = None
        for frame in frames:
            if frame[BEGIN] != begin:
                begin, destination = frame[BEGIN], None
                where, ecn = destination_and_ecn(begin)
            if frame[where] != destination:
                destination = frame[where]
                group = suspects if destination in contacted else groups[find(destination), ecn]
            group.append(frame)
        for frame in suspects:
            where, ecn = destination_and_ecn(frame[BEGIN])
            known = contacted[frame[where]]
            others = [packet for packet in split(frame) if not self._is_looped(packet, known)]
            if others:
                groups[find(frame[where]), ecn] += map(framed, others)
        for (peer, ecn), group in groups.items():
            if peer is None:
                self.counters.no_route += sum(map(count_of, group))
                continue
            try:
                peer.send(group, now, ecn)
            except OffloadError:  # then nothing was sent
                sound = list(filter(split, group))
                self.counters.no_route += len(group) - len(sound)
                peer.send(sound, now, ecn)

    def _is_looped(self, packet: bytes, peer: Peer) -> bool:
        """Look at a packet to the endpoint of a peer: it may be a datagram of our own."""
        message = udp_payload(packet)
        if message[:4] in (INITIATION, RESPONSE):
            own = int.from_bytes(message[4:8], "little") in self._interface.indices
        else:
            own = peer.seals(message[TYPE_AND_INDEX])
        if own:
            if not self.counters.looped:
                logger.warning(LOOP, peer.endpoint and peer.endpoint[0])
            self.counters.looped += 1
        return own

    # From the network.

    def datagrams_received(self, datagrams: Iterable[Datagram], now: float) -> None:
        """`trains_received` where nothing joins datagrams."""
        self.trains_received(
            [DatagramTrain(data, 0, addr, local, ecn) for data, addr, local, ecn in datagrams], now
        )

    def trains_received(self, trains: Iterable[DatagramTrain], now: float) -> None:
        """Open datagrams, those of a session together and in their order; then all others."""
        left = self._interface.open_from_peers(trains, now)
        if left:
            self._open(left, now)

    def _open(self, trains: Iterable[DatagramTrain], now: float) -> None:
        runs: list[Run] = []
        latest: dict[bytes, Run] = {}
        for train in trains:
            data, way = train[0], train[2:]
            head = data[TYPE_AND_INDEX]
            run = latest.get(head)
            if run is None or run[1] != way:
                run = latest[head] = head, way, []
                runs.append(run)
            run[2].append(train[:2])
        control: list[Run] = []
        sessions = self._interface.sessions
        for run in runs:
            head, way, sealed = run
            found = sessions.get(head)
            if found is None:
                control.append(run)
                continue
            peer, session = found
            frames, strays = peer.received(session, sealed, way[0], way[1], now)
            for frame in frames:
                self._interface.deliver(frame, peer, way[2])
            if strays:
                self.datagrams_received([Datagram(each, *way) for each in strays], now)
        for head, way, others in control:
            messages = [message for train in others for message in cut(*train)]
            if len(messages) > len(others):  # each may be something else
                self.datagrams_received([Datagram(each, *way) for each in messages], now)
            elif head[:4] == TRANSPORT:
                self.counters.unknown_index += len(messages)
            else:
                for message in messages:
                    self._control_received(message, way[0], way[1], now)

    def _control_received(self, data: bytes, addr: Address, local: str | None, now: float) -> None:
        """Handle handshake messages and cookie replies."""
        interface, counters = self._interface, self.counters
        kind = data[:4]
        if SIZES.get(kind) != len(data):
            counters.malformed += 1
        elif kind == COOKIE_REPLY:
            reply = CookieReply.unpack(data)
            peer = interface.indices.get(reply.receiver)
            if peer is None:
                counters.unknown_index += 1
            elif not peer.read_cookie(reply, now):
                counters.bad_cookie += 1
        elif self._admits(data, addr, local, now):
            try:
                if kind == INITIATION:
                    self._initiation_received(Initiation.unpack(data), addr, local, now)
                else:
                    self._response_received(Response.unpack(data), addr, local, now)
            except HandshakeError:
                counters.bad_handshake += 1

    def _admits(self, data: bytes, addr: Address, local: str | None, now: float) -> bool:
        """Whether to work on a handshake message, which takes long."""
        counters = self.counters
        if self._interface.static is None or not self._checker.has_mac1(data):
            counters.bad_mac1 += 1
            return False
        if self._unproven.take(now):
            return True
        source = f"{addr[0]} {addr[1]}".encode()
        if not self._checker.has_mac2(data, source, now):
            counters.unproven += 1
            if self._cookies.take(addr[0], now):
                reply = self._checker.reply(data, source, now)
                self._interface.outgoing.append((reply, 0, addr, local, 0))
            return False
        if not self._sources.take(addr[0], now):
            counters.flooded += 1
            return False
        return True

    def _initiation_received(
        self, initiation: Initiation, addr: Address, local: str | None, now: float
    ) -> None:
        assert self._interface.static is not None
        responder = Responder(self._interface.static)
        peer = self._peers.get(responder.read_static(initiation.noise))
        if peer is None:
            self.counters.unknown_peer += 1
        else:
            peer.answer(responder, initiation, addr, local, now)

    def _response_received(
        self, response: Response, addr: Address, local: str | None, now: float
    ) -> None:
        peer = self._interface.indices.get(response.receiver)
        if peer is None:
            self.counters.unknown_index += 1
        else:
            peer.read_response(response, addr, local, now)

    def crossing(self, ends: object, clock: Callable[[], float]) -> Crossing | None:
        """What joins a device and a socket natively: see there. None where it was not built."""
        if implementation == "python":
            return None
        interface = self._interface
        return Crossing(ends, self, interface, interface.timers, clock, SuperPacket)

    # Time, and what comes out.

    @property
    def next_deadline(self) -> float:
        """When to call `tick`; infinity: not before something else was called."""
        return self._interface.timers.deadline

    def tick(self, now: float) -> None:
        """Do what is due. Any other time than the deadline is harmless."""
        for peer in self._interface.timers.due(now):
            peer.tick(now)

    def take_frames(self) -> list[bytes]:
        """IP packets for the device, coalesced."""
        frames, self._interface.incoming = self._interface.incoming, []
        return frames

    def take_packets(self) -> list[bytes]:
        """`take_frames` where there is no offload."""
        return [packet for frame in self.take_frames() for packet in gso_split(frame)]

    def take_trains(self) -> list[Outgoing]:
        """Datagrams for the network."""
        outgoing, self._interface.outgoing = self._interface.outgoing, []
        return outgoing

    def take_datagrams(self) -> list[tuple[Address, str | None, int, list[bytes]]]:
        """`take_trains` where nothing joins datagrams."""
        return [
            (addr, local, ecn, cut(data, segment))
            for data, segment, addr, local, ecn in self.take_trains()
        ]
