"""IP packets one after the other: each tells its own length."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import CodecError
from .base import MAX_FRAME, StreamCodec, StreamDecoder
from .buffered import BufferedDecoder

__all__ = ["IPStream"]

IPV4_HEADER, IPV6_HEADER = 20, 40
"""Bytes without options (RFC 791 section 3.1) and extension headers (RFC 8200 section 3)."""

HEADER_READ = 7
"""Bytes that tell the length: up to IPv4's total length, IPv6's next header."""

HOP_BY_HOP = 0
"""IPv6's next header where a payload length of 0 stands for a jumbogram (RFC 2675)."""


@dataclass(frozen=True)
class IPStream(StreamCodec[bytes]):
    """IPv4 and IPv6 packets with nothing in between.

    The length is IPv4's total length (RFC 791 section 3.1), or IPv6's payload
    length and the header (RFC 8200 section 3). Anything but an IP packet, and one of
    more than `max_frame` bytes, is an error that the stream does not recover from.
    """

    max_frame: int = MAX_FRAME

    def encode(self, item: bytes) -> list[bytes]:
        if len(item) < HEADER_READ or self.packet_size(item, 0) != len(item):
            raise CodecError(f"{len(item)} bytes that are no IP packet of that length")
        return [item]

    def decoder(self) -> StreamDecoder[bytes]:
        return _Decoder(self)

    def packet_size(self, data: bytes, start: int) -> int:
        """The length of the packet at `start`, of which `HEADER_READ` bytes must be there.

        Raises `CodecError` for a header that has none.
        """
        version = data[start] >> 4
        if version == 4:
            size = data[start + 2] << 8 | data[start + 3]
            least = max(IPV4_HEADER, (data[start] & 0x0F) * 4)
        elif version == 6:
            length = data[start + 4] << 8 | data[start + 5]
            size, least = IPV6_HEADER + length, IPV6_HEADER
            if length == 0 and data[start + 6] == HOP_BY_HOP:
                raise CodecError("a jumbogram, which has another length field", recoverable=False)
        else:
            raise CodecError(f"IP version {version}, not 4 or 6", recoverable=False)
        if not least <= size <= self.max_frame:
            what = f"an IP packet of {size} bytes, not {least} to {self.max_frame}"
            raise CodecError(what, recoverable=False)
        return size


class _Decoder(BufferedDecoder[bytes]):
    def __init__(self, codec: IPStream) -> None:
        super().__init__()
        self._codec = codec

    def _decode(self, data: bytes, start: int, items: list[bytes]) -> int:
        packet_size = self._codec.packet_size
        packet = start
        while len(data) >= packet + HEADER_READ:
            try:
                end = packet + packet_size(data, packet)
            except CodecError as error:
                return self._broken(error.what, start, packet)
            if len(data) < end:
                self._needed = end - packet
                return packet
            items.append(data[packet:end])
            packet = end
        self._needed = HEADER_READ
        return packet
