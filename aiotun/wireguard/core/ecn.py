"""Congestion marks of the outer header that go on in the inner one (RFC 6040, section 4.2)."""

from __future__ import annotations

import aiotun

__all__ = ["CE", "ECT_1", "decapsulate", "ecn_of"]

# RFC 3168, section 5
NOT_ECT = 0b00
ECT_1 = 0b01
ECT_0 = 0b10
CE = 0b11


def ecn_of(packet: bytes) -> int:
    """Of an IP packet; in IPv6 the traffic class begins in the middle of a byte."""
    return packet[1] & 3 if packet[0] >> 4 == 4 else packet[1] >> 4 & 3


def decapsulate(packet: bytes, outer: int) -> bytes | None:
    """A whole IP packet that came in a datagram marked CE or ECT(1); None: it is to be dropped."""
    inner = ecn_of(packet)
    if inner == NOT_ECT:
        return None if outer == CE else packet
    if inner in (CE, outer):
        return packet
    if packet[0] >> 4 == 6:
        return packet[:1] + bytes([packet[1] & 0xCF | outer << 4]) + packet[2:]
    head = packet[:1] + bytes([packet[1] & 0xFC | outer])
    # RFC 1624: the checksum changes with the word that does, so that a wrong one stays wrong.
    words = bytes(byte ^ 0xFF for byte in packet[10:12] + packet[:2]) + head
    checksum = aiotun.offload.checksum(words).to_bytes(2, "big")
    return head + packet[2:10] + checksum + packet[12:]
