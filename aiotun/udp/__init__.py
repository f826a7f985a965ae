"""UDP for high rates: many datagrams a system call where the system allows it."""

from __future__ import annotations

import asyncio
import socket
import sys

from .asyncio_endpoint import PlainUdpTransport
from .base import UdpTransport
from .protocol import Datagram, SocketAddress, UdpCounters, UdpProtocol
from .sockets import check_socket, open_socket, set_buffer, set_dont_fragment

__all__ = [
    "Datagram",
    "SocketAddress",
    "UdpCounters",
    "UdpProtocol",
    "UdpTransport",
    "check_socket",
    "make_udp_transport",
    "open_socket",
    "set_buffer",
    "set_dont_fragment",
]


def make_udp_transport(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, protocol: UdpProtocol
) -> UdpTransport:
    """The transport that makes the most of this system."""
    if sys.platform == "linux":
        from .selector import SelectorUdpTransport

        return SelectorUdpTransport(loop, sock, protocol)
    return PlainUdpTransport(loop, sock, protocol)
