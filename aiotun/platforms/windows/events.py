"""Changes of one interface: the system calls back in a thread of its own, the loop then reads."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes
from collections.abc import Callable
from ctypes import wintypes
from typing import TYPE_CHECKING, NamedTuple

from ...addresses import Address
from ...interfaces import AddressAdded, AddressRemoved, Event, InterfaceGone, LinkChanged
from ..base import CallingEvents, nothing
from .iphlpapi import IpHelper, NotifyCallback
from .structs import AF_UNSPEC

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["State", "WindowsEvents"]


class State(NamedTuple):
    """What events are about, as it was at one moment."""

    name: str
    mtu: int
    up: bool
    addresses: tuple[Address, ...]


class WindowsEvents(CallingEvents):
    """Compares what is with what was: so nothing is missed, however much changes at once."""

    def __init__(self, ip: IpHelper, look: Callable[[], State | None]) -> None:
        """`look` tells the state, or None once the interface is gone."""
        self.on_event = nothing
        self._ip = ip
        self._look = look
        self._seen = look()
        self._changed = True  # before it was listened to, maybe
        self._callback = NotifyCallback(self._told)  # kept as long as it may be called
        self._handles: list[wintypes.HANDLE] = []
        try:
            for name in ("NotifyIpInterfaceChange", "NotifyUnicastIpAddressChange"):
                handle = wintypes.HANDLE()
                ip.call(name, AF_UNSPEC, self._callback, None, False, ctypes.byref(handle))
                self._handles.append(handle)
        except BaseException:
            self.close()
            raise

    def _told(self, context: object, row: object, kind: int) -> None:
        # Of whatever interface: asking whether it was ours costs as much as looking.
        self.tell()

    def tell(self) -> None:
        """Something may have changed."""
        self._changed = True
        self.on_event()

    def read(self) -> list[Event]:
        if not self._changed or self._seen is None:
            return []
        self._changed = False
        before, self._seen = self._seen, self._look()
        return [InterfaceGone()] if self._seen is None else list(_compare(before, self._seen))

    def close(self) -> None:
        self.on_event = nothing
        handles, self._handles = self._handles, []
        for handle in handles:  # waits until no callback runs any more
            self._ip.call("CancelMibChangeNotify2", handle)


def _compare(before: State, now: State) -> Iterator[Event]:
    if before[:3] != now[:3]:
        yield LinkChanged(now.name, now.mtu, now.up, carrier=now.up)
    for address in before.addresses:
        if address not in now.addresses:
            yield AddressRemoved(address)
    for address in now.addresses:
        if address not in before.addresses:
            yield AddressAdded(address)
