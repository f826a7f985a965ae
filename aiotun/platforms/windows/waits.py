"""Events of Windows: waiting for one in a thread, or being called back when one is set."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import _winapi
import ctypes
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ctypes import wintypes

from ...errors import ClosedError

__all__ = ["RegisteredWait", "held_mutex", "wait_for_events"]

INFINITE = 0xFFFFFFFF
WAIT_TIMEOUT = 258
WAIT_FAILED = 0xFFFFFFFF
WT_EXECUTEONLYONCE = 8
INVALID_HANDLE_VALUE = ctypes.c_void_p(-1)

_kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
_Callback = ctypes.WINFUNCTYPE(None, ctypes.c_void_p, ctypes.c_ubyte)
_kernel32.RegisterWaitForSingleObject.argtypes = [
    ctypes.POINTER(wintypes.HANDLE),
    wintypes.HANDLE,
    _Callback,
    ctypes.c_void_p,
    wintypes.ULONG,
    wintypes.ULONG,
]
_kernel32.UnregisterWaitEx.argtypes = [wintypes.HANDLE, ctypes.c_void_p]
_kernel32.CreateMutexW.restype = wintypes.HANDLE
_kernel32.CreateMutexW.argtypes = [ctypes.c_void_p, wintypes.BOOL, wintypes.LPCWSTR]
_kernel32.WaitForSingleObject.restype = wintypes.DWORD
_kernel32.WaitForSingleObject.argtypes = [wintypes.HANDLE, wintypes.DWORD]
_kernel32.ReleaseMutex.argtypes = _kernel32.CloseHandle.argtypes = [wintypes.HANDLE]


def wait_for_events(events: Sequence[int], timeout: float | None) -> int | None:
    """Block the calling thread until one of the events is set: the first of those that are.

    None after `timeout` seconds. In the main thread ctrl-C ends the wait. Takes 62 events.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        left = INFINITE
        if deadline is not None:
            # Rounded up: a wait that ends before its deadline would be taken up again.
            left = min(max(0, -int(-(deadline - time.monotonic()) * 1000 // 1)), INFINITE - 1)
        try:
            found = _winapi.WaitForMultipleObjects(events, False, left)
        except InterruptedError:
            continue  # ctrl-C: its handler has run here, and has not raised
        except OSError as exc:
            raise ClosedError from exc
        if found != WAIT_TIMEOUT:
            return found
        if deadline is not None and time.monotonic() >= deadline:
            return None


@contextmanager
def held_mutex(name: str) -> Iterator[None]:
    """Wait until no other thread, of whatever program, holds the mutex of that name, and hold it.

    Raises `OSError`.
    """
    handle = _kernel32.CreateMutexW(None, False, name)
    if not handle:
        raise ctypes.WinError(ctypes.get_last_error())
    try:
        # A thread that ended while it held it has left it to us.
        if _kernel32.WaitForSingleObject(handle, INFINITE) == WAIT_FAILED:
            raise ctypes.WinError(ctypes.get_last_error())
        try:
            yield
        finally:
            _kernel32.ReleaseMutex(handle)
    finally:
        _kernel32.CloseHandle(handle)


class RegisteredWait:
    """Calls back, in a thread of the system, each time the event is set (thread pool API), or
    only `once`: an event that nobody resets stays set."""

    def __init__(self, event: int, callback: Callable[[], None], *, once: bool = False) -> None:
        self._callback = _Callback(lambda context, timed_out: callback())  # kept while registered
        self._handle: wintypes.HANDLE | None = wintypes.HANDLE()
        if not _kernel32.RegisterWaitForSingleObject(
            ctypes.byref(self._handle),
            event,
            self._callback,
            None,
            INFINITE,
            WT_EXECUTEONLYONCE * once,
        ):
            raise ctypes.WinError(ctypes.get_last_error())

    def close(self) -> None:
        """Wait until a callback that runs has returned, and let none begin. Idempotent."""
        handle, self._handle = self._handle, None
        if handle is not None:
            _kernel32.UnregisterWaitEx(handle, INVALID_HANDLE_VALUE)
