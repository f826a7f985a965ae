"""CapturedPacket: a packet as capture files have it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["LINKTYPE_ETHERNET", "LINKTYPE_RAW", "CapturedPacket"]

LINKTYPE_ETHERNET, LINKTYPE_RAW = 1, 101
"""Ethernet frames, and IP packets of either version (tcpdump.org/linktypes.html)."""


class CapturedPacket(NamedTuple):
    """One record of a capture file."""

    data: bytes
    time: int
    """Nanoseconds since 1970-01-01 UTC, as `time.time_ns()` gives them."""
    cut_off: int = 0
    """Bytes of the packet that were not captured, behind `data`."""
    link_type: int = LINKTYPE_RAW
    """What `data` begins with, a number of tcpdump.org/linktypes.html."""
