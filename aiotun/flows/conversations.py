"""The table of UDP conversations: datagrams out of packets, packets out of datagrams (sans-I/O)."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable

from ..offload import VirtioNetHeader
from ..offload.headers import UDP
from .base import QUEUED, Decision, Drop, Flow, FlowCounters, FlowLimits
from .replies import HOST, PORT, DatagramWriter, unreachable
from .translate import addresses_of, is_unicast, sums_up

__all__ = ["Conversation", "ConversationTable"]

IDLE_MIN = 120.0
"""Seconds without a datagram before which no newcomer takes an established conversation's place
(RFC 4787 REQ-5: no mapping ends in less than two minutes)."""

UDP_SIZE = 8


class Conversation:
    """The datagrams between a client and a destination."""

    __slots__ = (
        "answered",
        "ended",
        "failed",
        "first",
        "flow",
        "key",
        "line",
        "mtu",
        "queued",
        "received",
        "since",
        "waiting",
        "writer",
    )

    def __init__(self, flow: Flow, key: bytes, first: bytes) -> None:
        self.flow = flow
        self.key = key
        self.first = first
        """The frame with which it began, while it is undecided."""
        self.waiting: list[bytes] | None = []
        """Datagrams that came before it was decided; None afterwards."""
        self.queued = 0
        """Bytes of them."""
        self.writer = DatagramWriter(key)
        self.mtu: int | None = None
        """Of the path to the client, where that is known to be narrower than the device."""
        self.answered = False
        self.line = NOWHERE
        self.since = 0.0
        """When its last datagram passed."""
        self.received: Callable[[bytes], object] = lambda data: None
        """What gets its datagrams,"""
        self.failed: Callable[[OSError], object] = lambda exc: None
        """errors about those that were sent,"""
        self.ended: Callable[[], object] = lambda: None
        """and what is called at the end."""


Line = OrderedDict[Conversation, None]
"""Conversations that end after the same idle time, the next one first."""

NOWHERE: Line = OrderedDict()
"""The line of one that is in none: not yet, or no more."""


class ConversationTable:
    """All conversations of a device.

    `write` gets whole packets for clients; `admit` each new conversation: what it returns is
    decided, and if that is None, `decide` has to follow. `take` sets the callbacks of one that
    is taken.
    """

    def __init__(
        self,
        limits: FlowLimits,
        counters: FlowCounters,
        *,
        write: Callable[[bytes], object],
        admit: Callable[[Conversation], Decision | None],
        take: Callable[[Conversation], object],
        may_report: Callable[[], bool],
    ) -> None:
        self._limits = limits
        self._counters = counters
        self._drops = counters.drops
        self._write = write
        self._admit = admit
        self._take = take
        self._may_report = may_report
        self._conversations: dict[bytes, Conversation] = {}
        self._new: Line = OrderedDict()
        self._short: Line = OrderedDict()
        self._established: Line = OrderedDict()
        self._timeouts = (
            (self._new, limits.conversation_timeout),
            (self._short, limits.short_timeout),
            (self._established, limits.conversation_timeout),
        )

    def __len__(self) -> int:
        return len(self._conversations)

    def conversations(self) -> list[Conversation]:
        return list(self._conversations.values())

    def find(self, key: bytes) -> Conversation | None:
        """The one whose client sends packets with this key."""
        return self._conversations.get(key)

    def receive(self, frame: bytes, transport: int, key: bytes, now: float) -> None:
        """Deliver the datagrams of a UDP packet that `locate` found, at a time in seconds."""
        payload = transport + UDP_SIZE
        if frame[transport + 4] << 8 | frame[transport + 5] != len(frame) - transport:
            self._drops[Drop.MALFORMED] += 1
            return
        if not sums_up(frame, UDP, transport, key):
            self._drops[Drop.CHECKSUM] += 1
            return
        size = len(frame) - payload
        if frame[1]:  # a super-packet
            size = int.from_bytes(frame[4:6], sys.byteorder)
            if frame[1] != VirtioNetHeader.GSO_UDP_L4 or not size:
                self._drops[Drop.MALFORMED] += 1
                return
        conversation = self._conversations.get(key)
        begins = conversation is None
        if conversation is None:
            conversation = self._begin(frame, key, now)
            if conversation is None:
                return
        elif conversation.answered and conversation.line is self._new:
            self._line_up(conversation, self._established, now)
        else:
            self._touch(conversation, now)
        for start in range(payload, len(frame), size) if size else (payload,):
            self._deliver(conversation, frame[start : start + size])
        if begins:
            decision = self._admit(conversation)
            if decision is not None:
                self.decide(conversation, decision)

    def _deliver(self, conversation: Conversation, data: bytes) -> None:
        if conversation.line is NOWHERE:
            self._drops[Drop.NO_FLOW] += 1
        elif conversation.waiting is None:
            conversation.received(data)
        elif conversation.queued + QUEUED + len(data) > self._limits.queued_bytes:
            self._drops[Drop.PENDING] += 1
        else:
            conversation.waiting.append(data)
            conversation.queued += QUEUED + len(data)

    def _begin(self, frame: bytes, key: bytes, now: float) -> Conversation | None:
        source, destination, sport, dport = addresses_of(key)
        if not (is_unicast(source) and is_unicast(destination)) or not (sport and dport):
            self._drops[Drop.NOT_UNICAST] += 1
            return None
        if len(self) >= self._limits.conversations and not self._make_room(now):
            self._drops[Drop.CONVERSATIONS_FULL] += 1
            return None
        conversation = Conversation(Flow.of_key("udp", key), key, frame)
        self._conversations[key] = conversation
        short = dport in self._limits.short_ports
        self._line_up(conversation, self._short if short else self._new, now)
        self._counters.conversations += 1
        return conversation

    def _make_room(self, now: float) -> bool:
        """End the conversation that a newcomer replaces, if there is one."""
        oldest = [next(iter(line)) for line in (self._new, self._short) if line]
        if oldest:
            self.end(min(oldest, key=lambda each: each.since))
            return True
        longest_idle = next(iter(self._established))
        if longest_idle.since + IDLE_MIN > now:
            return False
        self.end(longest_idle)
        return True

    def decide(self, conversation: Conversation, decision: Decision) -> None:
        """Say what becomes of a new conversation. Has no effect on one that has ended."""
        waiting, frame = conversation.waiting, conversation.first
        if waiting is None or self.find(conversation.key) is not conversation:
            return
        conversation.waiting, conversation.first = None, b""
        if decision is Decision.TAKE:
            self._take(conversation)
            for data in waiting:
                self._deliver(conversation, data)
            return
        self.end(conversation)
        if decision is Decision.DROP:
            self._drops[Drop.DROPPED] += len(waiting)
            return
        self._counters.count_refused(decision)
        reason = HOST if decision is Decision.UNREACHABLE else PORT
        answer = unreachable(frame, conversation.key, reason)
        if answer is None or not self._may_report():
            self._drops[Drop.ERRORS_LIMITED] += 1
        else:
            self._write(answer)

    def send(self, conversation: Conversation, data: bytes, mtu: int, now: float) -> None:
        """Send a datagram to the client, from the destination. The device's MTU is in bytes.

        Raises `ValueError` for one that is too long for UDP.
        """
        if len(data) > conversation.writer.payload_max:
            raise ValueError(f"a datagram of {len(data)} bytes")
        if conversation.mtu is not None:
            mtu = min(mtu, conversation.mtu)
        conversation.answered = True
        self._touch(conversation, now)
        for packet in conversation.writer.packets(data, mtu):
            self._write(packet)

    def narrow(self, conversation: Conversation, mtu: int) -> None:
        """Take note that the path to the client has this MTU, as an ICMP error says."""
        least = 68 if len(conversation.key) == 12 else 1280  # RFC 791, RFC 8200 section 5
        conversation.mtu = max(mtu, least)

    def end(self, conversation: Conversation) -> None:
        """Forget it. Idempotent."""
        if self.find(conversation.key) is conversation:
            del self._conversations[conversation.key]
            del conversation.line[conversation]
            conversation.line = NOWHERE
            if conversation.waiting:
                self._drops[Drop.PENDING] += len(conversation.waiting)
            conversation.ended()
            conversation.flow._end()

    def expire(self, now: float) -> None:
        """End the conversations that were idle for too long."""
        for line, timeout in self._timeouts:
            while line and next(iter(line)).since + timeout <= now:
                self.end(next(iter(line)))

    def _line_up(self, conversation: Conversation, line: Line, now: float) -> None:
        conversation.line.pop(conversation, None)
        conversation.line = line
        line[conversation] = None
        conversation.since = now

    def _touch(self, conversation: Conversation, now: float) -> None:
        conversation.line.move_to_end(conversation)
        conversation.since = now
