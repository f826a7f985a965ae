"""UDP for high rates: many datagrams a system call where the system allows it."""

from .base import UdpTransport
from .endpoint import create_udp_endpoint
from .protocol import Datagram, DatagramTrain, SocketAddress, UdpCounters, UdpProtocol

__all__ = [
    "Datagram",
    "DatagramTrain",
    "SocketAddress",
    "UdpCounters",
    "UdpProtocol",
    "UdpTransport",
    "create_udp_endpoint",
]
