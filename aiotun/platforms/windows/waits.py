"""Events of Windows: waiting for one in a thread, or being called back when one is set."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import _overlapped  # type: ignore[import-not-found]
import _winapi
import asyncio
import ctypes
import itertools
import time
from collections.abc import Callable, Sequence
from ctypes import wintypes

from ...errors import ClosedError

__all__ = ["Event", "RegisteredWait", "until_set", "wait_for_events"]

ERROR_IO_PENDING = 997
INFINITE = 0xFFFFFFFF
WAIT_TIMEOUT = 258
WT_EXECUTEONLYONCE = 8

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


class Event:
    """An event that is closed with the last reference to it.

    So a thread that waits for it keeps it open, and is not counted: a count could be left wrong by
    a signal handler's exception.
    """

    def __init__(self, handle: int) -> None:
        self.handle = handle

    @classmethod
    def new(cls) -> Event:
        """One that stays set until it is reset."""
        return cls(_overlapped.CreateEvent(None, True, False, None))

    @classmethod
    def same(cls, handle: int) -> Event:
        """That of a handle which others close."""
        process = _winapi.GetCurrentProcess()
        same = _winapi.DUPLICATE_SAME_ACCESS
        return cls(_winapi.DuplicateHandle(process, handle, process, 0, False, same))

    def __del__(self, close: Callable[[int], None] = _winapi.CloseHandle) -> None:
        close(self.handle)


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


_callbacks: dict[int, Callable[[], None]] = {}
_keys = itertools.count(1)


def _call(key: int, timed_out: int) -> None:
    callback = _callbacks.get(key)
    if callback is not None:
        callback()


_called = _Callback(_call)
"""For all waits, and for good: what wine (8.0) calls late would be freed by then."""


class RegisteredWait:
    """Calls back, in a thread of the system, each time the event is set (thread pool API), or
    only `once`: an event that nobody resets stays set."""

    def __init__(self, event: int, callback: Callable[[], None], *, once: bool = False) -> None:
        self._key = next(_keys)
        _callbacks[self._key] = callback
        self._handle: wintypes.HANDLE | None = wintypes.HANDLE()
        if not _kernel32.RegisterWaitForSingleObject(
            ctypes.byref(self._handle),
            event,
            _called,
            self._key,
            INFINITE,
            WT_EXECUTEONLYONCE * once,
        ):
            del _callbacks[self._key]
            raise ctypes.WinError(ctypes.get_last_error())

    def close(self) -> None:
        """Wait until a callback that runs has returned, and let none begin. Idempotent."""
        handle, self._handle = self._handle, None
        if handle is not None:
            # With this in the place of an event it returns when no callback runs any more.
            try:
                _overlapped.UnregisterWaitEx(handle.value, _overlapped.INVALID_HANDLE_VALUE)
            except OSError as exc:
                if exc.winerror != ERROR_IO_PENDING:  # as wine (8.0) says of one that is to come
                    raise
            del _callbacks[self._key]


async def until_set(event: int) -> None:
    """Wait on the loop until an event that nobody resets is set, or a process has ended."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def tell() -> None:
        loop.call_soon_threadsafe(done.set)

    wait = RegisteredWait(event, tell, once=True)
    try:
        await done.wait()
    finally:
        wait.close()
