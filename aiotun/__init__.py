"""TUN and TAP devices as asyncio transports, with GSO and GRO offload."""

from typing import TYPE_CHECKING

from . import codecs, errors, framed, interfaces, offload
from . import options as options
from . import typing as typing
from . import udp as udp
from .addresses import Address, Route
from .config import DeviceConfig
from .device import Device
from .endpoints import attach_device, create_device_endpoint, open_device
from .errors import (
    BusyError,
    ClosedError,
    CodecError,
    ConfigError,
    InterfaceDownError,
    InterfaceGoneError,
    NameInUseError,
    NoDriverError,
    NotPermittedError,
    OffloadError,
    TunError,
    UnsupportedError,
)
from .framed import (
    Framed,
    FramedServer,
    open_framed_connection,
    open_framed_fd,
    start_framed_server,
)
from .interrupt import Interrupt
from .offload import SuperPacket
from .packetio import Counters
from .protocols import PacketProtocol
from .relay import relay
from .streams import PacketStream
from .transports import PacketTransport
from .udp import (
    Datagram,
    DatagramTrain,
    UdpProtocol,
    UdpTransport,
    create_udp_endpoint,
)

__all__ = [
    "Address",
    "BusyError",
    "ClosedError",
    "CodecError",
    "ConfigError",
    "Counters",
    "Datagram",
    "DatagramTrain",
    "Device",
    "DeviceConfig",
    "Framed",
    "FramedServer",
    "InterfaceDownError",
    "InterfaceGoneError",
    "Interrupt",
    "NameInUseError",
    "NoDriverError",
    "NotPermittedError",
    "OffloadError",
    "PacketProtocol",
    "PacketStream",
    "PacketTransport",
    "Route",
    "SuperPacket",
    "TunError",
    "UdpProtocol",
    "UdpTransport",
    "UnsupportedError",
    "attach_device",
    "capture",
    "codecs",
    "create_device_endpoint",
    "create_flow_server",
    "create_udp_endpoint",
    "errors",
    "flows",
    "framed",
    "interfaces",
    "offload",
    "open_device",
    "open_framed_connection",
    "open_framed_fd",
    "relay",
    "start_flow_server",
    "start_framed_server",
]

__version__ = "1.0.0rc1"

if TYPE_CHECKING:
    from . import aead as aead
    from . import flows as flows
    from . import handover as handover
    from . import metrics as metrics
    from . import testing as testing
    from . import wireguard as wireguard
    from .capturing import capture as capture
    from .flows import create_flow_server, start_flow_server
else:

    def __getattr__(name: str) -> object:
        """Import what most programs do without when it is asked for."""
        import importlib

        if name in ("aead", "flows", "handover", "metrics", "testing", "wireguard"):
            return importlib.import_module(f".{name}", __name__)
        if name in ("create_flow_server", "start_flow_server"):
            return getattr(importlib.import_module(".flows", __name__), name)
        if name == "capture":
            from .capturing import capture

            return capture
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
