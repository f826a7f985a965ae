"""Blocks of pcapng files: where things are in them, and how they are written.

Written are the section header, the description of an interface, packets and an interface's
statistics (draft-ietf-opsawg-pcapng, sections 4.1 to 4.3 and 4.6).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import TypeVar

from ..errors import CodecError
from .base import MAX_FRAME

__all__ = [
    "UINT32_MAX",
    "enhanced_packet",
    "interface_description",
    "interface_statistics",
    "section_header",
]

Data = TypeVar("Data", bound=bytes | memoryview)

# Section 3.1: each block begins with its type and total length, and ends with that length.
BLOCK_HEADER = 8
BLOCK_TRAILER = 4
BLOCK_MIN = BLOCK_HEADER + BLOCK_TRAILER

# Section 4, the block types that are used; readers skip all others.
SECTION_HEADER = 0x0A0D0D0A
INTERFACE_DESCRIPTION = 1
OBSOLETE_PACKET = 2
SIMPLE_PACKET = 3
INTERFACE_STATISTICS = 5
ENHANCED_PACKET = 6

BODY_MIN = {
    SECTION_HEADER: 16,
    INTERFACE_DESCRIPTION: 8,
    OBSOLETE_PACKET: 20,
    SIMPLE_PACKET: 4,
    ENHANCED_PACKET: 20,
}

SECTION_BYTES = SECTION_HEADER.to_bytes(4, "big")
"""The same in either byte order, so that a section is found before its order is known."""


class Format:
    """The structures of a section, in its byte order (as struct writes it)."""

    def __init__(self, order: str) -> None:
        self.block = struct.Struct(order + "II")
        """Type and total length (section 3.1)."""
        self.section = struct.Struct(order + "IHHq")
        """Byte-order magic, major and minor version, section length or -1 (4.1)."""
        self.interface = struct.Struct(order + "HHI")
        """Link type, reserved, snap length or 0 (4.2)."""
        self.option = struct.Struct(order + "HH")
        """Code and length (3.5)."""
        self.offset = struct.Struct(order + "q")
        """Value of OPTION_OFFSET."""
        self.enhanced = struct.Struct(order + "IIIII")
        """Interface, upper and lower half of the time, captured and original length (4.3)."""
        self.obsolete = struct.Struct(order + "HHIIII")
        """The same with an interface of 16 bits, and the drops before the packet (appendix A)."""
        self.simple = struct.Struct(order + "I")
        """Original length (4.4)."""


BYTE_ORDER_MAGIC = 0x1A2B3C4D
LITTLE, BIG = Format("<"), Format(">")
FORMATS = {
    BYTE_ORDER_MAGIC.to_bytes(4, "little"): LITTLE,
    BYTE_ORDER_MAGIC.to_bytes(4, "big"): BIG,
}

VERSION = 1, 0

# Options: 16 bits of code and length each, padded to 32 bits (3.5). Their codes: any block's
# (3.5), a section's (4.1), an interface's (4.2), a packet's (4.3), statistics' (4.6).
OPTION_END, OPTION_COMMENT = 0, 1
OPTION_OS, OPTION_APPLICATION = 3, 4
OPTION_NAME, OPTION_RESOLUTION, OPTION_FILTER, OPTION_OFFSET = 2, 9, 11, 14
OPTION_FLAGS = 2
OPTION_START, OPTION_END_TIME, OPTION_RECEIVED, OPTION_DROPPED, OPTION_DELIVERED = 2, 3, 4, 5, 8

FILTER_OF_LIBPCAP = b"\0"
"""In front of a filter that is a string in libpcap's syntax."""
INBOUND, OUTBOUND = 1, 2
"""Values of OPTION_FLAGS, as the system that has the interface sees it."""
OPTION_SIZES = {OPTION_RESOLUTION: 1, OPTION_OFFSET: 8}
"""Bytes of the values that are read."""
MICROSECONDS, NANOSECONDS = 6, 9
RESOLUTION_IS_BINARY = 0x80
"""Values of OPTION_RESOLUTION: the negative exponent of 10, with this bit of 2."""

SECOND = 1_000_000_000
UINT32_MAX, UINT64_MAX = (1 << 32) - 1, (1 << 64) - 1


def section_header(*, application: str = "", system: str = "") -> bytes:
    """The block that a file begins with, of any length. Empty strings are left out."""
    body = LITTLE.section.pack(BYTE_ORDER_MAGIC, *VERSION, -1)
    return _block(
        SECTION_HEADER, body, _strings((OPTION_OS, system), (OPTION_APPLICATION, application))
    )


def interface_description(
    link_type: int, snap_length: int = MAX_FRAME, *, name: str = "", filter: str = ""
) -> bytes:
    """An interface whose packets have times in nanoseconds; it is number 0 of its section."""
    options = _strings((OPTION_NAME, name))
    options.append((OPTION_RESOLUTION, bytes([NANOSECONDS])))
    if filter:
        options.append((OPTION_FILTER, FILTER_OF_LIBPCAP + filter.encode()))
    return _block(INTERFACE_DESCRIPTION, LITTLE.interface.pack(link_type, 0, snap_length), options)


def enhanced_packet(
    data: Data, time: int, original: int, *, direction: int = 0, comment: str = ""
) -> list[bytes | Data]:
    """A packet of interface 0, in parts: of the `original` bytes, `data` was captured.

    `time` is in nanoseconds since 1970, `direction` INBOUND, OUTBOUND or 0. Raises
    `CodecError` for a time or a length that has no place in a block.
    """
    size = len(data)
    if not (0 <= time <= UINT64_MAX and size <= original <= UINT32_MAX):
        raise CodecError(f"time {time} or length {original} does not fit into a block")
    options = DIRECTIONS[direction] if not comment else _packet_options(direction, comment)
    total = ENHANCED_MIN + size + -size % 4 + len(options)
    high, low = time >> 32, time & UINT32_MAX
    return [
        WHOLE_HEADER.pack(ENHANCED_PACKET, total, 0, high, low, size, original),
        data,
        PADDING[-size % 4] + options + LENGTH.pack(total),
    ]


def _packet_options(direction: int, comment: str) -> bytes:
    flags = [(OPTION_FLAGS, direction.to_bytes(4, "little"))] if direction else []
    return _options(_strings((OPTION_COMMENT, comment)) + flags)


def interface_statistics(
    time: int, start: int, *, received: int, dropped: int, delivered: int
) -> bytes:
    """What happened to the packets of interface 0 from `start` to `time` (nanoseconds)."""
    options = [
        (OPTION_START, _halves(start)),
        (OPTION_END_TIME, _halves(time)),
        (OPTION_RECEIVED, received.to_bytes(8, "little")),
        (OPTION_DROPPED, dropped.to_bytes(8, "little")),
        (OPTION_DELIVERED, delivered.to_bytes(8, "little")),
    ]
    return _block(INTERFACE_STATISTICS, bytes(4) + _halves(time), options)


def _halves(time: int) -> bytes:
    """A time as blocks have it, the upper half first in either byte order."""
    return LITTLE.block.pack(time >> 32, time & UINT32_MAX)


def _strings(*options: tuple[int, str]) -> list[tuple[int, bytes]]:
    return [(code, text.encode()) for code, text in options if text]


def _options(options: Iterable[tuple[int, bytes]]) -> bytes:
    encoded = [
        LITTLE.option.pack(code, len(value)) + value + bytes(-len(value) % 4)
        for code, value in options
    ]
    return b"".join([*encoded, LITTLE.option.pack(OPTION_END, 0)]) if encoded else b""


def _block(kind: int, body: bytes, options: Iterable[tuple[int, bytes]]) -> bytes:
    body += _options(options)
    total = BLOCK_MIN + len(body)
    return LITTLE.block.pack(kind, total) + body + total.to_bytes(BLOCK_TRAILER, "little")


# What most packets have, ready: a capture writes one block after the other.
WHOLE_HEADER = struct.Struct("<7I")
"""Of an Enhanced Packet Block, up to its data."""
LENGTH = struct.Struct("<I")
ENHANCED_MIN = BLOCK_MIN + BODY_MIN[ENHANCED_PACKET]
PADDING = [bytes(size) for size in range(4)]
DIRECTIONS = [_packet_options(direction, "") for direction in (0, INBOUND, OUTBOUND)]
