"""pcapng files, as a stream (draft-ietf-opsawg-pcapng).

A block is decoded part by part: only its packet is ever kept whole, while the options
behind that, which may be of any length, are passed over as they come.

The libraries on PyPI pull from a file object, and hold blocks of any size that a
file claims; what is left of them for a decoder that is fed are a few struct
formats.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import CodecError
from ..kinds import check_kind
from .base import MAX_FRAME, StreamCodec, StreamDecoder
from .buffered import BufferedDecoder
from .capture import LINKTYPE_RAW, CapturedPacket
from .pcapng_blocks import (
    BLOCK_HEADER,
    BLOCK_MIN,
    BLOCK_TRAILER,
    BODY_MIN,
    ENHANCED_PACKET,
    FORMATS,
    INTERFACE_DESCRIPTION,
    LITTLE,
    MICROSECONDS,
    OBSOLETE_PACKET,
    OPTION_END,
    OPTION_OFFSET,
    OPTION_RESOLUTION,
    OPTION_SIZES,
    RESOLUTION_IS_BINARY,
    SECOND,
    SECTION_BYTES,
    SECTION_HEADER,
    SIMPLE_PACKET,
    VERSION,
    enhanced_packet,
    interface_description,
    section_header,
)

__all__ = ["Pcapng"]

MAX_INTERFACES = 4096
"""In a section: what is kept of them is bounded."""


@dataclass(frozen=True)
class Pcapng(StreamCodec[CapturedPacket]):
    """Packets of a pcapng file; its section header and one interface are the `preamble`.

    Reads either byte order, several sections and interfaces, Enhanced, Simple (these
    have no time: 0) and obsolete Packet Blocks, and skips other blocks. Writes
    Enhanced Packet Blocks in nanoseconds, little-endian, with one `link_type`.
    Anything but pcapng, and a packet of more than `max_frame` bytes, is an error
    that the stream does not recover from.
    """

    link_type: int = LINKTYPE_RAW
    max_frame: int = MAX_FRAME

    @property
    def preamble(self) -> list[bytes]:
        return [section_header(), interface_description(self.link_type, self.max_frame)]

    def encode(self, item: CapturedPacket) -> list[bytes]:
        check_kind(item, "an item", CapturedPacket)
        size = len(item.data)
        if item.link_type != self.link_type:
            raise CodecError(f"a packet of link type {item.link_type}, not {self.link_type}")
        if size > self.max_frame:
            raise CodecError(f"a packet of {size} bytes is longer than {self.max_frame}")
        return enhanced_packet(item.data, item.time, size + item.cut_off)

    def decoder(self) -> StreamDecoder[CapturedPacket]:
        return _Decoder(self.max_frame)


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
    def __init__(self, max_frame: int) -> None:
        super().__init__()
        self._max_frame = max_frame
        self._format = LITTLE
        """Of the section."""
        self._in_section = False
        self._interfaces: list[_Interface] = []
        """Of the section."""
        self._part: _Part = _Decoder._header
        """What comes next of a block."""
        self._skip = 0
        """Bytes in front of it that are of no interest."""
        self._left = 0
        """Bytes behind both, up to the block's trailer."""
        self._begun = 0
        """Where in the stream the block began."""
        self._kind = 0
        self._total = b""
        """The block's length as its header has it."""
        self._found: CapturedPacket | None = None
        """In this block, whose end is to be seen."""

    def _decode(self, data: bytes, start: int, items: list[CapturedPacket]) -> int:
        at, end = start, len(data)
        base = self._offset - start
        header = _Decoder._header
        try:
            while True:
                if self._skip:
                    skipped = min(self._skip, end - at)
                    self._skip -= skipped
                    at += skipped
                    if self._skip:
                        return at
                part = self._part
                if part is header:
                    self._begun = base + at
                size = part(self, data, at, items)
                if end < at + size:
                    self._needed = size
                    return at
                at += size
        except CodecError as error:
            self._error = CodecError(error.what, offset=self._begun, recoverable=False)
            return at

    def _frame_start(self) -> int:
        inside = self._skip or self._part is not _Decoder._header
        return self._begun if inside else self._offset

    # The parts of a block. Each returns its size; when there are fewer bytes, it has
    # done nothing yet.

    def _header(self, data: bytes, at: int, items: list[CapturedPacket]) -> int:
        """Type and total length; a section's header tells the format from here on."""
        if len(data) < at + BLOCK_MIN:
            return BLOCK_MIN
        if data[at : at + 4] == SECTION_BYTES:
            magic = data[at + BLOCK_HEADER : at + BLOCK_MIN]
            self._format, self._in_section = FORMATS.get(magic, LITTLE), magic in FORMATS
        if not self._in_section:
            raise CodecError("no section header of a pcapng file")
        kind, total = self._format.block.unpack_from(data, at)
        least = BLOCK_MIN + BODY_MIN.get(kind, 0)
        if total % 4 or total < least:
            raise CodecError(f"a block of type {kind} with {total} bytes, not {least} or 4 n more")
        if kind in PARTS:
            self._kind, self._part = kind, PARTS[kind]
            self._total = data[at + 4 : at + BLOCK_HEADER]
            self._left = total - BLOCK_MIN
        else:
            self._skip = total - BLOCK_HEADER
        return BLOCK_HEADER

    def _section(self, data: bytes, at: int, items: list[CapturedPacket]) -> int:
        size = BODY_MIN[SECTION_HEADER]
        if len(data) >= at + size:
            _, major, _, _ = self._format.section.unpack_from(data, at)
            if major != VERSION[0]:
                raise CodecError(f"pcapng version {major}, not {VERSION[0]}")
            self._interfaces.clear()
            self._go_to_trailer(size)
        return size

    def _interface(self, data: bytes, at: int, items: list[CapturedPacket]) -> int:
        size = BODY_MIN[INTERFACE_DESCRIPTION]
        if len(data) >= at + size:
            if len(self._interfaces) == MAX_INTERFACES:
                raise CodecError(f"a section with more than {MAX_INTERFACES} interfaces")
            link_type, _, snap_length = self._format.interface.unpack_from(data, at)
            self._interfaces.append(_Interface(link_type, snap_length, 10**MICROSECONDS, 0))
            self._left -= size
            self._part = _Decoder._option
        return size

    def _option(self, data: bytes, at: int, items: list[CapturedPacket]) -> int:
        """An option of an interface, as much as is needed of its value."""
        header = self._format.option
        if self._left < header.size:
            self._go_to_trailer(0)
            return 0
        if len(data) < at + header.size:
            return header.size
        code, length = header.unpack_from(data, at)
        if code == OPTION_END:
            self._go_to_trailer(0)
            return 0
        whole = min(header.size + length + -length % 4, self._left)
        size: int = min(whole, header.size + OPTION_SIZES.get(code, 0))
        if len(data) >= at + size:
            self._describe(code, length, data[at + header.size : at + size])
            self._left -= whole
            self._skip = whole - size
        return size

    def _describe(self, code: int, length: int, value: bytes) -> None:
        interface = self._interfaces[-1]
        if code == OPTION_RESOLUTION and length and value:
            base = 2 if value[0] & RESOLUTION_IS_BINARY else 10
            units = base ** (value[0] & ~RESOLUTION_IS_BINARY)
            self._interfaces[-1] = interface._replace(units=units)
        elif code == OPTION_OFFSET and length == len(value) == self._format.offset.size:
            (offset,) = self._format.offset.unpack(value)
            self._interfaces[-1] = interface._replace(offset=offset)

    def _packet(self, data: bytes, at: int, items: list[CapturedPacket]) -> int:
        kind, layout = self._kind, self._format
        fixed = BODY_MIN[kind]
        if len(data) < at + fixed:
            return fixed
        high = low = 0
        if kind == ENHANCED_PACKET:
            number, high, low, captured, original = layout.enhanced.unpack_from(data, at)
            interface = self._described(number)
        elif kind == OBSOLETE_PACKET:
            number, _, high, low, captured, original = layout.obsolete.unpack_from(data, at)
            interface = self._described(number)
        else:
            (original,) = layout.simple.unpack_from(data, at)
            interface = self._described(0)
            captured = min(original, interface.snap_length or original)
        if captured > self._max_frame or captured > self._left - fixed:
            raise CodecError(f"a packet of {captured} bytes: more than its block or the limit")
        size: int = fixed + captured
        if len(data) >= at + size:
            time = 0 if kind == SIMPLE_PACKET else interface.nanoseconds(high << 32 | low)
            packet = data[at + fixed : at + size]
            cut_off = max(0, original - captured)
            self._found = CapturedPacket(packet, time, cut_off, interface.link_type)
            self._go_to_trailer(size)
        return size

    def _trailer(self, data: bytes, at: int, items: list[CapturedPacket]) -> int:
        if len(data) >= at + BLOCK_TRAILER:
            if data[at : at + BLOCK_TRAILER] != self._total:
                raise CodecError("a block whose two lengths differ")
            if self._found is not None:
                items.append(self._found)
                self._found = None
            self._part = _Decoder._header
        return BLOCK_TRAILER

    def _go_to_trailer(self, size: int) -> None:
        """What follows in the block behind a part of so many bytes is of no interest."""
        self._skip, self._left = self._left - size, 0
        self._part = _Decoder._trailer

    def _described(self, number: int) -> _Interface:
        if number >= len(self._interfaces):
            raise CodecError(f"a packet of interface {number}, which is not described")
        return self._interfaces[number]


_Part = Callable[[_Decoder, bytes, int, list[CapturedPacket]], int]

PARTS: dict[int, _Part] = {
    SECTION_HEADER: _Decoder._section,
    INTERFACE_DESCRIPTION: _Decoder._interface,
    OBSOLETE_PACKET: _Decoder._packet,
    SIMPLE_PACKET: _Decoder._packet,
    ENHANCED_PACKET: _Decoder._packet,
}
"""What is decoded of a block, behind its header; all other blocks are skipped."""
