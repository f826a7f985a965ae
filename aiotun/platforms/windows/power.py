"""Being told that the machine has woken up (powrprof.h)."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import contextlib
import ctypes
import logging
from collections.abc import Callable, Iterator
from ctypes import POINTER, byref, c_uint32, c_void_p
from functools import cache

from .structs import DEVICE_NOTIFY_SUBSCRIBE_PARAMETERS

__all__ = ["told_of_resumes"]

logger = logging.getLogger("aiotun")

DEVICE_NOTIFY_CALLBACK = 2
PBT_APMRESUMEAUTOMATIC = 18
"""Of each resume, whatever was its reason."""

_listeners: set[Callable[[], object]] = set()


@contextlib.contextmanager
def told_of_resumes(callback: Callable[[], object]) -> Iterator[None]:
    """Call back meanwhile, in a thread of the system, each time that the machine wakes up."""
    _register()
    _listeners.add(callback)
    try:
        yield
    finally:
        _listeners.discard(callback)


def _told(context: object, kind: int, setting: object) -> int:
    if kind == PBT_APMRESUMEAUTOMATIC:
        for callback in list(_listeners):
            callback()
    return 0


_callback = ctypes.WINFUNCTYPE(c_uint32, c_void_p, c_uint32, c_void_p)(_told)
"""DEVICE_NOTIFY_CALLBACK_ROUTINE"""


@cache
def _register(library: str = "powrprof.dll") -> None:
    """Once a process, and for good: no page says whether a callback may still run after
    PowerUnregisterSuspendResumeNotification."""
    parameters = DEVICE_NOTIFY_SUBSCRIBE_PARAMETERS(ctypes.cast(_callback, c_void_p))
    powrprof = ctypes.WinDLL(library, winmode=0 if ":" in library else 0x800)
    register = powrprof.PowerRegisterSuspendResumeNotification
    register.argtypes = [c_uint32, POINTER(DEVICE_NOTIFY_SUBSCRIBE_PARAMETERS), POINTER(c_void_p)]
    register.restype = c_uint32
    error = register(DEVICE_NOTIFY_CALLBACK, byref(parameters), byref(c_void_p()))
    if error:
        logger.warning("Windows does not tell when it wakes up: %s", ctypes.FormatError(error))
