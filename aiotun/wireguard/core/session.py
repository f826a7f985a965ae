"""Session: the keys of one handshake and what is sealed and opened with them."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

from ...aead import Opener, ReplayWindow, Sealer
from .messages import TRANSPORT
from .states import SessionState

if TYPE_CHECKING:
    from ...trains import Train
    from .counters import Counters
    from .noise import Keys

__all__ = [
    "REJECT_AFTER_MESSAGES",
    "REJECT_AFTER_TIME",
    "REKEY_AFTER_MESSAGES",
    "REKEY_AFTER_TIME",
    "Session",
]

# The paper's table in section 6.1; times in seconds.
REKEY_AFTER_MESSAGES = 2**60
REJECT_AFTER_MESSAGES = 2**64 - 2**13 - 1
REKEY_AFTER_TIME = 120.0
REJECT_AFTER_TIME = 180.0

PADDING = 16
"""What sizes of packets are multiples of, in bytes (section 5.4.6)."""


class Session(SessionState):
    """Seals frames to trains of transport messages, and opens them; one side of a handshake."""

    __slots__ = ("created", "head", "index", "initiator")

    def __init__(self, index: int, remote_index: int, keys: Keys, now: float, initiator: bool):
        self.index = index
        self.head = TRANSPORT + index.to_bytes(4, "little")
        """What all messages that it opens begin with."""
        self.created = now
        self.expires = now + REJECT_AFTER_TIME
        self.initiator = initiator
        self.rekey_due = now + REKEY_AFTER_TIME if initiator else inf
        """When to begin another handshake rather than only send."""
        self.last_minute = inf
        """When to begin another handshake although we only receive; the peer sets it."""
        self.sent = 0
        """Messages: the counter of the next one."""
        self.sealed_head = TRANSPORT + remote_index.to_bytes(4, "little")
        """What all messages that it seals begin with."""
        self._sealer = Sealer(keys.send)
        self._opener = Opener(keys.receive, len(self.head))
        self._window = ReplayWindow(REJECT_AFTER_MESSAGES)

    def seal(self, frames: Sequence[bytes], mtu: int) -> tuple[list[Train], int]:
        """A message for each packet, padded to 16 bytes as far as the MTU allows; how many.

        Raises `OffloadError` for a malformed frame, and then has sealed nothing.
        """
        trains, count = self._sealer.seal_frames(frames, self.sealed_head, self.sent, PADDING, mtu)
        self.sent += count
        return trains, count

    def open(
        self,
        trains: Sequence[Train],
        drops: Counters,
        tcp: bool = True,
        udp: bool = True,
        udp_zero_checksum: bool = False,
    ) -> tuple[list[bytes], list[bytes], int, int]:
        """The frames of packets in the messages that are authentic and new, coalesced.

        Then the messages of other sessions, how many of this one were taken, and how many
        bytes were in them, padding included.
        """
        frames, strays, accepted, size, forged, replayed, malformed = self._opener.open_frames(
            trains, self.head, self._window, tcp, udp, udp_zero_checksum
        )
        drops.forged += forged
        drops.replayed += replayed
        drops.bad_packet += malformed
        return frames, strays, accepted, size
