"""What the modules of flows share: a flow, what is decided about it, limits and counters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ..errors import ConfigError
from .translate import addresses_of

if TYPE_CHECKING:
    from ..device import Device

__all__ = [
    "QUEUED",
    "Accept",
    "Decision",
    "Drop",
    "Flow",
    "FlowAddress",
    "FlowCounters",
    "FlowLimits",
    "Protocol",
]

Protocol = Literal["tcp", "udp"]

QUEUED = 64
"""Bytes that each queued datagram counts for besides its own: one may be empty."""


class FlowAddress(NamedTuple):
    """One end of a flow: a numeric host and a port, as `asyncio.open_connection` takes them."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Flow:
    """A TCP connection or a UDP conversation that came out of a device."""

    __slots__ = (
        "_callbacks",
        "attachment",
        "destination",
        "device",
        "ended",
        "protocol",
        "source",
    )

    def __init__(
        self,
        protocol: Protocol,
        source: FlowAddress,
        destination: FlowAddress,
    ) -> None:
        self.protocol: Protocol = protocol
        self.source = source
        """The client, as its packets name it."""
        self.destination = destination
        """Where the client wants to go."""
        self.device: Device | None = None
        """The device that it came out of."""
        self.attachment: Any = None
        """For the program: what `accept=` found out and the handler needs."""
        self.ended = False
        """Whether its packets go nowhere any more."""
        self._callbacks: list[Callable[[Flow], object]] = []

    @classmethod
    def of_key(cls, protocol: Protocol, key: bytes) -> Flow:
        """The flow whose client sends packets with this key."""
        source, destination, sport, dport = addresses_of(key)
        return cls(
            protocol,
            FlowAddress(str(ip_address(source)), sport),
            FlowAddress(str(ip_address(destination)), dport),
        )

    def add_done_callback(self, callback: Callable[[Flow], object]) -> None:
        """Call it with this flow when the flow has ended, also if no handler ever had it.

        What `accept=` opened is closed here if the client gives up. A TCP connection has
        ended when both sides have, or one reset it. If the flow has ended already, the
        callback is called at once.
        """
        if self.ended:
            callback(self)
        else:
            self._callbacks.append(callback)

    def _end(self) -> None:
        """Call the callbacks, once."""
        self.ended = True
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)

    def __repr__(self) -> str:
        return f"<Flow {self.protocol} {self.source} -> {self.destination}>"


class Decision(Enum):
    """What `accept=` says about a new flow, before its client hears anything."""

    TAKE = "take"
    """The handler gets it."""
    REFUSE = "refuse"
    """TCP gets a reset, UDP an ICMP port unreachable: the client's connect says ECONNREFUSED."""
    FORBID = "forbid"
    """The same, counted apart: the client may not go there, whoever is there."""
    UNREACHABLE = "unreachable"
    """An ICMP host unreachable: EHOSTUNREACH."""
    DROP = "drop"
    """Nothing: the client waits until it gives up, or tries again and is asked about again."""


Accept = Callable[[Flow], "Decision | Awaitable[Decision]"]


class Drop(str, Enum):
    """Why a packet from the device, or a datagram for a client, went nowhere."""

    MALFORMED = "malformed"
    """No IP packet, lengths that contradict each other, or a partial checksum elsewhere."""
    CHECKSUM = "checksum"
    """Of a packet that would begin something, or that is delivered as a datagram."""
    FRAGMENT = "fragment"
    """A part of a packet: nothing puts these together."""
    UNSUPPORTED = "unsupported"
    """No protocol of which there are flows."""
    NOT_UNICAST = "not unicast"
    """From or to an address that is none of a single host."""
    NO_LISTENER = "no listener"
    """Connections of that IP version are not served, and get a reset: there is no handler, or no
    address on the device to listen at."""
    NO_FLOW = "no flow"
    """Of a connection that is not known (any more), which got a reset. Also a connection of this
    host to the listening socket itself, and datagrams that came in one packet, the first of
    which ended their conversation."""
    PENDING = "pending"
    """Repeated while the decision about it is pending, too much meanwhile, or never decided."""
    DROPPED = "dropped"
    """By decision."""
    HALF_OPEN = "half open"
    """A connection that was not open yet had to give way to a newer one."""
    FLOWS_FULL = "flows full"
    """There are `FlowLimits.flows` open connections."""
    PORTS_FULL = "ports full"
    """Each port is in use, or was within the last minute."""
    CONVERSATIONS_FULL = "conversations full"
    """There are `FlowLimits.conversations`, of which none may give way."""
    QUEUE_FULL = "queue full"
    """The datagrams of a conversation were read too slowly."""
    DEVICE_FULL = "device full"
    """Datagrams for clients, of any conversation, that came while the device took no more."""
    ERRORS_LIMITED = "errors limited"
    """An answer that was not given: there are `FlowLimits.errors` of them a second at most."""
    UNKNOWN_ERROR = "unknown error"
    """An ICMP error about no flow."""


@dataclass
class FlowCounters:
    """What became of the flows, and of packets that belong to none."""

    connections: int = 0
    """TCP connections that were asked for, retransmissions left out."""
    established: int = 0
    """Those of them whose handshake came to its end."""
    conversations: int = 0
    """UDP conversations that began."""
    refused: int = 0
    """Flows that got a reset or an ICMP error instead, by decision."""
    forbidden: int = 0
    """Flows that got one as their client may not go there (`Decision.FORBID`)."""
    echoes: int = 0
    """Echo requests that were answered."""
    errors: int = 0
    """ICMP errors that reached their flow."""
    drops: Counter[Drop] = field(default_factory=Counter)
    """Packets that went nowhere, by reason."""

    def count_refused(self, decision: Decision) -> None:
        if decision is Decision.FORBID:
            self.forbidden += 1
        else:
            self.refused += 1


@dataclass(frozen=True)
class FlowLimits:
    """How much there may be of everything, and for how long. Raises `ConfigError`."""

    flows: int = 16384
    """TCP connections, from the first packet until both sides have closed."""
    half_open: int = 1024
    """Those of them whose handshake goes on, or about which `accept=` decides. The oldest of
    them gives way to a newcomer."""
    conversations: int = 16384
    """UDP conversations. One that never got as far as a second datagram from its client
    behind an answer gives way first, the oldest of all; others after two idle minutes."""
    conversation_timeout: float = 300.0
    """Seconds without a datagram after which a conversation ends (RFC 4787 REQ-5)."""
    short_timeout: float = 10.0
    """The same towards the ports in `short_ports`, which have one question and one answer."""
    short_ports: frozenset[int] = frozenset({53})
    """Of UDP."""
    queued_bytes: int = 256 * 1024
    """Of datagrams that wait for a decision or a handler, in each conversation."""
    errors: int = 1000
    """ICMP errors and resets for unknown connections in a second (RFC 4443 section 2.4)."""

    def __post_init__(self) -> None:
        for name in ("flows", "half_open", "conversations", "queued_bytes", "errors"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} must be a positive int, not {value!r}")
        for name in ("conversation_timeout", "short_timeout"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                raise ConfigError(f"{name} must be a positive number of seconds, not {value!r}")
