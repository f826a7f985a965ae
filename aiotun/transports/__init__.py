"""Devices as asyncio transports: `base` decides everything, the others tell when."""

from __future__ import annotations

import asyncio

from ..device import DeviceLease
from ..platforms.memory import MemoryQueue
from ..protocols import PacketProtocol
from .base import PacketTransport
from .memory import MemoryTransport
from .selector import SelectorTransport

__all__ = ["PacketTransport", "make_transport"]


def make_transport(
    loop: asyncio.AbstractEventLoop, lease: DeviceLease, protocol: PacketProtocol
) -> PacketTransport:
    """The transport that knows how to wait for this device."""
    if isinstance(lease.lent.queue, MemoryQueue):
        return MemoryTransport(loop, lease, protocol)
    return SelectorTransport(loop, lease, protocol)
