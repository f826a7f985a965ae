"""Session: the keys of one handshake and what is sealed and opened with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import compress
from math import inf
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from .messages import TRANSPORT
from .replay import ReplayWindow

if TYPE_CHECKING:
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

NONCE_HEAD = bytes(4)
"""A nonce is four zero bytes and the counter, little endian (section 5.4.6)."""


class Session:
    """Seals and opens lists of transport messages; one of the two sides of a handshake."""

    # First what sealing takes, then what opening takes: see Peer.
    __slots__ = (  # noqa: RUF023
        "expires",
        "sent",
        "sealed_head",
        "_encrypt",
        "rekey_due",
        "_decrypt",
        "_window",
        "initiator",
        "created",
        "head",
        "index",
    )

    def __init__(self, index: int, remote_index: int, keys: Keys, now: float, initiator: bool):
        self.index = index
        self.head = TRANSPORT + index.to_bytes(4, "little")
        """What all messages that it opens begin with."""
        self.created = now
        self.expires = now + REJECT_AFTER_TIME
        self.initiator = initiator
        self.rekey_due = now + REKEY_AFTER_TIME if initiator else inf
        """When to begin another handshake rather than only send."""
        self.sent = 0
        """Messages: the counter of the next one."""
        self.sealed_head = TRANSPORT + remote_index.to_bytes(4, "little")
        """What all messages that it seals begin with."""
        self._encrypt = ChaCha20Poly1305(keys.send).encrypt
        self._decrypt = ChaCha20Poly1305(keys.receive).decrypt
        self._window = ReplayWindow(REJECT_AFTER_MESSAGES)

    def seal(self, packets: Sequence[bytes], mtu: int) -> list[bytes]:
        """A message for each packet, padded to 16 bytes as far as the MTU allows."""
        head, encrypt, nonce_head = self.sealed_head, self._encrypt, NONCE_HEAD
        messages: list[bytes] = []
        number = self.sent
        self.sent += len(packets)
        for packet in packets:
            if len(packet) < mtu:
                packet += bytes(min(-len(packet) % 16, mtu - len(packet)))
            counter = number.to_bytes(8, "little")
            messages.append(head + counter + encrypt(nonce_head + counter, packet, None))
            number += 1
        return messages

    def open(self, messages: Iterable[bytes], drops: Counters) -> list[bytes]:
        """The packets in the messages that are authentic and new, still padded."""
        decrypt, nonce_head = self._decrypt, NONCE_HEAD
        packets: list[bytes] = []
        counters: list[int] = []
        for message in messages:
            counter = message[8:16]
            try:
                packet = decrypt(nonce_head + counter, message[16:], None)
            except (InvalidTag, ValueError):  # ValueError: too short for a counter
                drops.forged += 1
            else:
                packets.append(packet)
                counters.append(int.from_bytes(counter, "little"))
        if packets and not self._window.advance(counters):  # some were lost, or overtaken
            new = list(map(self._window.accept, counters))
            drops.replayed += new.count(False)
            packets = list(compress(packets, new))
        return packets
