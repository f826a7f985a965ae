"""Devices as asyncio transports: `fastpath` moves packets, `packets` decides the rest."""

from __future__ import annotations

import asyncio

from ..device import DeviceLease
from ..platforms.base import CallingQueue
from ..platforms.memory import MemoryQueue
from ..protocols import PacketProtocol
from .calling import CallingTransport
from .memory import MemoryTransport
from .packets import PacketTransport
from .selector import SelectorTransport

__all__ = ["PacketTransport", "make_transport"]


def make_transport(
    loop: asyncio.AbstractEventLoop, lease: DeviceLease, protocol: PacketProtocol
) -> PacketTransport:
    """The transport that knows how to wait for this device."""
    if isinstance(lease.lent.queue, MemoryQueue):
        return MemoryTransport(loop, lease, protocol)
    if isinstance(lease.lent.queue, CallingQueue):
        return CallingTransport(loop, lease, protocol)
    return SelectorTransport(loop, lease, protocol)
