"""pcapng files, as a stream (draft-ietf-opsawg-pcapng).

The libraries on PyPI pull from a file object, and hold blocks of any size that a
file claims; what is left of them for a decoder that is fed are a few struct
formats.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import CodecError
from .base import MAX_FRAME, StreamCodec, StreamDecoder
from .buffered import BufferedDecoder
from .capture import LINKTYPE_RAW, CapturedPacket

__all__ = ["Pcapng"]

# Section 3.1: each block begins with its type and total length, and ends with that length.
BLOCK_HEADER = 8
BLOCK_TRAILER = 4
BLOCK_MIN = BLOCK_HEADER + BLOCK_TRAILER

# Section 4, the block types that are used; readers skip all others.
SECTION_HEADER = 0x0A0D0D0A
INTERFACE_DESCRIPTION = 1
SIMPLE_PACKET = 3
ENHANCED_PACKET = 6

BODY_MIN = {
    SECTION_HEADER: 16,
    INTERFACE_DESCRIPTION: 8,
    SIMPLE_PACKET: 4,
    ENHANCED_PACKET: 20,
}

SECTION_BYTES = SECTION_HEADER.to_bytes(4, "big")
"""The same in either byte order, so that a section is found before its order is known."""


class _Format:
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
        self.simple = struct.Struct(order + "I")
        """Original length (4.4)."""


BYTE_ORDER_MAGIC = 0x1A2B3C4D
LITTLE, BIG = _Format("<"), _Format(">")
FORMATS = {
    BYTE_ORDER_MAGIC.to_bytes(4, "little"): LITTLE,
    BYTE_ORDER_MAGIC.to_bytes(4, "big"): BIG,
}

VERSION = 1, 0

# Section 4.2, options of an interface: 16 bits of code and length each, padded to 32 bits.
OPTION_END, OPTION_RESOLUTION, OPTION_OFFSET = 0, 9, 14
MICROSECONDS, NANOSECONDS = 6, 9
RESOLUTION_IS_BINARY = 0x80
"""Values of OPTION_RESOLUTION: the negative exponent of 10, with this bit of 2."""

SECOND = 1_000_000_000
UINT32_MAX, UINT64_MAX = (1 << 32) - 1, (1 << 64) - 1

BLOCK_OVERHEAD = 4096
"""Bytes that a block may have besides its packet: its options."""

MAX_INTERFACES = 4096
"""In a section: what is kept of them is bounded."""


@dataclass(frozen=True)
class Pcapng(StreamCodec[CapturedPacket]):
    """Packets of a pcapng file; its section header and one interface are the `preamble`.

    Reads either byte order, several sections and interfaces, Enhanced and Simple
    Packet Blocks (these have no time: 0), and skips other blocks. Writes
    Enhanced Packet Blocks in nanoseconds, little-endian, with one `link_type`.
    What is no pcapng, and a packet of more than `max_frame` bytes, is an error
    that the stream does not recover from.
    """

    link_type: int = LINKTYPE_RAW
    max_frame: int = MAX_FRAME

    @property
    def preamble(self) -> list[bytes]:
        section = LITTLE.section.pack(BYTE_ORDER_MAGIC, *VERSION, -1)
        interface = LITTLE.interface.pack(self.link_type, 0, self.max_frame)
        interface += LITTLE.option.pack(OPTION_RESOLUTION, 1) + bytes([NANOSECONDS, 0, 0, 0])
        interface += LITTLE.option.pack(OPTION_END, 0)
        return [_block(SECTION_HEADER, section), _block(INTERFACE_DESCRIPTION, interface)]

    def encode(self, item: CapturedPacket) -> list[bytes]:
        size = len(item.data)
        if item.link_type != self.link_type:
            raise CodecError(f"a packet of link type {item.link_type}, not {self.link_type}")
        if size > self.max_frame:
            raise CodecError(f"a packet of {size} bytes is longer than {self.max_frame}")
        original = size + item.cut_off
        if not (0 <= item.time <= UINT64_MAX and size <= original <= UINT32_MAX):
            raise CodecError(f"time {item.time} or length {original} does not fit into a block")
        padding = -size % 4
        total = BLOCK_MIN + BODY_MIN[ENHANCED_PACKET] + size + padding
        header = LITTLE.block.pack(ENHANCED_PACKET, total)
        header += LITTLE.enhanced.pack(0, item.time >> 32, item.time & UINT32_MAX, size, original)
        return [header, item.data, bytes(padding) + total.to_bytes(BLOCK_TRAILER, "little")]

    def decoder(self) -> StreamDecoder[CapturedPacket]:
        return _Decoder(self.max_frame)


def _block(kind: int, body: bytes) -> bytes:
    total = BLOCK_MIN + len(body)
    return LITTLE.block.pack(kind, total) + body + total.to_bytes(BLOCK_TRAILER, "little")


class _Interface(NamedTuple):
    link_type: int
    snap_length: int
    units: int
    """Of its timestamps in a second."""
    offset: int
    """Seconds to add to them."""

    def nanoseconds(self, timestamp: int) -> int:
        return timestamp * SECOND // self.units + self.offset * SECOND


class _Decoder(BufferedDecoder[CapturedPacket]):
    _needed = BLOCK_MIN

    def __init__(self, max_frame: int) -> None:
        super().__init__()
        self._max_frame = max_frame
        self._max_block = max_frame + BLOCK_OVERHEAD
        self._format: _Format | None = None
        """Of the section, None before the first one."""
        self._interfaces: list[_Interface] = []
        """Of the section."""
        self._skip = 0
        """Bytes left of a block that is of no interest."""

    def _decode(self, data: bytes, start: int, items: list[CapturedPacket]) -> int:
        at = start
        while True:
            skipped = min(self._skip, len(data) - at)
            self._skip -= skipped
            at += skipped
            if len(data) < at + BLOCK_MIN:
                self._needed = BLOCK_MIN
                return at
            try:
                layout, kind, total = self._block_header(data, at)
                if kind not in BODY_MIN:
                    self._skip = total
                    continue
                end = at + total
                if len(data) < end:
                    self._needed = total
                    return at
                if data[end - BLOCK_TRAILER : end] != data[at + 4 : at + BLOCK_HEADER]:
                    raise CodecError("a block whose two lengths differ")
                body, body_end = at + BLOCK_HEADER, end - BLOCK_TRAILER
                if kind in (ENHANCED_PACKET, SIMPLE_PACKET):
                    items.append(self._packet(layout, kind, data, body, body_end))
                else:
                    self._describe(layout, kind, data[body:body_end])
            except CodecError as error:
                return self._broken(error.what, start, at)
            at = end

    def eof(self) -> None:
        super().eof()
        if self._skip:
            what = f"the stream ends inside a block, {self._skip} bytes before its end"
            raise CodecError(what, offset=self._offset, recoverable=False)

    def _block_header(self, data: bytes, at: int) -> tuple[_Format, int, int]:
        """Format, type and total length; a section's header tells the format from here on."""
        if data[at : at + 4] == SECTION_BYTES:
            self._format = FORMATS.get(data[at + BLOCK_HEADER : at + BLOCK_MIN])
        layout = self._format
        if layout is None:
            raise CodecError("no section header of a pcapng file")
        kind, total = layout.block.unpack_from(data, at)
        least = BLOCK_MIN + BODY_MIN.get(kind, 0)
        most = self._max_block if kind in BODY_MIN else UINT32_MAX
        if total % 4 or not least <= total <= most:
            raise CodecError(f"a block of type {kind} with {total} bytes, not {least} to {most}")
        return layout, kind, total

    def _packet(
        self, layout: _Format, kind: int, data: bytes, body: int, end: int
    ) -> CapturedPacket:
        if kind == ENHANCED_PACKET:
            number, high, low, size, original = layout.enhanced.unpack_from(data, body)
            interface = self._interface(number)
            time = interface.nanoseconds(high << 32 | low)
        else:
            (original,) = layout.simple.unpack_from(data, body)
            interface = self._interface(0)
            size, time = min(original, interface.snap_length or original), 0
        packet = body + BODY_MIN[kind]
        if size > min(end - packet, self._max_frame):
            raise CodecError(f"a packet of {size} bytes: more than its block or the limit")
        cut_off = max(0, original - size)
        return CapturedPacket(data[packet : packet + size], time, cut_off, interface.link_type)

    def _interface(self, number: int) -> _Interface:
        if number >= len(self._interfaces):
            raise CodecError(f"a packet of interface {number}, which is not described")
        return self._interfaces[number]

    def _describe(self, layout: _Format, kind: int, body: bytes) -> None:
        """Begin a section, or add an interface to it."""
        if kind == SECTION_HEADER:
            _, major, _, _ = layout.section.unpack_from(body)
            if major != VERSION[0]:
                raise CodecError(f"pcapng version {major}, not {VERSION[0]}")
            self._interfaces.clear()
            return
        if len(self._interfaces) == MAX_INTERFACES:
            raise CodecError(f"a section with more than {MAX_INTERFACES} interfaces")
        link_type, _, snap_length = layout.interface.unpack_from(body)
        units, offset = 10**MICROSECONDS, 0
        for code, value in _options(layout, body[layout.interface.size :]):
            if code == OPTION_RESOLUTION and value:
                base = 2 if value[0] & RESOLUTION_IS_BINARY else 10
                units = base ** (value[0] & ~RESOLUTION_IS_BINARY)
            elif code == OPTION_OFFSET and len(value) == layout.offset.size:
                (offset,) = layout.offset.unpack(value)
        self._interfaces.append(_Interface(link_type, snap_length, units, offset))


def _options(layout: _Format, data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while len(data) >= at + layout.option.size:
        code, size = layout.option.unpack_from(data, at)
        if code == OPTION_END:
            return
        at += layout.option.size
        yield code, data[at : at + size]
        at += size + -size % 4
