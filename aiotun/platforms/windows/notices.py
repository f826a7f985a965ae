"""Changes that the system tells of, in a thread of its own (netioapi.h)."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes
from collections.abc import Callable, Iterable
from ctypes import wintypes

from .iphlpapi import IpHelper, NotifyCallback
from .structs import AF_UNSPEC

__all__ = ["Notices"]


class Notices:
    """Calls back at each change of these kinds, of whatever interface, until closed.

    A kind is the name of a function such as NotifyRouteChange2. Raises `OSError`.
    """

    def __init__(self, ip: IpHelper, kinds: Iterable[str], callback: Callable[[], object]) -> None:
        def told(context: object, row: object, kind: int) -> None:
            callback()

        self._ip = ip
        self._callback = NotifyCallback(told)  # kept as long as it may be called
        self._handles: list[wintypes.HANDLE] = []
        try:
            for kind in kinds:
                handle = wintypes.HANDLE()
                ip.call(kind, AF_UNSPEC, self._callback, None, False, ctypes.byref(handle))
                self._handles.append(handle)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Wait until no callback runs any more. Idempotent."""
        handles, self._handles = self._handles, []
        for handle in handles:
            self._ip.call("CancelMibChangeNotify2", handle)
