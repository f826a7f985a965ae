"""Peer: handshakes, sessions and timers with one other side (paper, section 6).

Where the paper leaves a choice, this does what Linux does
(drivers/net/wireguard: timers.c, send.c, receive.c, noise.c).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from math import inf
from typing import TYPE_CHECKING

from ...offload import gso_split
from ...trains import cut
from .cookie import CookieJar
from .messages import (
    INITIATION_SIZE,
    RESPONSE_SIZE,
    TRANSPORT_OVERHEAD,
    CookieReply,
    Initiation,
    Response,
)
from .noise import HandshakeError, Initiator, Keys, Responder
from .packets import framed
from .session import (
    REJECT_AFTER_MESSAGES,
    REJECT_AFTER_TIME,
    REKEY_AFTER_MESSAGES,
    Session,
)
from .states import PeerState

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from ...trains import Train
    from .allowed_ips import Network
    from .interface import Address, Interface

__all__ = ["Peer"]

# The paper's table in section 6.1; seconds.
REKEY_ATTEMPT_TIME = 90.0
REKEY_TIMEOUT = 5.0
KEEPALIVE_TIMEOUT = 10.0

JITTER = 0.334
"""Seconds at most that a handshake is late, so that two sides do not collide again and again."""

ATTEMPTS_MAX = int(REKEY_ATTEMPT_TIME / REKEY_TIMEOUT)

ERASE_AFTER = 3 * REJECT_AFTER_TIME
"""Seconds after the last new session until everything secret is forgotten (section 6.3)."""

INITIATION_INTERVAL = 1 / 50
"""Seconds between two initiations that a peer is answered."""

QUEUE_MAX = 128
"""Packets that wait for a session; then the oldest is dropped."""

TAI_OFFSET = 2**62 + 10
"""Unix time as TAI64 (https://cr.yp.to/libtai/tai64.html), with the leap seconds of 1970."""

TIMESTAMP_STEP = 1 << 24
"""Nanoseconds (17 ms) to which timestamps are rounded, so that they do not tell the load."""

KEEPALIVE = b""


class Peer(PeerState):
    """One peer of an interface. Everything that takes time takes it as seconds, `now`."""

    __slots__ = (
        "_answered",
        "_attempts",
        "_contacted",
        "_erase_due",
        "_handshake",
        "_handshake_sent",
        "_interface",
        "_jar",
        "_previous",
        "_queue",
        "_retry_due",
        "_timestamp_received",
        "_timestamp_sent",
        "elsewhere",
        "last_handshake",
        "name",
        "preshared_key",
        "public_key",
    )

    def __init__(self, interface: Interface, public_key: bytes) -> None:
        self._interface = interface
        self.public_key = public_key
        self.name = ""
        self.preshared_key = bytes(32)
        self.persistent_keepalive = 0
        """Seconds; 0: off."""
        self.endpoint: Address | None = None
        """Where it was last heard, or what was configured."""
        self.last_handshake: float | None = None
        """Unix time."""
        self.rx_bytes = 0
        """Of UDP payloads that were authentic."""
        self.tx_bytes = 0

        self.elsewhere: Callable[[Sequence[bytes]], None] | None = None
        """Takes packets for the peer while another server holds it. Then this one has no session,
        and begins no handshake, until the peer shakes hands with it."""

        self._local: str | None = None  # the address of ours at which it was last heard
        self._jar = CookieJar(public_key)
        self._contacted = b""
        self._queue: list[bytes] = []  # an empty deque takes ten times the memory
        self._current: Session | None = None
        self._previous: Session | None = None  # what is still under way
        self._next: Session | None = None  # we answered, and the peer has yet to use it

        self._handshake: tuple[int, Initiator] | None = None  # with our index
        self._attempts = 0
        self._handshake_sent = -inf
        self._last_minute = False  # a handshake was begun since nothing will come much longer
        self._answered = -inf
        self._timestamp_sent = 0
        self._timestamp_received = b""

        self.visit = inf
        """See `timers`."""
        # When a timer is due; infinity: it does not run.
        self._retry_due = inf
        self._silence_due = inf
        self._keepalive_due = inf
        self._persistent_due = inf
        self._erase_due = inf
        self._another_keepalive = False
        self._patience = KEEPALIVE_TIMEOUT + REKEY_TIMEOUT
        """Seconds of silence that begin a handshake: their jitter is drawn once a session."""
        self._keepalive_after = KEEPALIVE_TIMEOUT

    @property
    def allowed_ips(self) -> tuple[Network, ...]:
        return self._interface.routes.of(self)

    @property
    def timestamp(self) -> bytes:
        """The greatest of the peer's initiations (TAI64N); empty: there was none."""
        return self._timestamp_received

    @property
    def began_session(self) -> bool:
        """Whether this side began the handshake of the session in use."""
        return self._current is not None and self._current.initiator

    def learn_timestamp(self, timestamp: bytes) -> None:
        """Another server has heard this: what is not newer is a replay here too."""
        self._timestamp_received = max(timestamp, self._timestamp_received)

    def end_sessions(self) -> None:
        """Another server has the peer: `elsewhere` takes what waits for a session."""
        assert self.elsewhere is not None
        self.forget_sessions()
        waiting = list(self._queue)
        self._queue.clear()
        self.elsewhere(waiting)

    def set_endpoint(self, addr: Address) -> None:
        """Set where the peer is reached, until it is heard from elsewhere."""
        self.endpoint, self._local = addr, None

    def forget_source(self) -> None:
        """Let the system choose the address to send from: ours may no longer work."""
        self._local = None

    # Packets.

    def send(self, frames: Sequence[bytes], now: float, ecn: int = 0) -> None:
        """Seal and send the packets of frames, or let them wait for a session.

        Raises `OffloadError` for a malformed frame, and then has done nothing.
        """
        session = self._current
        if session is None or now >= session.expires or session.sent >= REJECT_AFTER_MESSAGES:
            self._hold([packet for frame in frames for packet in gso_split(frame)], now)
            return
        trains, count = session.seal(frames, self._interface.mtu)
        size = self._transmit(trains, now, ecn)
        if self._silence_due == inf and size > count * TRANSPORT_OVERHEAD:
            self._silence_due = self._will_be(now + self._patience)
        if now >= session.rekey_due or session.sent > REKEY_AFTER_MESSAGES:
            self.initiate(now)

    def _hold(self, packets: Sequence[bytes], now: float) -> None:
        """Let packets wait for a session, and begin one."""
        if self.elsewhere is not None:
            self.elsewhere(list(filter(None, packets)))
            return
        if self.endpoint is None:
            self._interface.counters.no_endpoint += len(packets)
            return
        self._queue.extend(filter(None, packets))  # a keep-alive begins a session, and is done
        excess = max(len(self._queue) - QUEUE_MAX, 0)
        del self._queue[:excess]
        self._interface.counters.no_session += excess
        self.initiate(now)
        if self._interface.static is None:
            self.drop_waiting()

    def drop_waiting(self) -> None:
        """No session will come for the packets that wait for one."""
        self._interface.counters.no_session += len(self._queue)
        self._queue.clear()

    def received(
        self,
        session: Session,
        trains: Sequence[Train],
        addr: Address,
        local: str | None,
        now: float,
    ) -> tuple[list[bytes], list[bytes]]:
        """Open trains that begin with a message of this session.

        Returns frames of whole packets, and the messages that are of other sessions.
        """
        interface = self._interface
        if now >= session.expires:
            messages = [message for train in trains for message in cut(*train)]
            strays = [message for message in messages if not message.startswith(session.head)]
            interface.counters.expired += len(messages) - len(strays)
            return [], strays
        frames, strays, accepted, size = session.open(
            trains,
            interface.counters,
            interface.tcp,
            interface.udp,
            interface.udp_zero_checksum,
        )
        if not accepted:
            return frames, strays
        self._heard(size + accepted * TRANSPORT_OVERHEAD, addr, local, now)
        if session is self._next:
            self._forget(self._previous)
            self._previous, self._current, self._next = self._current, session, None
            self._handshake_complete()
            self._flush(now)
        if now >= session.last_minute and session is self._current and not self._last_minute:
            self._last_minute = True
            self.initiate(now)
        if size:
            if self._keepalive_due == inf:
                self._keepalive_due = self._will_be(now + self._keepalive_after)
            else:
                self._another_keepalive = True
        return frames, strays

    def set_persistent_keepalive(self, seconds: int, now: float) -> None:
        """Begin at once, if the peer can be reached, or leave off (0)."""
        self.persistent_keepalive = seconds
        if not seconds:
            self._persistent_due = inf
        elif self._persistent_due == inf and self.endpoint is not None:
            self._persist(now)

    def keepalive(self, now: float) -> None:
        """Send what waits, or an empty packet: the peer hears of us in any case."""
        if self._queue:
            self._flush(now)
        else:
            self.send([framed(KEEPALIVE)], now)

    def _flush(self, now: float) -> None:
        frames = list(map(framed, self._queue))
        self._queue.clear()
        if frames:
            self.send(frames, now)

    def _transmit(self, trains: list[Train], now: float, ecn: int = 0) -> int:
        """Send what the peer can see to be ours, to where it is known to be; its size."""
        assert self.endpoint is not None
        size = 0
        for data, segment in trains:
            size += len(data)
            self._interface.outgoing.append((data, segment, self.endpoint, self._local, ecn))
        self.tx_bytes += size
        self._keepalive_due = inf
        if self.persistent_keepalive:
            self._traversed(now)
        return size

    def _heard(self, size: int, addr: Address, local: str | None, now: float) -> None:
        """Note where an authentic message came from: the peer is there now (roaming)."""
        self.rx_bytes += size
        self.endpoint, self._local = addr, local
        self._silence_due = inf
        if self.persistent_keepalive:
            self._traversed(now)

    def _traversed(self, now: float) -> None:
        self._persistent_due = self._will_be(now + self.persistent_keepalive)

    # Handshakes.

    def initiate(self, now: float, *, retry: bool = False) -> None:
        """Begin a handshake, unless that was done in the last seconds."""
        if not retry:
            self._attempts = 0
        interface = self._interface
        if interface.static is None or self.endpoint is None or self.elsewhere is not None:
            return
        if now - self._handshake_sent < REKEY_TIMEOUT:
            return
        if retry or self._retry_due != inf:  # packets may ask for it just before the timer does
            self.forget_source()
            if interface.unanswered is not None:
                interface.unanswered(self)
        self._handshake_sent = now
        initiator = Initiator(interface.static, self.public_key)
        try:
            noise = initiator.initiation(self._timestamp())
        except HandshakeError:  # no key that anybody could have
            self.drop_waiting()
            return
        self._drop_handshake()
        index = interface.new_index(self)
        self._handshake = index, initiator
        self._log_keys(initiator.ephemeral)
        self._send_handshake(Initiation(index, noise).pack(), now)
        self._retry_due = self._will_be(now + REKEY_TIMEOUT + self._jitter())

    def renew(self, now: float) -> None:
        """Begin a handshake if there is a session, which the peer may have forgotten."""
        if self._current is not None:
            self.initiate(now)

    def answer(
        self,
        responder: Responder,
        initiation: Initiation,
        addr: Address,
        local: str | None,
        now: float,
    ) -> None:
        """Answer an initiation whose sender claims to be this peer."""
        counters = self._interface.counters
        timestamp = responder.read_payload(initiation.noise)
        if timestamp <= self._timestamp_received:
            counters.replayed_handshake += 1
            return
        if now - self._answered < INITIATION_INTERVAL:
            counters.flooded += 1
            return
        self._timestamp_received = timestamp
        self._answered = self._handshake_sent = now
        noise, keys = responder.response(b"", self.preshared_key)
        index = self._interface.new_index(self)
        self._forget(self._previous)
        self._forget(self._next)
        self._previous = None
        self._next = self._new_session(index, initiation.sender, keys, now, initiator=False)
        assert responder.ephemeral is not None
        self._log_keys(responder.ephemeral)
        self._heard(INITIATION_SIZE, addr, local, now)
        self._send_handshake(Response(index, initiation.sender, noise).pack(), now)

    def read_response(
        self, response: Response, addr: Address, local: str | None, now: float
    ) -> None:
        """Complete the handshake that we began. Raises `HandshakeError`."""
        if self._handshake is None or self._handshake[0] != response.receiver:
            raise HandshakeError("no handshake waits for this")
        index, initiator = self._handshake
        _, keys = initiator.read_response(response.noise, self.preshared_key)
        self._handshake = None
        session = self._new_session(index, response.sender, keys, now, initiator=True)
        self._forget(self._previous)
        # The peer may use a session that it began, even if it has not done so yet.
        self._previous = self._next or self._current
        if self._next is not None:
            self._forget(self._current)
        self._current, self._next = session, None
        self._handshake_complete()
        self._heard(RESPONSE_SIZE, addr, local, now)
        self.keepalive(now)  # the peer may not send before it has heard of us

    def _send_handshake(self, message: bytes, now: float) -> None:
        assert self.endpoint is not None
        self._contact(ip_address(self.endpoint[0].partition("%")[0]).packed)
        self._transmit([(self._jar.stamp(message, now), 0)], now)

    def _contact(self, address: bytes) -> None:
        """Note that handshakes go to this address: a packet for it may be our own datagram."""
        self._lose_contact()
        self._contacted = address
        self._interface.contacted[address] = self

    def _lose_contact(self) -> None:
        if self._interface.contacted.get(self._contacted) is self:
            del self._interface.contacted[self._contacted]

    def read_cookie(self, reply: CookieReply, now: float) -> bool:
        return self._jar.consume(reply, now)

    def _handshake_complete(self) -> None:
        self._retry_due = inf
        self._attempts = 0
        self._last_minute = False
        self.last_handshake = self._interface.wall_clock()
        self.elsewhere = None
        self._interface.handshakes += 1
        for shook_hands in self._interface.shook_hands:
            shook_hands(self)

    def _new_session(
        self, index: int, remote_index: int, keys: Keys, now: float, *, initiator: bool
    ) -> Session:
        session = Session(index, remote_index, keys, now, initiator)
        self._interface.sessions[session.head] = self, session
        self._erase_due = self._will_be(now + ERASE_AFTER)
        self._patience = KEEPALIVE_TIMEOUT + REKEY_TIMEOUT + self._jitter()
        if initiator:
            session.last_minute = now + REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT
        return session

    def _forget(self, session: Session | None) -> None:
        if session is not None:
            del self._interface.sessions[session.head]
            del self._interface.indices[session.index]

    def _drop_handshake(self) -> None:
        if self._handshake is not None:
            del self._interface.indices[self._handshake[0]]
            self._handshake = None

    def _timestamp(self) -> bytes:
        """TAI64N, later than the one before, whatever the clock says."""
        seconds, fraction = divmod(self._interface.wall_clock(), 1)
        nanoseconds = int(fraction * 1e9) // TIMESTAMP_STEP * TIMESTAMP_STEP
        timestamp = (TAI_OFFSET + int(seconds)) << 32 | nanoseconds
        self._timestamp_sent = max(timestamp, self._timestamp_sent + 1)
        return self._timestamp_sent.to_bytes(12, "big")

    def seals(self, head: bytes) -> bool:
        """Whether transport messages that begin so are ours, to this peer."""
        sessions = (self._current, self._previous, self._next)
        return any(session is not None and session.sealed_head == head for session in sessions)

    def _log_keys(self, ephemeral: X25519PrivateKey) -> None:
        """In the format of Wireshark's wg.keylog_file."""
        keylog = self._interface.keylog
        if keylog is None:
            return
        for name, key in (
            ("LOCAL_STATIC_PRIVATE_KEY", self._interface.private_key),
            ("REMOTE_STATIC_PUBLIC_KEY", self.public_key),
            ("LOCAL_EPHEMERAL_PRIVATE_KEY", ephemeral.private_bytes_raw()),
            ("PRESHARED_KEY", self.preshared_key),
        ):
            keylog(f"{name} = {base64.b64encode(key).decode()}")

    # Timers.

    def tick(self, now: float) -> None:
        """Do what is due."""
        for due, do in TIMERS.items():
            if getattr(self, due) <= now:
                setattr(self, due, inf)
                do(self, now)
        self._will_be(min([getattr(self, due) for due in TIMERS]))

    def _will_be(self, due: float) -> float:
        """When a timer is due that begins to run: it is to be visited then."""
        if due < self.visit:
            self._interface.timers.begin(self, due)
        return due

    def _jitter(self) -> float:
        return self._interface.random.uniform(0, JITTER)

    def _retry(self, now: float) -> None:
        """Begin the handshake again: no answer to our initiation came."""
        if self._attempts >= ATTEMPTS_MAX:
            self.drop_waiting()
            self._keepalive_due = inf
            if self._erase_due == inf:
                self._erase_due = self._will_be(now + ERASE_AFTER)
            return
        self._attempts += 1
        self.initiate(now, retry=True)

    def _silence(self, now: float) -> None:
        """Begin a handshake: we sent a packet and heard nothing since, not even a keep-alive."""
        self.forget_source()
        self.initiate(now)

    def _answer_nothing(self, now: float) -> None:
        """Send a keep-alive: we heard a packet and sent nothing since."""
        self.keepalive(now)
        if self._another_keepalive:
            self._another_keepalive = False
            self._keepalive_due = self._will_be(now + self._keepalive_after)

    def _persist(self, now: float) -> None:
        self._traversed(now)  # again, even if nothing can be sent now
        self.keepalive(now)

    def _erase(self, now: float) -> None:
        """Forget all keys: there was no new session for long."""
        self.forget_sessions()

    def leave(self) -> None:
        """Forget all sessions and indices: the peer was removed."""
        self.forget_sessions()
        self.drop_waiting()
        self._lose_contact()
        self._interface.timers.forget(self)

    def forget_sessions(self) -> None:
        """End all sessions and handshakes."""
        for session in (self._previous, self._current, self._next):
            self._forget(session)
        self._previous = self._current = self._next = None
        self._drop_handshake()


TIMERS: dict[str, Callable[[Peer, float], None]] = {
    "_retry_due": Peer._retry,
    "_silence_due": Peer._silence,
    "_keepalive_due": Peer._answer_nothing,
    "_persistent_due": Peer._persist,
    "_erase_due": Peer._erase,
}
