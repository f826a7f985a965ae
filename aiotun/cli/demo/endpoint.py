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
    """The device is closed in the end, however that comes."""
    with device:  # which closes it only while it belongs to no transport
        transport, protocol = await create_device_endpoint(factory, device=device)
    async with transport:
        yield protocol
