"""The four messages, as they lie on the wire (paper, section 5.4).

A handshake message ends with two MACs, which `cookie` adds and checks: here
it is packed without them, and unpacked whatever they are.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

__all__ = [
    "COOKIE_REPLY",
    "COOKIE_REPLY_SIZE",
    "INITIATION",
    "INITIATION_SIZE",
    "MAC_SIZE",
    "RESPONSE",
    "RESPONSE_SIZE",
    "TRANSPORT",
    "TRANSPORT_HEADER_SIZE",
    "TRANSPORT_OVERHEAD",
    "CookieReply",
    "Initiation",
    "Response",
]

INITIATION = b"\x01\0\0\0"
RESPONSE = b"\x02\0\0\0"
COOKIE_REPLY = b"\x03\0\0\0"
TRANSPORT = b"\x04\0\0\0"
"""The first four bytes: the type, and three that are reserved and zero."""

MAC_SIZE = 16

_INITIATION = struct.Struct("<4sI108s")
_RESPONSE = struct.Struct("<4sII48s")
_COOKIE_REPLY = struct.Struct("<4sI24s32s")

INITIATION_SIZE = _INITIATION.size + 2 * MAC_SIZE
RESPONSE_SIZE = _RESPONSE.size + 2 * MAC_SIZE
COOKIE_REPLY_SIZE = _COOKIE_REPLY.size

TRANSPORT_HEADER_SIZE = 16
"""Type, receiver's index (4 bytes) and counter (8 bytes), little endian."""
TRANSPORT_OVERHEAD = TRANSPORT_HEADER_SIZE + 16
"""The header, and the tag of Poly1305."""


class Initiation(NamedTuple):
    """The initiator's message: the first one of the Noise handshake."""

    sender: int
    noise: bytes

    def pack(self) -> bytes:
        return _INITIATION.pack(INITIATION, *self)

    @classmethod
    def unpack(cls, data: bytes) -> Initiation:
        return cls(*_INITIATION.unpack_from(data)[1:])


class Response(NamedTuple):
    """The second message of the Noise handshake."""

    sender: int
    receiver: int
    noise: bytes

    def pack(self) -> bytes:
        return _RESPONSE.pack(RESPONSE, *self)

    @classmethod
    def unpack(cls, data: bytes) -> Response:
        return cls(*_RESPONSE.unpack_from(data)[1:])


class CookieReply(NamedTuple):
    """Sent under load: it asks the peer to prove that it receives at its address."""

    receiver: int
    nonce: bytes
    cookie: bytes
    """Encrypted."""

    def pack(self) -> bytes:
        return _COOKIE_REPLY.pack(COOKIE_REPLY, *self)

    @classmethod
    def unpack(cls, data: bytes) -> CookieReply:
        return cls(*_COOKIE_REPLY.unpack(data)[1:])
