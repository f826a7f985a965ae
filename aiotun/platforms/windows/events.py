"""Changes of one interface: the system calls back in a thread of its own, the loop then reads."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ...addresses import Address
from ...interfaces import AddressAdded, AddressRemoved, Event, InterfaceGone, LinkChanged
from ..base import CallingEvents, nothing
from .iphlpapi import IpHelper
from .notices import Notices

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
        self._look = look
        self._seen = look()
        self._changed = True  # before it was listened to, maybe
        # Asking whether it was this interface costs as much as looking.
        kinds = ("NotifyIpInterfaceChange", "NotifyUnicastIpAddressChange")
        self._notices = Notices(ip, kinds, self.tell)

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
        self._notices.close()


def _compare(before: State, now: State) -> Iterator[Event]:
    if before[:3] != now[:3]:
        yield LinkChanged(now.name, now.mtu, now.up, carrier=now.up)
    for address in before.addresses:
        if address not in now.addresses:
            yield AddressRemoved(address)
    for address in now.addresses:
        if address not in before.addresses:
            yield AddressAdded(address)
