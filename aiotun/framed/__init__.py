"""Framed ends: a codec over packets or over a stream of bytes."""

from .base import FramedCounters, PacketStreamLike
from .bytestreams import ByteStream
from .connections import (
    FramedServer,
    open_framed_connection,
    open_framed_fd,
    start_framed_server,
)
from .ends import Framed, FramedReader, FramedWriter, Released

__all__ = [
    "ByteStream",
    "Framed",
    "FramedCounters",
    "FramedReader",
    "FramedServer",
    "FramedWriter",
    "PacketStreamLike",
    "Released",
    "open_framed_connection",
    "open_framed_fd",
    "start_framed_server",
]
