"""The Internet checksum (RFC 1071) of whole packets, and of packets that have it in part."""

from __future__ import annotations

from ..buffers import to_bytes
from ..errors import FrameHeaderError

__all__ = ["checksum", "complete_checksum", "partial_sum", "pseudo_header_sum"]


def partial_sum(data: bytes | bytearray | memoryview, initial: int = 0) -> int:
    """The one's complement sum of 16-bit big-endian words, 0 to 0xFFFF, not complemented.

    An odd last byte counts as the high half of a word. `initial` is a sum to go
    on from (of data of even length) or any non-negative number to add. Raises
    `TypeError` for data that is none of the three.
    """
    data = to_bytes(data, "sum's data")
    total = int.from_bytes(data, "big")
    if len(data) & 1:
        total <<= 8
    total += initial
    # 2**16 is 1 modulo 0xFFFF: the remainder is the sum of all words with their
    # carries, except that one's complement has two zeros and only 0 gives 0.
    return total % 0xFFFF or (0xFFFF if total else 0)


def checksum(data: bytes | bytearray | memoryview, initial: int = 0) -> int:
    """The checksum as it stands in a header: the complement of `partial_sum`.

    Over data that contains its own, correct checksum it is 0.
    """
    return partial_sum(data, initial) ^ 0xFFFF


def pseudo_header_sum(addresses: bytes, protocol: int, length: int) -> int:
    """What TCP and UDP sum up before their own header (RFC 9293 section 3.1, RFC 8200 section 8.1).

    `addresses` are source and destination as they follow each other in the IP
    header: 8 bytes, or 32 for IPv6. `length` counts transport header and payload.
    """
    return partial_sum(addresses, protocol + length)


def complete_checksum(packet: bytes, start: int, offset: int) -> bytes:
    """The packet with its partial checksum completed (VIRTIO_NET_HDR_F_NEEDS_CSUM without GSO).

    The checksum covers everything from `start`, and stands `offset` bytes behind
    it, where the sum of the pseudo-header is until now. Raises `FrameHeaderError`
    if that is outside the packet.
    """
    field = start + offset
    if field + 2 > len(packet):
        raise FrameHeaderError(
            f"csum_start {start} and csum_offset {offset} lie outside the packet, "
            f"which has {len(packet)} bytes"
        )
    # Zero means "no checksum" in UDP, so its other form is sent, for TCP as well
    # (skb_checksum_help in net/core/dev.c).
    value = checksum(packet[start:]) or 0xFFFF
    return packet[:field] + value.to_bytes(2, "big") + packet[field + 2 :]
