"""The queue of a Wintun adapter: a session with its two rings."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes
import errno
from ctypes import c_uint32, c_void_p
from itertools import tee
from operator import attrgetter
from typing import TYPE_CHECKING

from ...errors import InterfaceGoneError
from .queue import EventQueue
from .wintun import (
    ERROR_BUFFER_OVERFLOW,
    ERROR_NO_MORE_ITEMS,
    Adapter,
    Ring,
)

if TYPE_CHECKING:
    from ...config import Layer

__all__ = ["RingQueue"]

PACKET_MAX = 0xFFFF
"""WINTUN_MAX_IP_PACKET_SIZE. The driver ends a session in whose ring a larger one stands."""

HEADERS = {4: 20, 6: 40}
"""The bytes that a packet of each IP version has at least; the driver drops any other."""

_kernel32 = ctypes.WinDLL("kernel32")
for _name in ("AcquireSRWLockExclusive", "ReleaseSRWLockExclusive"):
    getattr(_kernel32, _name).argtypes = [c_void_p]
    getattr(_kernel32, _name).restype = None


class RingQueue(EventQueue):
    """There is a session while the interface is up."""

    layer: Layer = "tun"
    direct: int | None = 0

    def __init__(self, adapter: Adapter, capacity: int) -> None:
        super().__init__()
        self._adapter = adapter
        self._capacity = capacity
        functions = adapter.wintun.functions
        self._receive = functions["WintunReceivePacket"]
        self._give_back = functions["WintunReleaseReceivePacket"]
        self._allocate = functions["WintunAllocateSendPacket"]
        self._send = functions["WintunSendPacket"]
        addresses = (
            ctypes.cast(each, c_void_p).value
            for each in (self._receive, self._give_back, self._allocate, self._send)
        )
        self._ring = Ring(None, None, *addresses)
        self._buffer = ctypes.create_string_buffer(PACKET_MAX)

    def driver_version(self) -> tuple[int, int] | None:
        return self._adapter.wintun.driver_version()

    def channel(self) -> int:
        return ctypes.addressof(self._ring)

    def _begin(self) -> int:
        session = self._adapter.start(self._capacity)
        self._ring.session = session
        event: int = self._adapter.wintun.functions["WintunGetReadWaitEvent"](session)
        return event

    def _end(self) -> None:
        session, ring = self._ring.session, ctypes.byref(self._ring)
        try:
            _kernel32.AcquireSRWLockExclusive(ring)
            self._ring.session = None
        finally:
            _kernel32.ReleaseSRWLockExclusive(ring)
        self._adapter.wintun.functions["WintunEndSession"](session)

    def _release(self) -> None:
        self._adapter.close()

    # What is taken of a ring has to go back, or its other side waits for ever. So it does within
    # one call, of `list`: a signal handler's exception comes before that, or behind.

    def _take(self) -> bytes:
        session, size = self._ring.session, c_uint32()
        taken, read = tee(filter(None, map(self._receive, (session,), (size,))))
        sizes = map(attrgetter("value"), (size,))  # asked for once it is known
        copied = map(ctypes.memmove, (self._buffer,), taken, sizes)
        given_back = map(self._give_back, (session,), read)
        if list(zip(copied, given_back, strict=True)):
            return ctypes.string_at(self._buffer, size.value)
        if ctypes.get_last_error() == ERROR_NO_MORE_ITEMS:
            raise BlockingIOError(errno.EAGAIN, "no packet is waiting")
        raise self._ended()

    def _put(self, frame: bytes) -> None:
        session, size = self._ring.session, len(frame)
        least = HEADERS.get(frame[0] >> 4 if frame else 0, size + 1)
        if not least <= size <= PACKET_MAX:
            raise OSError(errno.EINVAL, "neither IPv4 nor IPv6")
        allocated = filter(None, map(self._allocate, (session,), (size,)))
        filled = map(ctypes.memmove, allocated, (frame,), (size,))
        if list(map(self._send, (session,), filled)):
            return
        if ctypes.get_last_error() == ERROR_BUFFER_OVERFLOW:
            raise BlockingIOError(errno.EAGAIN, "the ring is full")
        raise self._ended()

    def _ended(self) -> InterfaceGoneError:
        """The adapter was removed (ERROR_HANDLE_EOF), or a ring is broken (ERROR_INVALID_DATA)."""
        return self._lost(ctypes.FormatError(ctypes.get_last_error()))
