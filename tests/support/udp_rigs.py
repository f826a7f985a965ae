"""UDP endpoints to test with."""

from __future__ import annotations

import asyncio
import functools
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from calls import Calls

import aiotun
from aiotun.udp import endpoint as udp_endpoint
from aiotun.udp.asyncio_endpoint import PlainUdpTransport
from aiotun.udp.protocol import SocketAddress

Backend = Callable[[asyncio.AbstractEventLoop, socket.socket, Any], aiotun.UdpTransport]
OWN: dict[str, Backend] = {"plain": PlainUdpTransport}
"""The ways to move datagrams that this system has."""
if sys.platform == "linux":
    from aiotun.udp.linux import UdpSocket
    from aiotun.udp.selector import SelectorUdpTransport

    OWN["linux"] = functools.partial(SelectorUdpTransport, kind=UdpSocket)
elif sys.platform == "win32":
    from aiotun.udp.event import EventUdpTransport
    from aiotun.udp.winsock import WinsockUdpSocket

    OWN["event"] = functools.partial(EventUdpTransport, kind=WinsockUdpSocket)

NARROW = 1400
"""Bytes that the path of a `narrow` network carries."""


def udp_socket(host: str, kind: type[socket.socket] = socket.socket) -> Any:
    """One of that kind, bound to the host."""
    sock = kind(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    return sock


def use_transport(make: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let endpoints be made of a loop, a socket and a protocol by this."""

    async def make_transport(*given: Any) -> aiotun.UdpTransport:
        return make(*given[:3])

    monkeypatch.setattr(udp_endpoint, "_make_transport", make_transport)


class Recorder(Calls, aiotun.UdpProtocol):
    def __init__(self) -> None:
        super().__init__()
        self.on_datagram: Callable[[aiotun.Datagram], object] = lambda datagram: None
        self.transport: aiotun.UdpTransport

    def connection_made(self, transport: aiotun.UdpTransport) -> None:
        self.transport = transport
        self.calls.append(("connection_made",))

    def datagrams_received(self, datagrams: list[aiotun.Datagram]) -> None:
        self.calls.append(("datagrams_received", datagrams))
        for datagram in datagrams:
            self.on_datagram(datagram)

    @property
    def datagrams(self) -> list[aiotun.Datagram]:
        return [each for batch in self.named("datagrams_received") for each in batch]

    @property
    def data(self) -> list[bytes]:
        return [datagram.data for datagram in self.datagrams]

    @property
    def errors(self) -> list[Any]:
        return self.named("error_received")

    @property
    def addr(self) -> SocketAddress:
        """Where others reach it: on the loopback, if it listens everywhere."""
        host, port, *_ = self.transport.get_extra_info("sockname")
        return {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}.get(host, host), port


@asynccontextmanager
async def endpoint(
    host: str = "127.0.0.1", factory: Callable[[], Recorder] = Recorder, **settings: Any
) -> AsyncIterator[Recorder]:
    """An endpoint bound to the host, or as the settings say, aborted at the end."""
    if not settings.keys() & {"sock", "remote_addr"}:
        settings["local_addr"] = (host, 0)
    transport, protocol = await aiotun.create_udp_endpoint(factory, **settings)
    try:
        yield protocol
    finally:
        transport.abort()
        await transport.aclose()


class Receiver(Calls, aiotun.UdpProtocol):
    """Takes trains as they come."""

    def __init__(self) -> None:
        super().__init__()
        self.trains: list[aiotun.DatagramTrain] = []

    def connection_made(self, transport: aiotun.UdpTransport) -> None:
        self.transport = transport

    def trains_received(self, trains: list[aiotun.DatagramTrain]) -> None:
        self.trains += trains

    @property
    def data(self) -> list[bytes]:
        return [datagram.data for train in self.trains for datagram in train.datagrams()]


def receiver() -> Any:
    """An endpoint with such a protocol."""
    return endpoint(factory=Receiver)  # type: ignore[arg-type]


def train(count: int, size: int) -> bytes:
    """The last datagram is shorter."""
    return b"".join(bytes([n]) * size for n in range(count))[: count * size - 1]
