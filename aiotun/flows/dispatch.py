"""Dispatcher: each packet that comes out of a device goes to what it belongs to. Sans-I/O."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import PathMTUError
from ..offload import SuperPacket, gso_split
from ..offload.headers import TCP, UDP
from .backend import locate
from .base import Drop, FlowCounters
from .conversations import ConversationTable
from .icmp import IcmpError
from .replies import ICMP, echo_reply, icmp_sums_up
from .table import ConnectionTable
from .translate import FRAGMENT, IP, addresses_of, is_unicast, reverse_key

__all__ = ["Dispatcher"]


class Dispatcher:
    """Knows the tables, and answers what belongs to neither: `to_client` and `to_listener` write
    a whole packet."""

    def __init__(
        self,
        connections: ConnectionTable,
        conversations: ConversationTable,
        counters: FlowCounters,
        *,
        to_client: Callable[[bytes], None],
        to_listener: Callable[[bytes], None],
        echo: bool,
    ) -> None:
        self._connections = connections
        self._conversations = conversations
        self._counters = counters
        self._to_client = to_client
        self._to_listener = to_listener
        self._echo = echo

    def receive_from_listener(self, frames: list[SuperPacket], now: float) -> None:
        """What comes out of a device behind which no clients are."""
        for packet in frames:
            found = locate(packet.frame)
            if found is not None and found[0] == TCP and self._connections.is_listener(found[2]):
                self._connections.receive(packet.frame, found[1], found[2], now)
            else:
                self._counters.drops[Drop.UNSUPPORTED] += 1

    def receive_from_clients(self, frames: list[SuperPacket], now: float) -> None:
        """What comes out of a device behind which no listener is."""
        genuine = []
        for packet in frames:
            found = locate(packet.frame)
            if found is not None and self._connections.is_listener(found[2]):
                self._counters.drops[Drop.NO_FLOW] += 1
            else:
                genuine.append(packet)
        self.receive(genuine, now)

    def receive(self, frames: list[SuperPacket], now: float) -> None:
        """What comes out of a device at `now`, in seconds of any clock."""
        drops = self._counters.drops
        for packet in frames:
            frame = packet.frame
            found = locate(frame)
            if found is None:
                drops[Drop.MALFORMED] += 1
                continue
            protocol, transport, key = found
            if protocol == TCP:
                self._connections.receive(frame, transport, key, now)
            elif protocol == UDP:
                self._conversations.receive(frame, transport, key, now)
            elif protocol == FRAGMENT:
                drops[Drop.FRAGMENT] += 1
            elif protocol == ICMP[4 if len(key) == 12 else 6]:
                self._receive_icmp(frame, transport, key)
            else:
                drops[Drop.UNSUPPORTED] += 1

    def _receive_icmp(self, frame: bytes, transport: int, key: bytes) -> None:
        source, destination, _, _ = addresses_of(key)
        version = 4 if len(source) == 4 else 6
        try:
            (packet,) = gso_split(frame)  # its checksum complete
        except ValueError:  # an `OffloadError`, or several
            self._counters.drops[Drop.MALFORMED] += 1
            return
        message = packet[transport - IP :]
        if not icmp_sums_up(source + destination, message):
            self._counters.drops[Drop.CHECKSUM] += 1
            return
        error = IcmpError.parse(version, message)
        if error is not None:
            self._receive_error(error)
            return
        reply = echo_reply(source, destination, message) if self._echo else None
        if reply is None or not (is_unicast(source) and is_unicast(destination)):
            self._counters.drops[Drop.UNSUPPORTED] += 1
        else:
            self._counters.echoes += 1
            self._to_client(reply)

    def _receive_error(self, error: IcmpError) -> None:
        """Tell the flow whose packet could not be delivered to its client."""
        key = reverse_key(error.key)
        if error.protocol == TCP:
            connection = self._connections.find(key)
            if connection is not None and connection.forward == key:
                self._counters.errors += 1
                self._to_listener(error.for_listener(connection))
                return
        elif error.protocol == UDP:
            conversation = self._conversations.find(key)
            if conversation is not None:
                self._counters.errors += 1
                exc = error.exception(conversation.flow.source)
                if isinstance(exc, PathMTUError):
                    self._conversations.narrow(conversation, exc.mtu)
                conversation.failed(exc)
                return
        self._counters.drops[Drop.UNKNOWN_ERROR] += 1
