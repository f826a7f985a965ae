"""TCP connections of flows as asyncio has them: the listening sockets, transports and streams."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import weakref
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from ..addresses import Address
from ..errors import AddressError
from .base import Flow
from .table import Gate

if TYPE_CHECKING:
    from ..device import Device

__all__ = [
    "BACKLOG",
    "Beginning",
    "FlowTransport",
    "FlowWriter",
    "Listener",
    "begin_protocol",
    "begin_stream",
    "is_open",
    "listen",
    "reset_socket",
]

BACKLOG = 4096
"""Connections that the kernel has established and the loop has not accepted; the kernel makes
net.core.somaxconn of it."""

PEERS_MAX = 4
"""Addresses behind the device that are used: each has ports for a thousand new connections a
second, as a port rests for a minute."""

Claim = Callable[[asyncio.Transport], "Flow | None"]
"""The flow that a transport of an accepted socket is the end of."""


class Listener:
    """A listening socket, and the gate that it is."""

    def __init__(self, sock: socket.socket, peers: tuple[bytes, ...]) -> None:
        host, port = sock.getsockname()[:2]
        self.socket = sock
        self.version = 6 if sock.family == socket.AF_INET6 else 4
        self.gate = Gate(ip_address(host).packed, port, peers)


def listen(device: Device) -> list[Listener]:
    """Listening sockets at the addresses of a device, one of each IP version that it has.

    They take what comes out of the device alone, where the system has a way to say so.
    Raises `AddressError` if the device has no address with another one beside it, and
    `OSError`.
    """
    addresses = device.addresses()
    own = {each.interface.ip for each in addresses}
    listeners: list[Listener] = []
    try:
        for version in (4, 6):
            for address in addresses:
                peers = _peers(address, own) if address.interface.version == version else ()
                if peers:
                    listeners.append(Listener(_listen_at(device, address), peers))
                    break
    except BaseException:
        for each in listeners:
            each.socket.close()
        raise
    if not listeners:
        raise AddressError(
            f"{device.name} has no address for flows: it needs one with others in its network, "
            'like "10.9.0.1/24" or "fd09::1/64"'
        )
    return listeners


def _peers(address: Address, own: set[IPv4Address | IPv6Address]) -> tuple[bytes, ...]:
    """Some addresses that lie behind the device, and are none of its own."""
    if address.interface.is_link_local:
        return ()
    if address.peer is not None:
        return (address.peer.packed,)
    others = (host for host in address.interface.network.hosts() if host not in own)
    return tuple(host.packed for host in islice(others, PEERS_MAX))


def _listen_at(device: Device, address: Address) -> socket.socket:
    v6 = address.interface.version == 6
    sock = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        if sys.platform == "linux":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.name.encode())
        # Accepted sockets inherit it: a client that has vanished holds nothing for ever.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.bind((str(address.interface.ip), 0))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


DELEGATED = (
    "abort",
    "can_write_eof",
    "close",
    "get_protocol",
    "get_write_buffer_limits",
    "get_write_buffer_size",
    "is_closing",
    "is_reading",
    "pause_reading",
    "resume_reading",
    "set_protocol",
    "set_write_buffer_limits",
    "write",
    "write_eof",
    "writelines",
)


class FlowTransport(asyncio.Transport):
    """The loop's own transport of a socket, with the extra info `flow`.

    `peername` and `sockname` are those of the flow too: its source and its destination.
    """

    _start_tls_compatible = True  # what loop.start_tls of asyncio asks for

    def __init__(self, transport: asyncio.Transport, flow: Flow) -> None:
        super().__init__()
        self._transport = transport
        self._infos = _infos(flow)
        for name in DELEGATED:  # an attribute, so that a call is not one more
            setattr(self, name, getattr(transport, name))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name in self._infos:
            return self._infos[name]
        return self._transport.get_extra_info(name, default)

    def __getattr__(self, name: str) -> Any:
        """What only this loop's transports have."""
        return getattr(self._transport, name)

    def __repr__(self) -> str:
        return f"<FlowTransport {self._infos['flow']!r}>"


class FlowWriter(asyncio.StreamWriter):
    """A `StreamWriter` with the extra infos of a `FlowTransport`."""

    def __init__(
        self,
        transport: asyncio.Transport,
        protocol: asyncio.StreamReaderProtocol,
        reader: asyncio.StreamReader,
        flow: Flow,
    ) -> None:
        super().__init__(transport, protocol, reader, asyncio.get_running_loop())
        self._infos = _infos(flow)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name in self._infos:
            return self._infos[name]
        return super().get_extra_info(name, default)


def _infos(flow: Flow) -> dict[str, Any]:
    return {"flow": flow, "peername": flow.source, "sockname": flow.destination}


class Beginning(asyncio.Protocol):
    """The protocol of a connection that was accepted just now, until its own has been made."""

    def __init__(self, claim: Claim, begin: Callable[[asyncio.Transport, Flow], None]) -> None:
        self._claim = claim
        self._begin = begin

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop's are none by inheritance
        flow = self._claim(transport)
        if flow is None:  # no client: somebody who found the socket
            transport.abort()
            return
        try:
            self._begin(transport, flow)
        except BaseException:
            transport.abort()
            raise


def begin_protocol(
    factory: Callable[[], asyncio.BaseProtocol], transport: asyncio.Transport, flow: Flow
) -> None:
    """Give a connection its protocol."""
    protocol = factory()
    transport.set_protocol(protocol)
    protocol.connection_made(FlowTransport(transport, flow))


def begin_stream(
    transport: asyncio.Transport, flow: Flow, limit: int
) -> tuple[asyncio.StreamReader, FlowWriter]:
    """Make a connection a pair of streams."""
    reader = asyncio.StreamReader(limit, asyncio.get_running_loop())
    protocol = asyncio.StreamReaderProtocol(reader)
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    return reader, FlowWriter(transport, protocol, reader, flow)


def reset_socket(transport: asyncio.Transport) -> None:
    """Abort a connection so that its client sees a reset, and takes it for no end of file."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return  # it is closed, and asyncio's own transport cannot be aborted then
    if not transport.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def is_open(transport: asyncio.Transport) -> Callable[[], bool]:
    """Tells whether the transport is open, and does not keep it."""
    reference = weakref.ref(transport)

    def held() -> bool:
        found = reference()
        return found is not None and not found.is_closing()

    return held
