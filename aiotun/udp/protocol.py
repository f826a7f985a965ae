"""UdpProtocol, the datagrams that it receives, and what is counted of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ..native import Counted, UdpCounts
from ..protocols import Callbacks
from ..trains import cut

if TYPE_CHECKING:
    from .base import UdpTransport

__all__ = ["Datagram", "DatagramTrain", "SocketAddress", "UdpCounters", "UdpProtocol"]

SocketAddress = tuple[str, int] | tuple[str, int, int, int]
"""Host and port; for IPv6 also flow label and scope, as the `socket` module has them.

The host is a numeric address. IPv4 addresses have their own form on a dual-stack
socket too.
"""


class Datagram(NamedTuple):
    """One datagram, as its sender sent it."""

    data: bytes
    addr: SocketAddress
    """Where it came from."""
    local: str | None
    """The address of this host that it was sent to; None where the system does not tell."""
    ecn: int
    """The ECN field of its IP header, 0 to 3 (RFC 3168); 0 where the system does not tell."""


class DatagramTrain(NamedTuple):
    """Datagrams that came in one way, as the system gave them: one behind the other."""

    data: bytes
    segment: int
    """Bytes of each datagram but the last, which may be shorter. What is 0, or not less than
    all bytes, says that there is one."""
    addr: SocketAddress
    local: str | None
    ecn: int

    def datagrams(self) -> list[Datagram]:
        data, segment, addr, local, ecn = self
        return [Datagram(each, addr, local, ecn) for each in cut(data, segment)]


class UdpProtocol(Callbacks):
    """Receives the datagrams of a UDP endpoint; every method may be overridden.

    Exactly one of the two `*_received` methods is called for a datagram:
    `trains_received` if the class overrides it.

    `pause_writing`, `resume_writing` and `connection_lost` are asyncio's own. An
    exception that leaves a callback goes to the loop's exception handler and costs
    the datagrams of that call, not the transport.
    """

    __slots__ = ()

    def connection_made(self, transport: UdpTransport) -> None:
        """The socket is open, and this is what is sent with; called first."""

    def datagrams_received(self, datagrams: list[Datagram]) -> None:
        """All that one wake-up of the loop read, at least one datagram, oldest first.

        The list belongs to the protocol from now on.
        """

    def trains_received(self, trains: list[DatagramTrain]) -> None:
        """The same as the system gave it: what UDP_GRO joined is not cut (Linux)."""

    def error_received(self, exc: Exception) -> None:
        """Something went wrong on the way to or from a peer; the transport lives on.

        `PathMTUError` for datagrams that a path does not carry whole, and the
        `OSError` that the system gave: ECONNREFUSED and its like are what ICMP
        said about earlier datagrams (only a connected endpoint is told), others
        are about datagrams that were dropped, which the counters count.
        """


@dataclass
class UdpCounters(Counted, UdpCounts):
    """What passed between the program and its socket.

    What was dropped is counted among the datagrams too: `datagrams_sent - dropped_sent` were
    given to the kernel or wait, `datagrams_received - dropped_received` to the protocol.
    `Counters` has the same for packets.
    """

    datagrams_received: int = field(default_factory=int)
    bytes_received: int = field(default_factory=int)
    messages_received: int = field(default_factory=int)
    """System calls that gave something: one may give many datagrams (UDP_GRO)."""
    dropped_received: int = field(default_factory=int)
    """Not delivered: where the kernel cannot hold them while reading is paused, those that
    were too many, or waited when the transport closed."""
    datagrams_sent: int = field(default_factory=int)
    """Datagrams that the program handed over."""
    bytes_sent: int = field(default_factory=int)
    messages_sent: int = field(default_factory=int)
    """What they were given to the kernel in: one may hold many datagrams (UDP_SEGMENT)."""
    dropped_sent: int = field(default_factory=int)
    """Those that the kernel refused, that waited for it at an `abort`, or came after `close`."""
