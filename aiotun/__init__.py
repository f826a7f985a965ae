"""TUN and TAP devices as asyncio transports, with GSO and GRO offload."""

from .config import Address, DeviceConfig
from .device import Device
from .endpoints import create_device_endpoint, open_device
from .errors import (
    AddressError,
    BusyError,
    ClosedError,
    ConfigError,
    DeviceForbiddenError,
    FrameHeaderError,
    FrameTooShortError,
    InterfaceDownError,
    InterfaceGoneError,
    MTUError,
    NameInUseError,
    NameInvalidError,
    NoCapabilityError,
    NoDriverError,
    NoTunNodeError,
    OffloadError,
    PacketError,
    TunError,
    UnsupportedError,
)
from .offload import SuperPacket, VirtioNetHeader
from .packetio import Counters
from .platforms.base import (
    AddressAdded,
    AddressRemoved,
    Event,
    InterfaceGone,
    InterfaceStatistics,
    LinkChanged,
)
from .protocols import PacketProtocol
from .relay import relay
from .streams import PacketStream
from .transports import PacketTransport

__all__ = [
    "Address",
    "AddressAdded",
    "AddressError",
    "AddressRemoved",
    "BusyError",
    "ClosedError",
    "ConfigError",
    "Counters",
    "Device",
    "DeviceConfig",
    "DeviceForbiddenError",
    "Event",
    "FrameHeaderError",
    "FrameTooShortError",
    "InterfaceDownError",
    "InterfaceGone",
    "InterfaceGoneError",
    "InterfaceStatistics",
    "LinkChanged",
    "MTUError",
    "NameInUseError",
    "NameInvalidError",
    "NoCapabilityError",
    "NoDriverError",
    "NoTunNodeError",
    "OffloadError",
    "PacketError",
    "PacketProtocol",
    "PacketStream",
    "PacketTransport",
    "SuperPacket",
    "TunError",
    "UnsupportedError",
    "VirtioNetHeader",
    "create_device_endpoint",
    "open_device",
    "relay",
]

__version__ = "0.1.0"
