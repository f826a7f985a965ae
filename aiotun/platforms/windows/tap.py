"""TAPs of tap-windows6: an adapter's file, and the queue of frames that it is.

Numbers are those of its tap-windows.h; what reading and writing mean, its txpath.c and rxpath.c
say.
"""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import _overlapped  # type: ignore[import-not-found]
import _winapi
import ctypes
import errno
import logging
import struct
import time
from collections import deque
from contextlib import suppress
from ctypes import byref, c_uint32, c_void_p, wintypes
from typing import TYPE_CHECKING
from uuid import UUID

from ...errors import BusyError, InterfaceGoneError, NotPermittedError, TunError
from .queue import EventQueue
from .remedies import ADMINISTRATOR
from .setupapi import SetupApi
from .structs import OVERLAPPED

if TYPE_CHECKING:
    from typing import Any

    from ...config import Layer

__all__ = ["TapQueue"]

logger = logging.getLogger("aiotun")

GET_VERSION = 0x220008
SET_MEDIA_STATUS = 0x220018

HEADER = 14
"""Bytes of an Ethernet header, which the driver asks for."""

FRAME_MAX = HEADER + 4 + 65535

WRITES_MAX = 64
"""Frames that the system may still have to take in before a writer waits."""

PATIENCE = 15.0
"""Seconds for the file of a new adapter to be there."""

PAUSE = 0.01

FILE_ATTRIBUTE_SYSTEM = 4
FILE_FLAG_OVERLAPPED = 0x40000000

# winerror.h
ERROR_FILE_NOT_FOUND = 2
ERROR_ACCESS_DENIED = 5
ERROR_GEN_FAILURE = 31
ERROR_IO_INCOMPLETE = 996
ERROR_IO_PENDING = 997

_kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
_OVERLAPPED = ctypes.POINTER(OVERLAPPED)
_SIZE = ctypes.POINTER(c_uint32)
for _name, _arguments in {
    "CancelIoEx": [c_void_p, _OVERLAPPED],
    "DeviceIoControl": [
        c_void_p, c_uint32, c_void_p, c_uint32, c_void_p, c_uint32, _SIZE, _OVERLAPPED
    ],
    "GetOverlappedResult": [c_void_p, _OVERLAPPED, _SIZE, wintypes.BOOL],
    "ReadFile": [c_void_p, c_void_p, c_uint32, _SIZE, _OVERLAPPED],
}.items():  # fmt: skip
    getattr(_kernel32, _name).argtypes = _arguments


class TapQueue(EventQueue):
    """One read is always under way: its event tells of a frame, as that of Wintun's ring does.

    Frames are at least 60 bytes long when they arrive on the other side.
    """

    layer: Layer = "tap"

    def __init__(self, setup: SetupApi, luid: int, guid: UUID) -> None:
        """Open the file of an adapter.

        Raises `BusyError` where another program has it, `NotPermittedError`, and `TunError`.
        """
        super().__init__()
        self._setup = setup
        self._luid = luid
        self._handle = _open(guid)
        self._arrived = _overlapped.CreateEvent(None, False, False, None)
        self._reading = OVERLAPPED(hEvent=self._arrived)
        self._pending = False
        self._buffer = ctypes.create_string_buffer(FRAME_MAX)
        self._writing: deque[Any] = deque()  # _winapi.Overlapped, the oldest first

    def driver_version(self) -> tuple[int, int] | None:
        major, minor = struct.unpack("II", self._control(GET_VERSION, bytes(12))[:8])
        return major, minor

    def _control(self, code: int, data: bytes) -> bytes:
        """Without an OVERLAPPED: the driver answers these at once. Input and output must be
        there, both."""
        buffer = ctypes.create_string_buffer(data, len(data))
        size = c_uint32()
        if not _kernel32.DeviceIoControl(
            self._handle, code, buffer, len(data), buffer, len(data), byref(size), None
        ):
            raise ctypes.WinError(ctypes.get_last_error())
        return buffer.raw

    def _plug(self, connected: bool) -> None:
        """Until the cable is plugged in nothing passes."""
        self._control(SET_MEDIA_STATUS, struct.pack("I", connected))

    def _begin(self) -> int:
        try:
            self._plug(True)
        except OSError as exc:
            raise self._lost(str(exc)) from exc
        event: int = self._arrived
        return event

    def _end(self) -> None:
        reading = byref(self._reading)
        if self._pending and _kernel32.CancelIoEx(self._handle, reading):  # else it has ended
            _kernel32.GetOverlappedResult(self._handle, reading, c_uint32(), True)
        self._pending = False
        with suppress(OSError):  # the adapter is gone
            self._plug(False)

    def _release(self) -> None:
        while self._writing:
            with suppress(OSError):
                self._writing.popleft().GetOverlappedResult(True)
        _winapi.CloseHandle(self._handle)
        _winapi.CloseHandle(self._arrived)
        if not self.persistent:
            try:
                self._setup.remove(self._luid)
            except InterfaceGoneError:
                pass
            except TunError as exc:
                logger.warning("%s", exc)

    def _take(self) -> bytes:
        try:
            return self._read()
        except BlockingIOError:
            raise
        except OSError as exc:
            self._plug_again(exc)
        try:
            return self._read()
        except BlockingIOError:
            raise
        except OSError as exc:
            raise self._lost(str(exc)) from exc

    def _read(self) -> bytes:
        size = c_uint32()
        reading = byref(self._reading)
        if not self._pending:
            self._pending = True
            if not _kernel32.ReadFile(self._handle, self._buffer, FRAME_MAX, None, reading):
                error = ctypes.get_last_error()
                if error != ERROR_IO_PENDING:
                    self._pending = False
                    raise ctypes.WinError(error)
        if not _kernel32.GetOverlappedResult(self._handle, reading, byref(size), False):
            error = ctypes.get_last_error()
            if error == ERROR_IO_INCOMPLETE:
                raise BlockingIOError(errno.EAGAIN, "no frame is waiting")
            self._pending = False
            raise ctypes.WinError(error)
        self._pending = False
        return ctypes.string_at(self._buffer, size.value)

    def _plug_again(self, reason: OSError) -> None:
        """When the machine sleeps, the driver ends what waits, and pulls the cable.

        The system ends a read alone when the thread ends that began it.
        """
        try:
            self._plug(True)
        except OSError as exc:
            raise self._lost(str(reason)) from exc

    def _put(self, frame: bytes) -> None:
        if not HEADER <= len(frame) <= FRAME_MAX:
            raise OSError(errno.EINVAL, "no Ethernet frame")
        while self._writing and self._is_written(self._writing[0]):
            self._writing.popleft()
        if len(self._writing) == WRITES_MAX:
            raise BlockingIOError(errno.EAGAIN, "the system has not taken in earlier frames")
        try:
            written, error = _winapi.WriteFile(self._handle, frame, overlapped=True)
        except OSError as exc:
            self._plug_again(exc)
            written, error = _winapi.WriteFile(self._handle, frame, overlapped=True)
        if error:
            self._writing.append(written)

    def _is_written(self, written: Any) -> bool:
        """Or dropped: the driver has refused before what it will not take."""
        with suppress(OSError):
            return bool(written.GetOverlappedResult(False)[1] != ERROR_IO_INCOMPLETE)
        return True


def _open(guid: UUID) -> int:
    path = rf"\\.\Global\{{{str(guid).upper()}}}.tap"
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return _winapi.CreateFile(
                path,
                _winapi.GENERIC_READ | _winapi.GENERIC_WRITE,
                0,
                _winapi.NULL,
                _winapi.OPEN_EXISTING,
                FILE_ATTRIBUTE_SYSTEM | FILE_FLAG_OVERLAPPED,
                _winapi.NULL,
            )
        except OSError as exc:
            if exc.winerror == ERROR_GEN_FAILURE:
                raise BusyError(errno.EBUSY, "another program has the TAP open") from exc
            if exc.winerror == ERROR_ACCESS_DENIED:
                raise NotPermittedError(
                    errno.EPERM, "this process may not open the TAP", remedies=ADMINISTRATOR
                ) from exc
            if exc.winerror != ERROR_FILE_NOT_FOUND or time.monotonic() > deadline:
                raise TunError(exc.errno or errno.EIO, f"the TAP cannot be opened: {exc}") from exc
        time.sleep(PAUSE)
