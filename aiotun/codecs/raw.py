"""Bytes as they are."""

from __future__ import annotations

from dataclasses import dataclass

from ..buffers import to_bytes
from .base import PacketCodec, StreamCodec, StreamDecoder

__all__ = ["Raw", "RawStream", "is_raw"]


@dataclass(frozen=True)
class Raw(PacketCodec[bytes]):
    """Each packet is its own item."""

    def encode(self, item: bytes) -> bytes:
        return item

    def decode(self, packet: bytes) -> bytes:
        return packet


def is_raw(codec: object) -> bool:
    """Whether its methods need not be called: items are packets. A subclass' may be others."""
    return type(codec) is Raw


@dataclass(frozen=True)
class RawStream(StreamCodec[bytes]):
    """A stream without frames: an item is what one read brought, never empty."""

    def encode(self, item: bytes) -> list[bytes]:
        if type(item) is not bytes:
            item = to_bytes(item)
        return [item] if item else []

    def decoder(self) -> StreamDecoder[bytes]:
        return _Decoder()


class _Decoder(StreamDecoder[bytes]):
    def feed(self, data: bytes) -> list[bytes]:
        return [data] if data else []

    def eof(self) -> None:
        pass

    @property
    def unused(self) -> bytes:
        return b""
