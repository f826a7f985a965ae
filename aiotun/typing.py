"""The types of what users write: for annotations of their own.

They are aliases, such as `AddressLike` for all the forms of an address that
`DeviceConfig` and `Device.add_address` take.
"""

from .addresses import AddressLike, RouteLike
from .config import Layer, Offload
from .platforms.base import Framing
from .udp.protocol import SocketAddress

__all__ = ["AddressLike", "Framing", "Layer", "Offload", "RouteLike", "SocketAddress"]
