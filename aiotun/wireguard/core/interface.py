"""Interface: what the peers of one interface have in common."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from ...udp import SocketAddress as Address
from ..keys import KEY_SIZE
from .allowed_ips import AllowedIPs
from .counters import Counters
from .ecn import CE, ECT_1, decapsulate
from .packets import PACKET, count_of, source_of
from .states import InterfaceState
from .timers import Timers

if TYPE_CHECKING:
    from .peer import Peer
    from .session import Session

__all__ = ["Address", "Interface", "Outgoing"]


Outgoing = tuple[bytes, int, Address, str | None, int]
"""A train (`Train`), where it goes, the address to send from (None: the system's choice), the ECN
field: the fields of a `DatagramTrain`.

A plain tuple: one with names takes as long to make as a tenth of all that a packet takes."""


class Interface(InterfaceState):
    """The private key, the indices by which peers name our sessions, and what is to be sent."""

    def __init__(
        self,
        mtu: int,
        keylog: Callable[[str], None] | None,
        random: random.Random,
        wall_clock: Callable[[], float],
    ) -> None:
        self.private_key = bytes(KEY_SIZE)
        self.static: X25519PrivateKey | None = None
        """None: there is no key, and no handshake can be made."""
        self.mtu = mtu
        self.tcp = self.udp = True
        """Whether the device takes super-packets of these."""
        self.udp_zero_checksum = False
        """Whether UDP without a checksum is coalesced too."""
        self.keylog = keylog
        self.random = random
        self.wall_clock = wall_clock
        self.counters = Counters()
        self.routes: AllowedIPs[Peer] = AllowedIPs()
        self.owners = self.routes.owners
        self.sessions: dict[bytes, tuple[Peer, Session]] = {}
        """By what the messages for the session begin with."""
        self.indices: dict[int, Peer] = {}
        """By our index of a session, or of a handshake that we began."""
        self.contacted: dict[bytes, Peer] = {}
        """By the address to which handshake messages went: whose they were."""
        self.outgoing: list[Outgoing] = []
        self.incoming: list[bytes] = []
        """Frames for the device."""
        self.timers: Timers[Peer] = Timers()
        self.handshakes = 0
        """How many were completed."""
        self.shook_hands: list[Callable[[Peer], None]] = []
        """Called when a handshake is complete, and the peer has shown that it has the keys."""
        self.unanswered: Callable[[Peer], None] | None = None
        """Called when an initiation is about to be sent again."""

    def set_private_key(self, private_key: bytes) -> None:
        self.private_key = private_key
        self.static = X25519PrivateKey.from_private_bytes(private_key) if any(private_key) else None

    def deliver(self, frame: bytes, peer: Peer, ecn: int) -> None:
        """Take IP packets from a peer, if they come from its own addresses.

        `ecn` is the ECN field of what they came in.
        """
        if self.routes.find(source_of(frame)) is not peer:  # all packets of one have the same
            self.counters.bad_source += count_of(frame)
        elif ecn not in (CE, ECT_1):
            self.incoming.append(frame)
        else:
            self._deliver_marked(frame, ecn)

    def _deliver_marked(self, frame: bytes, ecn: int) -> None:
        """Mark all packets of a frame, which have the same ECN field, or drop them."""
        packet = decapsulate(frame[PACKET], ecn)
        if packet is None:
            self.counters.congested += count_of(frame)
        else:
            self.incoming.append(frame[: -len(packet)] + packet)

    def new_index(self, peer: Peer) -> int:
        while True:
            index = self.random.getrandbits(32)
            if index not in self.indices:
                self.indices[index] = peer
                return index
