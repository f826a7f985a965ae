"""EventUdpTransport: a socket whose event a system's thread waits for, on each loop of Windows."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import _overlapped  # type: ignore[import-not-found]
import _winapi
import asyncio
import contextlib
import ctypes
import socket
from collections.abc import Callable
from ctypes import c_long, c_void_p

from ..platforms.windows.waits import RegisteredWait
from .base import AnyProtocol
from .protocol import UdpCounters
from .selector import MessageSocket, SelectorUdpTransport

__all__ = ["EventUdpTransport"]

FD_READ, FD_WRITE = 1, 2

_ws2 = ctypes.WinDLL("ws2_32.dll", use_last_error=True, winmode=0x800)
_ws2.WSAEventSelect.argtypes = [c_void_p, c_void_p, c_long]


class EventUdpTransport(SelectorUdpTransport):
    """What is received sets the event anew if it leaves something; so does room for what could not
    be sent (WSAEventSelect)."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        protocol: AnyProtocol,
        kind: Callable[[socket.socket, UdpCounters, Callable[[OSError], None]], MessageSocket],
    ) -> None:
        super().__init__(loop, sock, protocol, kind)
        self._event = _overlapped.CreateEvent(None, False, False, None)
        try:
            if _ws2.WSAEventSelect(self._fd, self._event, FD_READ | FD_WRITE):
                raise ctypes.WinError(ctypes.get_last_error())
            self._wait = RegisteredWait(self._event, self._came)
        except BaseException:
            _winapi.CloseHandle(self._event)
            raise

    def _came(self) -> None:
        """In a thread of the system."""
        with contextlib.suppress(RuntimeError):  # the loop was closed before us
            self._loop.call_soon_threadsafe(self._look)

    def _look(self) -> None:
        if self._reading:
            self._read_ready()
        if self._writing:
            self._write_ready()

    def _watch_anew(self) -> None:
        """The event goes on."""

    def _watch_readable(self) -> None:
        if not self._reading:
            self._reading = True
            self._loop.call_soon(self._look)  # something may have come meanwhile

    def _unwatch_readable(self) -> None:
        self._reading = False

    def _watch_writable(self) -> None:
        self._writing = True

    def _unwatch_writable(self) -> None:
        self._writing = False

    def _abandon(self) -> None:
        self._wait.close()
        super()._abandon()
        _winapi.CloseHandle(self._event)

    def _release(self, released: Callable[[], None]) -> None:
        self._wait.close()
        self._reading = self._writing = False
        super()._release(released)
        _winapi.CloseHandle(self._event)
