"""A connected UDP endpoint beneath a framed end: one datagram carries one item."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import TypeVar

from ..buffers import to_bytes
from ..errors import ConfigError, PacketError
from ..lease import TransportLease
from ..logs import NamedLogger
from ..streams import MessageProtocol
from ..udp import Datagram, UdpProtocol, UdpTransport
from .sources import TransportSource

__all__ = ["DatagramProtocol", "DatagramSource"]

T = TypeVar("T")

DATAGRAM_MAX = 65527
"""Bytes behind the header of 8 in a datagram (RFC 768), whose length has 16 bits."""


class DatagramProtocol(MessageProtocol, UdpProtocol):
    """Has the endpoint until `give_back`. Raises `BusyError`, and `ConfigError` without a peer."""

    transport: UdpTransport

    def __init__(self, transport: UdpTransport) -> None:
        super().__init__()
        if transport.get_extra_info("peername") is None:
            raise ConfigError(f"{transport!r} sends to no one peer: create it with remote_addr=")
        self.transport = transport
        self._logger = NamedLogger(f"UDP endpoint {transport.local_addr}")
        self._lease = TransportLease(transport)
        self.writable = not transport._protocol_paused  # before there was a framed end to be told
        transport.set_protocol(self)

    def give_back(self) -> None:
        self._lease.close()

    def datagrams_received(self, datagrams: list[Datagram]) -> None:
        self._keep([datagram.data for datagram in datagrams])

    def write(self, messages: Iterable[bytes | bytearray | memoryview]) -> int:
        sendto = self.transport.sendto
        count = 0
        try:
            for datagram in messages:
                if type(datagram) is not bytes:
                    datagram = to_bytes(datagram, "datagram")
                if len(datagram) > DATAGRAM_MAX:
                    raise PacketError(
                        errno.EMSGSIZE,
                        f"a datagram has {DATAGRAM_MAX} bytes at most, not {len(datagram)}",
                    )
                sendto(datagram)
                count += 1
        finally:
            self.written += count
        return count

    # The protocol that this one replaces is told too: it goes on when the endpoint is given back.

    def pause_writing(self) -> None:
        super().pause_writing()
        self._lease.protocol.pause_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._lease.protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._lease.protocol.connection_lost(exc)


class DatagramSource(TransportSource[T]):
    """Gives the endpoint back when it is released, with the items that nobody has received."""

    _protocol: DatagramProtocol

    def release(self) -> tuple[list[T], bytes]:
        items = self.recv_waiting()
        self._protocol.give_back()
        return items, b""
