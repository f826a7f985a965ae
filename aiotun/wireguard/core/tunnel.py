"""Tunnel: one WireGuard interface with its peers, without a socket, a device or a clock.

Packets and datagrams go in with the time; packets and datagrams come out.
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

from ..keys import KEY_SIZE
from .cookie import CookieChecker, CookieRation, SourceLimiter, TokenBucket
from .ecn import CE, ECT_1, decapsulate
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
    destination_and_ecn,
    length_and_source,
    length_and_source_field,
    udp_payload,
)
from .peer import Peer

if TYPE_CHECKING:
    from ... import Datagram
    from ..config import PeerConfig
    from .allowed_ips import Network
    from .counters import Counters
    from .interface import Address, Outgoing

    Run = tuple[bytes, tuple[Address, str | None, int], list[bytes]]
    """Messages of one type and index that came in one way: address, local address, ECN field."""

__all__ = ["Tunnel"]

logger = logging.getLogger("aiotun.wireguard")

HANDSHAKE_RATE, HANDSHAKE_BURST = 100, 250
"""Handshake messages a second, and at once, that are worked on before MAC2 is asked for.

Each takes some 0.3 ms, mostly for X25519: 3 % of a core.
"""

NOTHING_YET = -1, b"", slice(0), b"", 0
"""No packet has this size."""

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
        self._packets: list[bytes] = []
        self._good: dict[Peer, tuple[int, bytes, slice, bytes, int]] = {}
        """Of the last good packet from a peer: its size, its first four bytes, where its other
        fields are that tell its length and its source, what is there, and its length."""
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
    def mtu(self) -> int:
        return self._interface.mtu

    @mtu.setter
    def mtu(self, mtu: int) -> None:
        self._interface.mtu = mtu

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

    def on_handshake(self, shook_hands: Callable[[Peer], None] | None) -> None:
        """Call this when a handshake is complete, and the peer has shown that it has the keys."""
        self._interface.shook_hands = shook_hands

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
        if self._interface.routes.set(peer, networks):
            self._good.clear()

    def forget_sources(self) -> None:
        """Send from the address that the system chooses, until peers are heard again."""
        for peer in self._peers.values():
            peer.forget_source()

    # From the device.

    def packets_from_device(self, packets: Iterable[bytes], now: float) -> None:
        """Seal IP packets for the peers to whom their destinations belong."""
        find, contacted = self._interface.routes.find, self._interface.contacted
        groups: defaultdict[tuple[Peer | None, int], list[bytes]] = defaultdict(list)
        suspects: list[bytes] = []
        begin = destination = None
        for packet in packets:
            if packet[:2] != begin:
                begin, destination = packet[:2], None
                where, ecn = destination_and_ecn(begin)
            if packet[where] != destination:
                destination = packet[where]
                group = suspects if destination in contacted else groups[find(destination), ecn]
            group.append(packet)
        for packet in suspects:
            where, ecn = destination_and_ecn(packet[:2])
            if not self._is_looped(packet, contacted[packet[where]]):
                groups[find(packet[where]), ecn].append(packet)
        for (peer, ecn), group in groups.items():
            if peer is None:
                self.counters.no_route += len(group)
            else:
                peer.send(group, now, ecn)

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
        """Open datagrams, those of a session together and in their order; then all others."""
        runs: list[Run] = []
        latest: dict[bytes, Run] = {}
        for datagram in datagrams:
            data, way = datagram[0], datagram[1:]
            head = data[TYPE_AND_INDEX]
            run = latest.get(head)
            if run is None or run[1] != way:
                run = latest[head] = head, way, []
                runs.append(run)
            run[2].append(data)
        control: list[Run] = []
        sessions = self._interface.sessions
        for run in runs:
            head, (addr, local, ecn), messages = run
            found = sessions.get(head)
            if found is not None:
                peer, session = found
                packets = peer.received(session, messages, addr, local, now)
                if packets:
                    self._deliver(packets, peer, ecn)
            elif head[:4] == TRANSPORT:
                self.counters.unknown_index += len(messages)
            else:
                control.append(run)
        for _, (addr, local, _), messages in control:
            for message in messages:
                self._control_received(message, addr, local, now)

    def _deliver(self, packets: list[bytes], peer: Peer, ecn: int) -> None:
        """Take IP packets that come from the peer's own addresses, without their padding."""
        marked = ecn in (CE, ECT_1)
        taken = [] if marked else self._packets
        size, begin, where, fields, length = self._good.get(peer, NOTHING_YET)
        for packet in packets:
            if len(packet) == size and packet[:4] == begin and packet[where] == fields:
                taken.append(packet[:length])  # as the one before
            elif packet and self._is_good(packet, peer):  # an empty one is a keep-alive
                size, begin, where, fields, length = self._good[peer]
                taken.append(packet[:length])
        if marked:
            remarked = [decapsulate(packet, ecn) for packet in taken]
            self._packets += [packet for packet in remarked if packet is not None]
            self.counters.congested += remarked.count(None)

    def _is_good(self, packet: bytes, peer: Peer) -> bool:
        """Look at a packet; a good one is what the peer's next ones are held against."""
        try:
            length, source = length_and_source(packet)
        except ValueError:
            self.counters.bad_packet += 1
            return False
        if self._interface.routes.find(source) is not peer:
            self.counters.bad_source += 1
            return False
        where = length_and_source_field(packet)
        self._good[peer] = len(packet), packet[:4], where, packet[where], length
        return True

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
                self._interface.outgoing.append((addr, local, 0, [reply]))
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

    # Time, and what comes out.

    @property
    def next_deadline(self) -> float:
        """When to call `tick`; infinity: not before something else was called."""
        return self._interface.timers.deadline

    def tick(self, now: float) -> None:
        """Do what is due. Any other time than the deadline is harmless."""
        for peer in self._interface.timers.due(now):
            peer.tick(now)

    def take_packets(self) -> list[bytes]:
        """IP packets for the device."""
        packets, self._packets = self._packets, []
        return packets

    def take_datagrams(self) -> list[Outgoing]:
        """Datagrams for the network."""
        outgoing, self._interface.outgoing = self._interface.outgoing, []
        return outgoing
