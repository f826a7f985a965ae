"""What all netlink messages have in common: header, attributes, the kernel's verdict."""

from __future__ import annotations

import errno
import os
import struct
import sys
from typing import NamedTuple

from ....errors import TunError

__all__ = [
    "NLMSG_DONE",
    "NLMSG_ERROR",
    "NLM_F_ACK",
    "NLM_F_CREATE",
    "NLM_F_DUMP",
    "NLM_F_DUMP_INTR",
    "NLM_F_EXCL",
    "NLM_F_REQUEST",
    "UNSIGNED",
    "Message",
    "decode_attributes",
    "decode_messages",
    "decode_status",
    "encode_attribute",
    "encode_message",
    "encode_number",
    "get_attribute",
    "get_number",
    "malformed",
    "unpack",
]

# linux/netlink.h
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_REQUEST = 0x01
NLM_F_ACK = 0x04
NLM_F_DUMP_INTR = 0x10
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_DUMP = 0x300
NLM_F_CAPPED = 0x100
NLM_F_ACK_TLVS = 0x200
NLMSGERR_ATTR_MSG = 1
NLA_TYPE_MASK = 0x3FFF

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length with this header, kind, flags, sequence number, port."""

ATTRIBUTE = struct.Struct("=HH")
"""struct nlattr: length with this header, type."""

MAX_ERRNO = 4095
"""linux/err.h"""

INT = struct.Struct("=i")
UNSIGNED = struct.Struct("=I")


class Message(NamedTuple):
    kind: int
    flags: int
    sequence: int
    body: bytes


def encode_message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    return HEADER.pack(HEADER.size + len(body), kind, flags, sequence, 0) + body


def decode_messages(data: bytes) -> list[Message]:
    """The messages of one datagram."""
    messages = []
    offset = 0
    while offset < len(data):
        length, kind, flags, sequence, _ = unpack(HEADER, data, offset)
        end = offset + length
        if length < HEADER.size or end > len(data):
            raise malformed(f"message of {length} bytes")
        messages.append(Message(kind, flags, sequence, data[offset + HEADER.size : end]))
        offset = _align(end)
    return messages


def decode_status(message: Message) -> tuple[int, str]:
    """What an NLMSG_ERROR or NLMSG_DONE says: errno, 0 for success, and the reason in words.

    The kernel's own words where it sent some (extended acknowledgement).
    """
    (status,) = unpack(INT, message.body, 0)
    number = min(max(0, -status), MAX_ERRNO)
    offset = INT.size
    if message.kind == NLMSG_ERROR:  # struct nlmsgerr repeats the request, or only its header
        (length, *_) = unpack(HEADER, message.body, offset)
        offset += HEADER.size if message.flags & NLM_F_CAPPED else _align(length)
    text = b""
    if message.flags & NLM_F_ACK_TLVS:
        text = decode_attributes(message.body, offset).get(NLMSGERR_ATTR_MSG, b"").rstrip(b"\0")
    return number, text.decode(errors="replace") or os.strerror(number)


def encode_attribute(kind: int, value: bytes) -> bytes:
    length = ATTRIBUTE.size + len(value)
    return ATTRIBUTE.pack(length, kind) + value + bytes(_align(length) - length)


def encode_number(kind: int, value: int) -> bytes:
    """An attribute of 32 bits."""
    return encode_attribute(kind, UNSIGNED.pack(value))


def decode_attributes(data: bytes, offset: int) -> dict[int, bytes]:
    """The attributes from an offset to the end; of two of one type the last counts."""
    attributes = {}
    while offset < len(data):
        length, kind = unpack(ATTRIBUTE, data, offset)
        end = offset + length
        if length < ATTRIBUTE.size or end > len(data):
            raise malformed(f"attribute of {length} bytes")
        attributes[kind & NLA_TYPE_MASK] = data[offset + ATTRIBUTE.size : end]
        offset = _align(end)
    return attributes


def get_attribute(attributes: dict[int, bytes], kind: int) -> bytes:
    try:
        return attributes[kind]
    except KeyError:
        raise malformed(f"no attribute {kind}") from None


def get_number(attributes: dict[int, bytes], kind: int) -> int | None:
    """The value of an attribute that is a number of any size; None if there is none."""
    value = attributes.get(kind)
    return None if value is None else int.from_bytes(value, sys.byteorder)


def unpack(format: struct.Struct, data: bytes, offset: int) -> tuple[int, ...]:
    try:
        return format.unpack_from(data, offset)
    except struct.error as exc:
        raise malformed(f"{len(data) - offset} bytes left") from exc


def malformed(what: str) -> TunError:
    return TunError(errno.EBADMSG, f"malformed netlink message: {what}")


def _align(length: int) -> int:
    return (length + 3) & ~3
