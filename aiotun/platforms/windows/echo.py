"""The system's own ping (icmpapi.h): it takes no raw socket, and so no rights."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes
import socket
from ctypes import c_uint8, c_uint16, c_uint32, c_void_p
from functools import cache

__all__ = ["ping"]

INVALID_HANDLE_VALUE = c_void_p(-1).value
ERRORS = 11_000
"""IP_STATUS_BASE (ipexport.h): where the errors begin that tell of an answer, or of none."""

REPLY_MORE = 64
"""Bytes of a reply besides ICMP_ECHO_REPLY and the data, of which the page of IcmpSendEcho wants 8:
room for an answer that is an error."""


class ICMP_ECHO_REPLY(ctypes.Structure):
    """ipexport.h; what the data pointer leads to stands behind it in the same memory."""

    Status: int
    Data: int | None
    DataSize: int
    _fields_ = (
        ("Address", c_uint32),
        ("Status", c_uint32),
        ("RoundTripTime", c_uint32),
        ("DataSize", c_uint16),
        ("Reserved", c_uint16),
        ("Data", c_void_p),
        ("Ttl", c_uint8),
        ("Tos", c_uint8),
        ("Flags", c_uint8),
        ("OptionsSize", c_uint8),
        ("OptionsData", c_void_p),
    )


@cache
def _library() -> ctypes.WinDLL:
    library = ctypes.WinDLL("iphlpapi.dll", use_last_error=True, winmode=0x800)
    library.IcmpCreateFile.restype = c_void_p
    library.IcmpSendEcho.argtypes = [
        *(c_void_p, c_uint32, c_void_p, c_uint16, c_void_p, c_void_p, c_uint32, c_uint32),
    ]
    library.IcmpSendEcho.restype = c_uint32
    library.IcmpCloseHandle.argtypes = [c_void_p]
    return library


def ping(host: str, data: bytes, timeout: float) -> bool:
    """Whether an IPv4 host sends this data back within so many seconds. Raises `OSError`."""
    library = _library()
    handle = library.IcmpCreateFile()
    if handle in (None, INVALID_HANDLE_VALUE):
        raise ctypes.WinError(ctypes.get_last_error())
    address = int.from_bytes(socket.inet_aton(host), sys.byteorder)
    room = ctypes.create_string_buffer(ctypes.sizeof(ICMP_ECHO_REPLY) + len(data) + REPLY_MORE)
    try:
        if not library.IcmpSendEcho(
            *(handle, address, data, len(data), None, room, len(room), int(timeout * 1000))
        ):
            error = ctypes.get_last_error()
            if error < ERRORS:
                raise ctypes.WinError(error)
            return False
    finally:
        library.IcmpCloseHandle(handle)
    reply = ICMP_ECHO_REPLY.from_buffer(room)
    if reply.Status or not reply.Data:
        return False
    return ctypes.string_at(reply.Data, reply.DataSize) == data
