"""wintun.dll (0.14): its functions, typed, and what their errors mean.

The functions and their errors are documented in wintun.h; api/*.c of the Wintun sources say
more. A session's functions may be called from any thread until it ends.
"""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes
import errno
import logging
import os
import time
from collections.abc import Callable
from ctypes import POINTER, c_uint32, c_uint64, c_void_p, wintypes
from functools import cache
from typing import Any
from uuid import UUID

from ...errors import NoDriverError, NotPermittedError, TunError
from .remedies import ADMINISTRATOR, WINTUN
from .structs import GUID

__all__ = ["Adapter", "Ring", "Wintun", "load"]

logger = logging.getLogger("aiotun")

# winerror.h
ERROR_ACCESS_DENIED = 5
ERROR_NOT_READY = 21
ERROR_HANDLE_EOF = 38
ERROR_BUFFER_OVERFLOW = 111
ERROR_MOD_NOT_FOUND = 126
ERROR_ALREADY_EXISTS = 183
ERROR_BAD_EXE_FORMAT = 193
ERROR_NO_MORE_ITEMS = 259
ERROR_NOT_FOUND = 1168

# libloaderapi.h
LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR = 0x100
LOAD_LIBRARY_SEARCH_APPLICATION_DIR = 0x200
LOAD_LIBRARY_SEARCH_SYSTEM32 = 0x800

FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "WintunCreateAdapter": (c_void_p, [wintypes.LPCWSTR, wintypes.LPCWSTR, POINTER(GUID)]),
    "WintunOpenAdapter": (c_void_p, [wintypes.LPCWSTR]),
    "WintunCloseAdapter": (None, [c_void_p]),
    "WintunDeleteDriver": (wintypes.BOOL, []),
    "WintunGetAdapterLUID": (None, [c_void_p, POINTER(c_uint64)]),
    "WintunGetRunningDriverVersion": (c_uint32, []),
    "WintunSetLogger": (None, [c_void_p]),
    "WintunStartSession": (c_void_p, [c_void_p, c_uint32]),
    "WintunEndSession": (None, [c_void_p]),
    "WintunGetReadWaitEvent": (c_void_p, [c_void_p]),
    "WintunReceivePacket": (c_void_p, [c_void_p, POINTER(c_uint32)]),
    "WintunReleaseReceivePacket": (None, [c_void_p, c_void_p]),
    "WintunAllocateSendPacket": (c_void_p, [c_void_p, c_uint32]),
    "WintunSendPacket": (None, [c_void_p, c_void_p]),
}
"""What each returns and takes. A NULL or FALSE tells of an error, which GetLastError names."""

LEVELS = (logging.INFO, logging.WARNING, logging.ERROR)
"""WINTUN_LOGGER_LEVEL"""

_Logger = ctypes.WINFUNCTYPE(None, ctypes.c_int, c_uint64, wintypes.LPCWSTR)

ATTEMPTS = 4
"""To make an adapter: leftovers of a crash make the first ones fail while they are removed."""


class Ring(ctypes.Structure):
    """What native code reads and writes a session by: see native/src/system/ring.h.

    `session` is NULL while there is none. Native code holds `lock`, an SRWLOCK, shared
    while it uses the session.
    """

    session: int | None
    _fields_ = (
        ("lock", c_void_p),
        ("session", c_void_p),
        ("receive", c_void_p),
        ("release", c_void_p),
        ("allocate", c_void_p),
        ("send", c_void_p),
    )


class Wintun:
    """The library. Its driver logs to the logger `aiotun`."""

    def __init__(self, path: str | None) -> None:
        """Load it, by its path, or else from the program's folder or the system's.

        Raises `NoDriverError`. It is never looked for in the current directory.
        """
        where = LOAD_LIBRARY_SEARCH_APPLICATION_DIR
        if path is not None:
            path = os.path.abspath(path)
            where = LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR
        try:
            self.library = ctypes.WinDLL(
                path or "wintun.dll",
                use_last_error=True,
                winmode=where | LOAD_LIBRARY_SEARCH_SYSTEM32,
            )
        except OSError as exc:
            raise _not_loaded(exc, path or "wintun.dll") from exc
        self.functions: dict[str, Any] = {}
        for name, (result, arguments) in FUNCTIONS.items():
            try:
                function = getattr(self.library, name)
            except AttributeError as exc:
                raise NoDriverError(
                    errno.ENOENT, f"{path or 'wintun.dll'} has no {name}", remedies=WINTUN
                ) from exc
            function.restype, function.argtypes = result, arguments
            self.functions[name] = function
        self._logger = _Logger(_log)  # kept as long as the library may call it
        self.functions["WintunSetLogger"](self._logger)

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a function that returns NULL or FALSE on an error: an `OSError` with `winerror`."""
        result = self.functions[name](*arguments)
        if not result:
            raise ctypes.WinError(ctypes.get_last_error(), f"{name}: {_last_error()}")
        return result

    def path(self) -> str:
        """Where it was found."""
        path = ctypes.create_unicode_buffer(32768)
        kernel = ctypes.WinDLL("kernel32")
        kernel.GetModuleFileNameW.argtypes = [c_void_p, wintypes.LPWSTR, wintypes.DWORD]
        kernel.GetModuleFileNameW(self.library._handle, path, len(path))
        return path.value

    def driver_version(self) -> tuple[int, int] | None:
        """Of the driver that runs; None if none does."""
        version = self.functions["WintunGetRunningDriverVersion"]()
        return (version >> 16, version & 0xFFFF) if version else None

    def create(self, choose: Callable[[], tuple[str, UUID]], description: str) -> Adapter:
        """Make an adapter, which is there as long as the handle is. Takes up to 15 s.

        Its name and GUID are chosen for each attempt: somebody may have taken them meanwhile.
        Raises `NotPermittedError`, `TunError`, and what `choose` does.
        """
        for attempt in range(ATTEMPTS):
            time.sleep(attempt * 0.1)
            name, guid = choose()
            try:
                handle = self.call("WintunCreateAdapter", name, description, GUID.of(guid))
            except OSError as exc:
                failure = exc
                if exc.winerror not in (ERROR_ALREADY_EXISTS, ERROR_NOT_FOUND, ERROR_NOT_READY):
                    break
            else:
                return Adapter(self, handle)
        if failure.winerror == ERROR_ACCESS_DENIED:
            raise NotPermittedError(
                errno.EPERM,
                f"this process may not make the adapter {name!r}",
                remedies=ADMINISTRATOR,
            ) from failure
        raise TunError(
            failure.errno or errno.EIO, f"adapter {name!r} cannot be made: {failure.strerror}"
        ) from failure


class Adapter:
    """A handle of an adapter."""

    delete_driver = False
    """Whether closing it removes the driver from the system, unless another adapter is open."""

    def __init__(self, wintun: Wintun, handle: int) -> None:
        self.wintun = wintun
        self._handle: int | None = handle
        luid = c_uint64()
        wintun.functions["WintunGetAdapterLUID"](handle, luid)
        self.luid = luid.value

    def start(self, capacity: int) -> int:
        """Start a session, with rings of that many bytes; one at a time."""
        session: int = self.wintun.call("WintunStartSession", self._handle, capacity)
        return session

    def close(self) -> None:
        """Remove the adapter. No session may be there any more. Idempotent."""
        handle, self._handle = self._handle, None
        if handle is None:
            return
        self.wintun.functions["WintunCloseAdapter"](handle)
        if self.delete_driver:
            try:
                self.wintun.call("WintunDeleteDriver")
            except OSError as exc:
                logger.warning("Wintun's driver was not removed: %s", exc)


@cache
def load(path: str | None) -> Wintun:
    """The library of that path: one, however many devices there are."""
    return Wintun(path)


def _not_loaded(exc: OSError, path: str) -> NoDriverError:
    what = f"cannot be loaded: {exc}"
    if exc.winerror == ERROR_BAD_EXE_FORMAT:
        what = "is of another architecture than this Python"
    elif isinstance(exc, FileNotFoundError) or exc.winerror == ERROR_MOD_NOT_FOUND:
        what = "was not found"
    return NoDriverError(errno.ENOENT, f"Wintun's library {what}", path, remedies=WINTUN)


def _last_error() -> str:
    number = ctypes.get_last_error()
    return f"{ctypes.FormatError(number)} ({number:#x})"


def _log(level: int, _time: int, line: str) -> None:
    logger.log(LEVELS[min(level, 2)], "Wintun: %s", line)
