"""The queue of a Wintun adapter: a session with its two rings."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes
import errno
from ctypes import c_uint32, c_void_p
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
        session = self._ring.session
        _kernel32.AcquireSRWLockExclusive(ctypes.byref(self._ring))
        self._ring.session = None
        _kernel32.ReleaseSRWLockExclusive(ctypes.byref(self._ring))
        self._adapter.wintun.functions["WintunEndSession"](session)

    def _release(self) -> None:
        self._adapter.close()

    def _take(self) -> bytes:
        session = self._ring.session
        size = c_uint32()
        packet = self._receive(session, size)
        if packet:
            data = ctypes.string_at(packet, size.value)
            self._give_back(session, packet)
            return data
        if ctypes.get_last_error() == ERROR_NO_MORE_ITEMS:
            raise BlockingIOError(errno.EAGAIN, "no packet is waiting")
        raise self._ended()

    def _put(self, frame: bytes) -> None:
        session = self._ring.session
        least = HEADERS.get(frame[0] >> 4 if frame else 0, len(frame) + 1)
        if not least <= len(frame) <= PACKET_MAX:
            raise OSError(errno.EINVAL, "neither IPv4 nor IPv6")
        packet = self._allocate(session, len(frame))
        if packet:
            ctypes.memmove(packet, frame, len(frame))
            self._send(session, packet)
            return
        if ctypes.get_last_error() == ERROR_BUFFER_OVERFLOW:
            raise BlockingIOError(errno.EAGAIN, "the ring is full")
        raise self._ended()

    def _ended(self) -> InterfaceGoneError:
        """The adapter was removed (ERROR_HANDLE_EOF), or a ring is broken (ERROR_INVALID_DATA)."""
        return self._lost(ctypes.FormatError(ctypes.get_last_error()))
