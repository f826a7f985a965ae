"""Filters in tcpdump's syntax (pcap-filter(7)), compiled and applied by libpcap itself."""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import sys
from functools import cache
from typing import Any

from ..errors import ConfigError, UnsupportedError

__all__ = ["SNAP_LENGTH", "Filter", "libpcap"]

SNAP_LENGTH = 0x40000
"""Bytes kept of a packet, as tcpdump's default: all of them (libpcap's MAXIMUM_SNAPLEN)."""

DATA_LINK_TYPES = {1: 1, 101: 12}
"""From a LINKTYPE to libpcap's own number (pcap/dlt.h): DLT_EN10MB, DLT_RAW."""


class _Instruction(ctypes.Structure):
    """struct bpf_insn (pcap/bpf.h), as the kernel's struct sock_filter (linux/filter.h)."""

    _fields_ = (
        ("code", ctypes.c_ushort),
        ("jt", ctypes.c_ubyte),
        ("jf", ctypes.c_ubyte),
        ("k", ctypes.c_uint),
    )


class _Program(ctypes.Structure):
    """struct bpf_program (pcap/bpf.h)."""

    _fields_ = (("length", ctypes.c_uint), ("instructions", ctypes.POINTER(_Instruction)))


class Filter:
    """A compiled filter, for packets of one link type, that keeps so many bytes of each.

    Raises `ConfigError` for an expression that libpcap does not take, and
    `UnsupportedError` where there is no libpcap.
    """

    def __init__(self, expression: str, link_type: int, snap_length: int = SNAP_LENGTH) -> None:
        self.expression = expression
        self._library = library = libpcap()
        handle = library.pcap_open_dead(DATA_LINK_TYPES[link_type], snap_length)
        program = _Program()
        try:
            if library.pcap_compile(handle, ctypes.byref(program), expression.encode(), 1, ~0):
                reason = library.pcap_geterr(handle).decode(errors="replace")
                raise ConfigError(f"no filter (see pcap-filter(7)): {expression!r}: {reason}")
        finally:
            library.pcap_close(handle)
        try:
            size = ctypes.sizeof(_Instruction) * program.length
            self.instructions = ctypes.string_at(program.instructions, size)
            """Of the kernel's classic BPF, 8 bytes each."""
        finally:
            library.pcap_freecode(ctypes.byref(program))

    def matches(self, packet: bytes | memoryview) -> bool:
        """Whether the filter lets the packet through."""
        size = len(packet)
        return bool(self._library.bpf_filter(self.instructions, bytes(packet), size, size))


@cache
def libpcap() -> Any:
    """The library, with the functions that are used here. Raises `UnsupportedError`."""
    name = ctypes.util.find_library("pcap")
    if name is None:
        how = "Debian, Ubuntu: apt-get install libpcap0.8; elsewhere: libpcap"
        if sys.platform == "win32":
            how = "record all, and filter what Wireshark shows"
        raise UnsupportedError(errno.ENOENT, f"filters take libpcap, which is not here ({how})")
    library = ctypes.CDLL(name)
    pointer, number, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
    for function, result, arguments in (
        ("pcap_open_dead", pointer, [number, number]),
        ("pcap_compile", number, [pointer, pointer, text, number, ctypes.c_uint]),
        ("pcap_geterr", text, [pointer]),
        ("pcap_close", None, [pointer]),
        ("pcap_freecode", None, [pointer]),
        ("pcap_lib_version", text, []),
        ("bpf_filter", ctypes.c_uint, [text, text, ctypes.c_uint, ctypes.c_uint]),
    ):
        entry = getattr(library, function)
        entry.restype, entry.argtypes = result, arguments
    return library
