"""What C reads and changes of an interface, its peers and their sessions, where it is built.

`Interface`, `Peer` and `Session` are subclasses: so all of it stands in one place, and Python does
what C leaves, from the same state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ...aead import Opener, ReplayWindow, Sealer, implementation

if TYPE_CHECKING:
    from ...offload import SuperPacket
    from ...udp import DatagramTrain
    from .interface import Address, Outgoing
    from .peer import Peer
    from .session import Session
    from .tunnel import Tunnel

__all__ = ["Crossing", "InterfaceState", "PeerState", "SessionState"]

if TYPE_CHECKING or implementation == "python":

    class SessionState:
        """Of one session: first what sealing takes, then what opening takes."""

        __slots__ = (  # noqa: RUF023
            "expires",
            "rekey_due",
            "sent",
            "sealed_head",
            "_sealer",
            "last_minute",
            "_opener",
            "_window",
        )

        expires: float
        rekey_due: float
        sent: int
        sealed_head: bytes
        _sealer: Sealer
        last_minute: float
        _opener: Opener
        _window: ReplayWindow

    class PeerState:
        """Of one peer: what every packet needs stands together, as with many peers none of it is
        in the processor's caches."""

        __slots__ = (  # noqa: RUF023
            "_current",
            "_next",
            "endpoint",
            "_local",
            "tx_bytes",
            "rx_bytes",
            "_silence_due",
            "_keepalive_due",
            "_persistent_due",
            "visit",
            "_patience",
            "_keepalive_after",
            "persistent_keepalive",
            "_another_keepalive",
            "_last_minute",
        )

        _current: Session | None
        _next: Session | None
        endpoint: Address | None
        _local: str | None
        tx_bytes: int
        rx_bytes: int
        _silence_due: float
        _keepalive_due: float
        _persistent_due: float
        visit: float
        _patience: float
        _keepalive_after: float
        persistent_keepalive: int
        _another_keepalive: bool
        _last_minute: bool

    class InterfaceState:
        """Of an interface: where its packets and messages belong, and what came of them."""

        owners: dict[bytes, Peer | None]
        contacted: dict[bytes, Peer]
        sessions: dict[bytes, tuple[Peer, Session]]
        outgoing: list[Outgoing]
        incoming: list[bytes]
        mtu: int
        tcp: bool
        udp: bool
        udp_zero_checksum: bool

        def seal_for_peers(self, frames: Iterable[bytes], now: float) -> Iterable[bytes]:
            """Do for frames of the device what the tunnel does, as long as all is plain.

            Returns those that are left to it. None of a peer overtakes another.
            """
            return frames

        def open_from_peers(
            self, trains: Iterable[DatagramTrain], now: float
        ) -> Iterable[DatagramTrain]:
            """The same for trains of the socket."""
            return trains

    class Crossing:
        """What a device and a socket give to each other, natively as long as all is plain."""

        def __init__(
            self,
            wireguard: object,
            tunnel: Tunnel,
            interface: InterfaceState,
            timers: object,
            clock: Callable[[], float],
            super_packet: type[SuperPacket],
        ) -> None:
            """`wireguard` has a `transport`, a `udp`, `_due` and `_pass_on`, as `WireGuard` has."""

        def super_packets_received(self, packets: list[SuperPacket]) -> None: ...
        def trains_received(self, trains: list[DatagramTrain]) -> None: ...

else:
    from ...native._aead import Crossing, InterfaceState, PeerState, SessionState
