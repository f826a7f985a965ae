"""Frames of a device sealed to trains of messages, and trains opened to frames.

In steps that are made of others: the specification of what is native in one. A frame is a
virtio_net_hdr and its packet; a train is what one message of a UDP socket holds.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import compress
from typing import TYPE_CHECKING, NamedTuple

from ..kinds import check_kind
from ..offload import GROTable, gso_split
from ..trains import Train, batches, cut

if TYPE_CHECKING:
    from .python import Opener, Sealer
    from .replay import ReplayWindow

__all__ = ["Opened", "open_frames", "seal_frames"]

IPV4_HEADER, IPV6_HEADER = 20, 40


class Opened(NamedTuple):
    """What was in trains."""

    frames: list[bytes]
    """Packets that are authentic and new, coalesced, without what stood behind them."""
    strays: list[bytes]
    """Messages with another head, which were not looked at."""
    accepted: int
    """Messages that are authentic and new, the empty ones too."""
    size: int
    """Bytes in them, padding included."""
    forged: int
    replayed: int
    malformed: int
    """Of those accepted: what is not empty, and holds no whole IP packet."""


def seal_frames(
    sealer: Sealer, frames: Iterable[bytes], head: bytes, counter: int, pad: int, limit: int
) -> tuple[list[Train], int]:
    """See `Sealer.seal_frames` in `_aead.pyi`."""
    packets = [packet for frame in frames for packet in gso_split(frame)]
    messages = sealer.seal(packets, head, counter, pad, limit)
    return [(b"".join(batch), len(batch[0])) for batch in batches(messages)], len(messages)


def open_frames(
    opener: Opener, trains: Iterable[Train], head: bytes, window: ReplayWindow, table: GROTable
) -> Opened:
    """See `Opener.open_frames` in `_aead.pyi`."""
    messages: list[bytes] = []
    for data, segment in trains:
        if type(data) is not bytes:
            check_kind(data, "what a train holds", bytes)
        if type(segment) is not int:
            check_kind(segment, "a train's segment", int)
        messages += cut(data, segment)
    own = [message for message in messages if message.startswith(head)]
    authentic, counters = opener.open(own)
    new = [window.accept(counter) for counter in counters]
    packets = list(compress(authentic, new))
    lengths = list(map(ip_length, packets))
    whole = [packet[:length] for packet, length in zip(packets, lengths, strict=True) if length]
    return Opened(
        frames=table.coalesce(whole),
        strays=[message for message in messages if not message.startswith(head)],
        accepted=len(packets),
        size=sum(map(len, packets)),
        forged=len(own) - len(authentic),
        replayed=len(authentic) - len(packets),
        malformed=sum(bool(packet) for packet in packets) - len(whole),
    )


def ip_length(packet: bytes) -> int:
    """The length that an IP packet says it has, padded or not; 0: there is no whole packet.

    RFC 791, section 3.1; RFC 8200, section 3.
    """
    if len(packet) >= IPV4_HEADER and 0x45 <= packet[0] <= 0x4F:  # five words of header, or more
        header, length = (packet[0] & 0xF) * 4, int.from_bytes(packet[2:4], "big")
    elif len(packet) >= IPV6_HEADER and packet[0] >> 4 == 6:
        header, length = IPV6_HEADER, IPV6_HEADER + int.from_bytes(packet[4:6], "big")
    else:
        return 0
    return length if header <= length <= len(packet) else 0
