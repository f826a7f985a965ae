"""pcap files, as a stream (draft-ietf-opsawg-pcap)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..errors import CodecError
from ..kinds import check_kind
from .base import MAX_FRAME, StreamCodec, StreamDecoder
from .buffered import BufferedDecoder
from .capture import LINKTYPE_RAW, CapturedPacket

__all__ = ["Pcap"]

# Section 4, "File Header": magic number, major and minor version, two reserved
# fields, snap length, link type (its lower 16 bits).
FILE_HEADER = "IHHIIII"
FILE_HEADER_SIZE = 24
MAGIC_MICROSECONDS, MAGIC_NANOSECONDS = 0xA1B2C3D4, 0xA1B23C4D
NANOSECONDS = {MAGIC_MICROSECONDS: 1000, MAGIC_NANOSECONDS: 1}
"""In the unit of the timestamps' fraction."""
VERSION = 2, 4

# Section 5, "Packet Record": seconds, their fraction, captured and original length.
RECORD_HEADER = "IIII"
RECORD_HEADER_SIZE = 16

SECOND = 1_000_000_000
UINT32_MAX = 0xFFFFFFFF


@dataclass(frozen=True)
class Pcap(StreamCodec[CapturedPacket]):
    """Records of a pcap file; the file's header is the `preamble`.

    Reads either byte order, microseconds and nanoseconds; writes nanoseconds in
    little-endian order, packets of one `link_type`. Anything but pcap, and a record
    of more than `max_frame` bytes, is an error that the stream does not recover from.
    """

    link_type: int = LINKTYPE_RAW
    max_frame: int = MAX_FRAME

    @property
    def preamble(self) -> list[bytes]:
        fields = MAGIC_NANOSECONDS, *VERSION, 0, 0, self.max_frame, self.link_type
        return [struct.pack("<" + FILE_HEADER, *fields)]

    def encode(self, item: CapturedPacket) -> list[bytes]:
        check_kind(item, "an item", CapturedPacket)
        size = len(item.data)
        if item.link_type != self.link_type:
            raise CodecError(f"a packet of link type {item.link_type}, not {self.link_type}")
        if size > self.max_frame:
            raise CodecError(f"a packet of {size} bytes is longer than {self.max_frame}")
        seconds, fraction = divmod(item.time, SECOND)
        original = size + item.cut_off
        if not (0 <= seconds <= UINT32_MAX and size <= original <= UINT32_MAX):
            raise CodecError(f"time {item.time} or length {original} does not fit into a record")
        return [struct.pack("<" + RECORD_HEADER, seconds, fraction, size, original), item.data]

    def decoder(self) -> StreamDecoder[CapturedPacket]:
        return _Decoder(self.max_frame)


class _Decoder(BufferedDecoder[CapturedPacket]):
    _needed = FILE_HEADER_SIZE

    def __init__(self, max_frame: int) -> None:
        super().__init__()
        self._max_frame = max_frame
        self._record: struct.Struct | None = None
        """Of a record's header, None before the file's."""
        self._nanoseconds = self._link_type = 0

    def _decode(self, data: bytes, start: int, items: list[CapturedPacket]) -> int:
        at = start
        if self._record is None:
            if len(data) < at + FILE_HEADER_SIZE:
                return at
            order = "<" if data[at + 3] == MAGIC_MICROSECONDS >> 24 else ">"
            magic, major, _, _, _, _, link = struct.unpack_from(order + FILE_HEADER, data, at)
            if magic not in NANOSECONDS or major != VERSION[0]:
                return self._broken("no header of a pcap file", start, at)
            self._nanoseconds, self._link_type = NANOSECONDS[magic], link & 0xFFFF
            self._record = struct.Struct(order + RECORD_HEADER)
            at += FILE_HEADER_SIZE
        while len(data) >= (packet := at + RECORD_HEADER_SIZE):
            seconds, fraction, size, original = self._record.unpack_from(data, at)
            if size > self._max_frame:
                what = f"a record of {size} bytes, more than {self._max_frame}"
                return self._broken(what, start, at)
            end = packet + size
            if len(data) < end:
                self._needed = end - at
                return at
            time = seconds * SECOND + fraction * self._nanoseconds
            cut_off = max(0, original - size)
            items.append(CapturedPacket(data[packet:end], time, cut_off, self._link_type))
            at = end
        self._needed = RECORD_HEADER_SIZE
        return at
