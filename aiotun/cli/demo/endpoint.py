"""A protocol on a device, for as long as a block lasts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from ... import Device, PacketProtocol, create_device_endpoint

__all__ = ["endpoint"]

ProtocolT = TypeVar("ProtocolT", bound=PacketProtocol)


@asynccontextmanager
async def endpoint(factory: type[ProtocolT], device: Device) -> AsyncIterator[ProtocolT]:
    """Connect the device to a protocol. The device is closed when the block ends."""
    with device:  # closes it unless a transport has taken it over
        transport, protocol = await create_device_endpoint(factory, device=device)
    async with transport:
        yield protocol
