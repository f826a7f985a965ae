"""The table of TCP connections: which packet belongs to which, and how far each is (sans-I/O).

A client's packets to a destination become packets from a port of an address behind the device
to the listening socket, and the listener's packets to that port become the destination's to
the client. The kernel's TCP does the rest. The table only follows what passes, so far as
to know when a port can be used for another connection.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from ..offload import NO_OFFLOAD
from ..offload.headers import FIN, RST, SYN, TCP
from .backend import Rewrite
from .base import Decision, Drop, Flow, FlowCounters, FlowLimits
from .replies import HOST, give_up, reset, unreachable
from .translate import addresses_of, is_unicast, make_key, reverse_key, sums_up

__all__ = ["Connection", "ConnectionTable", "Gate", "State"]

ACK = 0x10

OPENING_TIMEOUT = 65.0
"""Seconds without a SYN in which a handshake goes on: those in which Linux' listener repeats its
SYN-ACK (63, tcp_synack_retries in ip-sysctl.rst), and those between two SYNs of a client."""

OPEN_TIMEOUT = 240.0
"""Seconds without a packet after which a connection that no socket of ours holds is forgotten:
the "transitory connection idle-timeout" of RFC 5382 REQ-5. It is looked at in that interval."""

CLOSED_TIMEOUT = 65.0
"""Seconds for which a port rests: TIME_WAIT (TCP_TIMEWAIT_LEN in include/net/tcp.h, 60), and what
the kernel's timer may be late by (LVL_GRAN in kernel/time/timer.c, 4)."""

FIRST_PORT, LAST_PORT = 1024, 65535


class Gate(NamedTuple):
    """Where connections of one IP version end."""

    address: bytes
    """Of the listening socket, on this side of the device."""
    port: int
    peers: tuple[bytes, ...]
    """Addresses behind the device that nobody has: what the listener sees as its clients."""


class State(Enum):
    """How far a connection is."""

    DECIDING = "deciding"
    """Its SYN is held back."""
    OPENING = "opening"
    """The listener has its SYN."""
    OPEN = "open"
    CLOSED = "closed"
    """Both sides said so, or one reset it. Its port rests."""


CLIENT, LISTENER = 1, 2


class Connection:
    """One TCP connection from a client."""

    __slots__ = (
        "_state",
        "closed_by",
        "flow",
        "forward",
        "held",
        "line",
        "paths",
        "since",
        "syn",
        "to_listener",
        "transport",
    )

    def __init__(self, flow: Flow, forward: bytes, to_listener: bytes) -> None:
        self.flow = flow
        self._state = State.DECIDING
        self.forward = forward
        """The key of the client's packets as it sends them,"""
        self.to_listener = to_listener
        """and as the listener gets them. Those in the other direction have the reversed ones."""
        self.paths: tuple[Path, ...] = (
            Path(self, forward, to_listener, from_client=True),
            Path(self, reverse_key(to_listener), reverse_key(forward), from_client=False),
        )
        self.syn = b""
        self.transport = 0
        """The frame that asks for it, and where its TCP header begins."""
        self.held: Callable[[], bool] = _not_held
        """Whether a socket of this program is the connection's other end."""
        self.closed_by = 0
        """The sides that sent FIN: `CLIENT`, `LISTENER`."""
        self.line: Line | None = None
        self.since = 0.0
        """When it came to its place in that line."""

    @property
    def state(self) -> State:
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        self._state = state
        for path in self.paths:
            path.plain = state is State.OPEN

    def was_active(self) -> bool:
        """Whether packets passed since this was last asked."""
        active = any(path.used for path in self.paths)
        for path in self.paths:
            path.used = False
        return active


class Path(Rewrite):
    """What becomes of the packets with one key."""

    __slots__ = ("connection", "from_client", "key")

    def __init__(
        self, connection: Connection, old: bytes, new: bytes, *, from_client: bool
    ) -> None:
        super().__init__(old, new)
        self.connection = connection
        self.key = old
        self.from_client = from_client


Line = dict[Connection, None]
"""Connections that end after the same time, the next one first."""


class ConnectionTable:
    """All connections of a device.

    `to_client` and `to_listener` get the frames to be written, and `admit` each new
    connection: what it returns is decided; where it returns None, `decide` has to follow.
    """

    def __init__(
        self,
        gates: dict[int, Gate],
        limits: FlowLimits,
        counters: FlowCounters,
        *,
        to_client: Callable[[bytes], object],
        to_listener: Callable[[bytes], object],
        admit: Callable[[Connection], Decision | None],
        may_report: Callable[[], bool],
    ) -> None:
        """`gates` are by IP version. `may_report` says whether one more ICMP error may leave."""
        self._gates = {16 if version == 6 else 4: gate for version, gate in gates.items()}
        self._listeners = {gate.address + gate.port.to_bytes(2, "big") for gate in gates.values()}
        self._ports = {size: _Ports(gate.peers) for size, gate in self._gates.items()}
        self._limits = limits
        self._counters = counters
        self._drops = counters.drops
        self._to_client = to_client
        self._to_listener = to_listener
        self._admit = admit
        self._may_report = may_report
        self.paths: dict[bytes, Path] = {}
        """By key. With a plain one a packet may go its way without `receive`."""
        self._live = 0
        self._opening: Line = {}
        self._open: Line = {}
        self._closed: Line = {}
        self._timeouts = (
            (self._opening, OPENING_TIMEOUT),
            (self._open, OPEN_TIMEOUT),
            (self._closed, CLOSED_TIMEOUT),
        )

    def __len__(self) -> int:
        """Connections that are not closed."""
        return self._live

    def connections(self) -> list[Connection]:
        """Those that are not closed."""
        return [
            path.connection
            for path in self.paths.values()
            if path.from_client and path.connection.state is not State.CLOSED
        ]

    def find(self, key: bytes) -> Connection | None:
        """The connection of packets with this key, as its client or its listener sends them."""
        path = self.paths.get(key)
        return None if path is None else path.connection

    def is_listener(self, key: bytes) -> bool:
        """Whether packets with this key are a listener's."""
        size = len(key) // 2 - 2
        return key[:size] + key[-4:-2] in self._listeners

    def receive(self, frame: bytes, transport: int, key: bytes, now: float) -> None:
        """Pass on a TCP packet that `locate` found, or answer it, at a time in seconds."""
        if transport + 20 > len(frame):
            self._drops[Drop.MALFORMED] += 1
            return
        flags = frame[transport + 13]
        path = self.paths.get(key)
        if path is None:
            self._receive_unknown(frame, transport, key, flags, now)
            return
        if not (path.plain and not flags & (SYN | FIN | RST)) and not self._follow(
            path.connection, path.from_client, flags, frame, transport, now
        ):
            return
        rewritten = path.apply(frame, transport)
        if rewritten is None:
            self._drops[Drop.MALFORMED] += 1
        elif path.from_client:
            self._to_listener(rewritten)
        else:
            self._to_client(rewritten)

    def _follow(
        self,
        connection: Connection,
        from_client: bool,
        flags: int,
        frame: bytes,
        transport: int,
        now: float,
    ) -> bool:
        """Note what a packet changes; whether it is to be passed on."""
        state = connection.state
        if state is State.DECIDING:
            self._drops[Drop.PENDING] += 1
            if flags & RST:
                self._forget(connection)
            elif flags & SYN and sums_up(frame, TCP, transport, connection.forward):
                connection.syn, connection.transport = frame, transport
                self._line_up(connection, self._opening, now)
            return False
        if state is State.CLOSED and from_client and flags & (SYN | ACK | RST) == SYN:
            self._receive_unknown(frame, transport, connection.forward, flags, now)
            return False
        if flags & RST:
            self._close(connection, now)
        elif state is State.OPENING:
            if flags & SYN:
                self._line_up(connection, self._opening, now)
            elif from_client:
                connection.state = State.OPEN
                connection.syn = b""
                self._counters.established += 1
                self._line_up(connection, self._open, now)
        elif state is State.CLOSED:
            if from_client or connection.closed_by == CLIENT | LISTENER:
                self._line_up(connection, self._closed, now)
            else:  # the listener did not believe the reset
                self._reopen(connection, now)
        if flags & FIN and not flags & RST:
            connection.closed_by |= CLIENT if from_client else LISTENER
            if connection.closed_by == CLIENT | LISTENER:
                self._close(connection, now)
        return True

    def _receive_unknown(
        self, frame: bytes, transport: int, key: bytes, flags: int, now: float
    ) -> None:
        source, destination, _, _ = addresses_of(key)
        if self.is_listener(key):
            self._drops[Drop.NO_FLOW] += 1
        elif not (is_unicast(source) and is_unicast(destination)):
            self._drops[Drop.NOT_UNICAST] += 1
        elif not sums_up(frame, TCP, transport, key):
            self._drops[Drop.CHECKSUM] += 1
        elif flags & (SYN | ACK | RST | FIN) == SYN:
            self._begin(frame, transport, key, now)
        else:
            self._drops[Drop.NO_FLOW] += 1
            self._reset_unknown(frame, transport, key)

    def _reset_unknown(self, frame: bytes, transport: int, key: bytes) -> None:
        answer = reset(frame, transport, key)
        if answer is not None and not self._may_report():
            self._drops[Drop.ERRORS_LIMITED] += 1
        else:
            self._answer(answer)

    def _answer(self, packet: bytes | None) -> None:
        if packet is not None:
            self._to_client(NO_OFFLOAD + packet)

    # How a connection begins.

    def _begin(self, frame: bytes, transport: int, key: bytes, now: float) -> None:
        size = len(key) // 2 - 2
        gate = self._gates.get(size)
        if gate is None:
            self._drops[Drop.NO_LISTENER] += 1
            self._reset_unknown(frame, transport, key)
            return
        if self._live >= self._limits.flows:
            self._drops[Drop.FLOWS_FULL] += 1
            return
        if len(self._opening) >= self._limits.half_open:
            self._drops[Drop.HALF_OPEN] += 1
            self._give_up(next(iter(self._opening)))
        place = self._ports[size].take()
        if place is None:
            self._drops[Drop.PORTS_FULL] += 1
            return
        peer, port = place
        to_listener = make_key(peer, gate.address, port, gate.port)
        connection = Connection(Flow.of_key("tcp", key), key, to_listener)
        connection.syn, connection.transport = frame, transport
        self.paths[key] = connection.paths[0]
        self._live += 1
        self._counters.connections += 1
        self._line_up(connection, self._opening, now)
        decision = self._admit(connection)
        if decision is not None:
            self.decide(connection, decision, now)

    def decide(self, connection: Connection, decision: Decision, now: float) -> None:
        """Say what becomes of a new connection. Has no effect on one that is given up."""
        if connection.state is not State.DECIDING or connection.line is None:
            return
        frame, transport, key = connection.syn, connection.transport, connection.forward
        if decision is Decision.TAKE:
            there, back = connection.paths
            rewritten = there.apply(frame, transport)
            if rewritten is None:
                self._drops[Drop.MALFORMED] += 1
                self._forget(connection)
                return
            connection.state = State.OPENING
            self.paths[back.key] = back
            self._line_up(connection, self._opening, now)
            self._to_listener(rewritten)
            return
        self._forget(connection)
        if decision is Decision.DROP:
            self._drops[Drop.DROPPED] += 1
            return
        self._counters.count_refused(decision)
        if decision is not Decision.UNREACHABLE:
            self._answer(reset(frame, transport, key))
        elif self._may_report():
            self._answer(unreachable(frame, key, HOST))
        else:
            self._drops[Drop.ERRORS_LIMITED] += 1

    def _give_up(self, connection: Connection) -> None:
        """Forget a connection that is not open yet, and have the listener forget it."""
        if connection.state is State.OPENING:
            start = connection.transport + 4
            sequence = int.from_bytes(connection.syn[start : start + 4], "big") + 1
            key = reverse_key(connection.to_listener)
            self._to_listener(NO_OFFLOAD + give_up(key, sequence & 0xFFFFFFFF))
        self._forget(connection)

    def accept(self, peer: bytes, port: int, held: Callable[[], bool]) -> Connection | None:
        """The connection that the listener has accepted from this address, if it is one.

        `held` tells from now on whether the accepted socket is open.
        """
        gate = self._gates.get(len(peer))
        if gate is None:
            return None
        connection = self.find(make_key(gate.address, peer, gate.port, port))
        if connection is not None:
            connection.held = held
        return connection

    # How it ends.

    def _close(self, connection: Connection, now: float) -> None:
        if connection.state is not State.CLOSED:
            connection.state = State.CLOSED
            self._live -= 1
        self._line_up(connection, self._closed, now)
        # A reset may be nothing but a guess (RFC 5961): then the socket lives on.
        if connection.closed_by == CLIENT | LISTENER or not connection.held():
            connection.flow._end()

    def _reopen(self, connection: Connection, now: float) -> None:
        """The reset was not believed. But the client may have begun anew since."""
        if self.find(connection.forward) is not connection:
            self._line_up(connection, self._closed, now)
            return
        connection.state = State.OPEN
        self._live += 1
        self._line_up(connection, self._open, now)

    def _forget(self, connection: Connection) -> None:
        if connection.line is not None:
            del connection.line[connection]
            connection.line = None
        for path in connection.paths:
            if self.paths.get(path.key) is path:
                del self.paths[path.key]
        connection.paths = ()  # which refer to the connection
        if connection.state is not State.CLOSED:
            self._live -= 1
        peer, _, port, _ = addresses_of(connection.to_listener)
        self._ports[len(peer)].give_back(peer, port)
        connection.flow._end()

    def _line_up(self, connection: Connection, line: Line, now: float) -> None:
        """Put it at the end of a line."""
        if connection.line is not None:
            del connection.line[connection]
        connection.line = line
        connection.since = now
        line[connection] = None

    @property
    def busy(self) -> bool:
        """Whether `expire` may have something to do before another packet comes."""
        return bool(self._opening or self._open or self._closed)

    def expire(self, now: float) -> None:
        """Forget the connections whose time is over."""
        for line, timeout in self._timeouts:
            while line:
                connection = next(iter(line))
                if connection.since + timeout > now:
                    break
                if line is self._opening:
                    self._give_up(connection)
                elif line is self._open and (connection.was_active() or connection.held()):
                    self._line_up(connection, line, now)
                elif (
                    line is self._closed
                    and connection.closed_by != CLIENT | LISTENER
                    and connection.held()
                ):
                    self._reopen(connection, now)
                else:
                    self._forget(connection)


class _Ports:
    """Addresses and ports for connections. The one that was given back first is taken next."""

    def __init__(self, peers: tuple[bytes, ...]) -> None:
        self._fresh = itertools.product(peers, range(FIRST_PORT, LAST_PORT + 1))
        self._rested: deque[tuple[bytes, int]] = deque()

    def take(self) -> tuple[bytes, int] | None:
        """None if each is in use."""
        place = next(self._fresh, None)
        if place is None and self._rested:
            place = self._rested.popleft()
        return place

    def give_back(self, peer: bytes, port: int) -> None:
        self._rested.append((peer, port))


def _not_held() -> bool:
    return False
