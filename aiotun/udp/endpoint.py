"""The way to open a UDP endpoint."""

from __future__ import annotations

import asyncio
import errno
import functools
import socket
import sys
from collections.abc import Callable
from typing import TypeVar

from ..errors import ConfigError, UnsupportedError
from .asyncio_endpoint import PlainUdpTransport
from .base import AnyProtocol, UdpTransport
from .protocol import SocketAddress
from .sockets import check_socket, open_socket, set_buffer, set_dont_fragment

__all__ = ["create_udp_endpoint"]

ProtocolT = TypeVar("ProtocolT", bound=AnyProtocol)


async def create_udp_endpoint(
    protocol_factory: Callable[[], ProtocolT],
    local_addr: SocketAddress | None = None,
    remote_addr: SocketAddress | None = None,
    *,
    sock: socket.socket | None = None,
    reuse_port: bool = False,
    receive_buffer: int | None = None,
    send_buffer: int | None = None,
    dont_fragment: bool = False,
    receive_many: bool | None = False,
) -> tuple[UdpTransport, ProtocolT]:
    """Open a UDP socket and connect it to a protocol; return once `connection_made` was called.

    `local_addr` is what to bind to: `("::", port)` takes IPv6 and IPv4, port 0 any
    port. With `remote_addr` the endpoint talks to that peer alone, and is told
    what ICMP says about it. Names are looked up off the loop. `sock` is taken
    instead of both, as one of another network namespace: the transport owns and
    closes it from now on, also if this call fails.

    `receive_buffer` and `send_buffer` are sizes in bytes to ask the kernel for
    (what it granted is told by the transport's extra infos of these names);
    with `dont_fragment` datagrams that the path does not carry whole are
    dropped, and reported with its MTU as `PathMTUError`.

    With `receive_many` a call receives many datagrams on macOS (recvmsg_x, which is private),
    NetBSD and OpenBSD (recvmmsg), once the call was seen to work over the loopback. Nobody has
    run it on these systems yet, so it is off unless asked for. Linux does so in any case; other
    systems raise `UnsupportedError`, or with None do without.

    Raises `OSError` where the addresses cannot be had, `TypeError` and `ValueError`
    for wrong arguments, and what the factory raises. When cancelled, nothing is left behind.

    A protocol is a `UdpProtocol`, or an `asyncio.DatagramProtocol` as it stands: then each
    datagram is a call of `datagram_received`, and what the calls of one wake-up send leaves
    together.
    """
    loop = asyncio.get_running_loop()
    try:
        if sock is None:
            sock = await open_socket(local_addr, remote_addr, reuse_port)
        elif local_addr is not None or remote_addr is not None or reuse_port:
            raise ConfigError("a ready sock= is bound already: leave out the addresses")
        else:
            check_socket(sock)
        if receive_buffer is not None:
            set_buffer(sock, socket.SO_RCVBUF, receive_buffer)
        if send_buffer is not None:
            set_buffer(sock, socket.SO_SNDBUF, send_buffer)
        if dont_fragment:
            set_dont_fragment(sock)
        protocol = protocol_factory()
        transport = await _make_transport(loop, sock, protocol, receive_many)
        await transport._start()
    except BaseException:
        if isinstance(sock, socket.socket):
            sock.close()
        raise
    return transport, protocol


async def _make_transport(
    loop: asyncio.AbstractEventLoop,
    sock: socket.socket,
    protocol: AnyProtocol,
    receive_many: bool | None,
) -> UdpTransport:
    """The transport that makes the most of this system. Raises `UnsupportedError`.

    What has to be tried first is tried off the loop.
    """
    if sys.platform == "linux":
        from .linux import UdpSocket
        from .selector import SelectorUdpTransport

        return SelectorUdpTransport(loop, sock, protocol, UdpSocket)
    if sys.platform != "win32":
        from .bsd import BsdUdpSocket
        from .mmsg import make_receiver
        from .selector import SelectorUdpTransport

        receiver = None
        if receive_many is not False:
            receiver = await asyncio.to_thread(make_receiver, sock.family, receive_many)
        kind = functools.partial(BsdUdpSocket, receiver=receiver)
        return SelectorUdpTransport(loop, sock, protocol, kind)
    if receive_many:
        raise UnsupportedError(errno.EOPNOTSUPP, "Windows has no receive_many=")
    if sys.platform == "win32":
        from .event import EventUdpTransport
        from .winsock import WinsockUdpSocket, works_here

        if await asyncio.to_thread(works_here):
            return EventUdpTransport(loop, sock, protocol, WinsockUdpSocket)
    return PlainUdpTransport(loop, sock, protocol)
