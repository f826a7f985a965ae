"""TUN and TAP devices as asyncio transports, with GSO and GRO offload."""

from typing import TYPE_CHECKING

from . import codecs
from . import typing as typing
from .config import Address, DeviceConfig, Route
from .device import Device
from .endpoints import create_device_endpoint, create_udp_endpoint, open_device
from .errors import (
    AddressError,
    BusyError,
    ClosedError,
    CodecError,
    ConfigError,
    DeviceForbiddenError,
    FrameHeaderError,
    FrameTooShortError,
    InterfaceDownError,
    InterfaceGoneError,
    InterruptError,
    MACError,
    MTUError,
    NameInUseError,
    NameInvalidError,
    NamespaceError,
    NoCapabilityError,
    NoDriverError,
    NoTunNodeError,
    OffloadError,
    PacketError,
    PathMTUError,
    QueueLimitError,
    RouteError,
    TunError,
    UnsupportedError,
)
from .framed import (
    ByteStream,
    Framed,
    FramedCounters,
    FramedReader,
    FramedServer,
    FramedWriter,
    PacketStreamLike,
    Released,
    open_framed_connection,
    start_framed_server,
)
from .interrupt import Interrupt
from .offload import SuperPacket, VirtioNetHeader
from .packetio import Counters
from .platforms.base import (
    AddressAdded,
    AddressRemoved,
    Event,
    InterfaceDetails,
    InterfaceGone,
    InterfaceStatistics,
    LinkChanged,
)
from .protocols import PacketProtocol
from .relay import relay
from .streams import PacketStream
from .transports import PacketTransport
from .udp import Datagram, UdpCounters, UdpProtocol, UdpTransport

__all__ = [
    "Address",
    "AddressAdded",
    "AddressError",
    "AddressRemoved",
    "BusyError",
    "ByteStream",
    "ClosedError",
    "CodecError",
    "ConfigError",
    "Counters",
    "Datagram",
    "Device",
    "DeviceConfig",
    "DeviceForbiddenError",
    "Event",
    "FrameHeaderError",
    "FrameTooShortError",
    "Framed",
    "FramedCounters",
    "FramedReader",
    "FramedServer",
    "FramedWriter",
    "InterfaceDetails",
    "InterfaceDownError",
    "InterfaceGone",
    "InterfaceGoneError",
    "InterfaceStatistics",
    "Interrupt",
    "InterruptError",
    "LinkChanged",
    "MACError",
    "MTUError",
    "NameInUseError",
    "NameInvalidError",
    "NamespaceError",
    "NoCapabilityError",
    "NoDriverError",
    "NoTunNodeError",
    "OffloadError",
    "PacketError",
    "PacketProtocol",
    "PacketStream",
    "PacketStreamLike",
    "PacketTransport",
    "PathMTUError",
    "QueueLimitError",
    "Released",
    "Route",
    "RouteError",
    "SuperPacket",
    "TunError",
    "UdpCounters",
    "UdpProtocol",
    "UdpTransport",
    "UnsupportedError",
    "VirtioNetHeader",
    "codecs",
    "create_device_endpoint",
    "create_udp_endpoint",
    "open_device",
    "open_framed_connection",
    "relay",
    "start_framed_server",
]

__version__ = "0.1.0"

if TYPE_CHECKING:
    from . import testing as testing
else:

    def __getattr__(name: str) -> object:
        """Import `aiotun.testing` when it is asked for: programs do without it."""
        if name == "testing":
            import importlib

            return importlib.import_module(".testing", __name__)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
