"""Congestion marks of the outer header that go on in the inner one (RFC 6040, section 4.2)."""

from __future__ import annotations

import struct

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
    """An IP packet that came in a datagram marked CE or ECT(1); None: it is to be dropped."""
    inner = ecn_of(packet)
    if inner == NOT_ECT:
        return None if outer == CE else packet
    if inner in (CE, outer):
        return packet
    if packet[0] >> 4 == 6:
        return packet[:1] + bytes([packet[1] & 0xCF | outer << 4]) + packet[2:]
    size = (packet[0] & 0xF) * 4
    header = bytearray(packet[:size])
    header[1] = header[1] & 0xFC | outer
    header[10:12] = bytes(2)
    struct.pack_into("!H", header, 10, aiotun.offload.checksum(header))
    return bytes(header) + packet[size:]
