"""The ways to open a device on an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from .cancelling import Opening, despite_cancellation
from .config import make_config
from .device import Device, DeviceLease
from .errors import ConfigError
from .protocols import PacketProtocol
from .streams import PacketStream, StreamProtocol
from .transports import PacketTransport, make_transport
from .transports.closing import close_off_loop

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .config import DeviceConfig, DeviceSettings

__all__ = [
    "OpenDevice",
    "attach_device",
    "create_device_endpoint",
    "open_device",
    "open_off_loop",
]

PacketProtocolT = TypeVar("PacketProtocolT", bound=PacketProtocol)


async def create_device_endpoint(
    protocol_factory: Callable[[], PacketProtocolT],
    *,
    device: Device | None = None,
    config: DeviceConfig | None = None,
    **settings: Unpack[DeviceSettings],
) -> tuple[PacketTransport, PacketProtocolT]:
    """Open a device and connect it to a protocol; return once `connection_made` was called.

    What the device should be is said by the fields of `DeviceConfig` as
    keywords, or by a whole one as `config`. An open `device` is taken as it is:
    the transport owns and closes it from now on, also if this call fails.

    Raises what `Device` raises, `BusyError` for a device that has a transport,
    and what the factory raises. When cancelled, nothing is left behind.
    """
    loop = asyncio.get_running_loop()
    configured = device is not None and (config is not None or settings)
    if device is None:
        device = await open_off_loop(loop, make_config(config, settings))
    lease = DeviceLease(device)
    try:
        if configured:
            raise ConfigError("an open device= is configured already: leave out the other keywords")
        protocol = protocol_factory()
        transport = make_transport(loop, lease, protocol)
    except BaseException:
        await despite_cancellation(close_off_loop(loop, lease.close))
        raise
    await transport._start()
    return transport, protocol


def attach_device(
    protocol_factory: Callable[[], PacketProtocolT], device: Device
) -> tuple[PacketTransport, PacketProtocolT]:
    """Connect an open device to a protocol, from a callback of the running loop.

    It is `create_device_endpoint(device=device)` for where nothing can be awaited. The loop
    calls `connection_made` next; the transport may be written to before. A device is opened
    without awaiting too (`Device(...)`), which blocks the loop for about a millisecond.

    Raises what `create_device_endpoint` raises. The transport owns the device, and the
    device is closed if this fails.
    """
    loop = asyncio.get_running_loop()
    lease = DeviceLease(device)
    try:
        protocol = protocol_factory()
        transport = make_transport(loop, lease, protocol)
    except BaseException:
        close_off_loop(loop, lease.close)
        raise
    transport._start_soon()
    return transport, protocol


async def open_off_loop(loop: asyncio.AbstractEventLoop, config: DeviceConfig) -> Device:
    """Open a device off the loop: the kernel may make one wait for its configuration lock.

    When cancelled, nothing is left behind.
    """
    # A thread of its own, not one of the loop's: it inherits the network
    # namespace of the calling thread, an older one may be elsewhere.
    thread = ThreadPoolExecutor(1, "aiotun-open")
    opening = loop.run_in_executor(thread, lambda: Device(config=config))
    thread.shutdown(wait=False)
    try:
        return await despite_cancellation(opening)
    except asyncio.CancelledError:
        if opening.exception() is None:
            await despite_cancellation(close_off_loop(loop, opening.result().close))
        raise


def open_device(
    *,
    device: Device | None = None,
    config: DeviceConfig | None = None,
    **settings: Unpack[DeviceSettings],
) -> OpenDevice:
    """Open a device as a `PacketStream`; takes and raises what `create_device_endpoint` does.

    >>> async with open_device(addresses=["10.9.0.1/24"]) as tun: ...
    >>> tun = await open_device(addresses=["10.9.0.1/24"])
    """
    return OpenDevice(lambda: _open_stream(device, config, settings))


async def _open_stream(
    device: Device | None, config: DeviceConfig | None, settings: DeviceSettings
) -> PacketStream:
    _, protocol = await create_device_endpoint(
        StreamProtocol, device=device, config=config, **settings
    )
    return PacketStream(protocol)


class OpenDevice(Opening[PacketStream]):
    """What `open_device` returns: to be awaited, or entered with `async with`, once."""
