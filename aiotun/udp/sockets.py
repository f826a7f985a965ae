"""The socket of a UDP endpoint."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from typing import Any

from ..errors import UnsupportedError
from .cmsg import IP_MTU_DISCOVER, IP_PMTUDISC_DO, IPV6_MTU_DISCOVER
from .protocol import SocketAddress

__all__ = ["open_socket", "set_buffer", "set_dont_fragment"]

# asm-generic/socket.h: beyond the system's limit, with CAP_NET_ADMIN
FORCED = {socket.SO_SNDBUF: 32, socket.SO_RCVBUF: 33}


async def open_socket(
    local_addr: SocketAddress | None,
    remote_addr: SocketAddress | None,
    reuse_port: bool,
) -> socket.socket:
    """A UDP socket bound and connected; names are looked up off the loop.

    Raises the `OSError` of the last of the addresses tried.
    """
    local = await _look_up(local_addr, socket.AI_PASSIVE) if local_addr else []
    remote = await _look_up(remote_addr) if remote_addr else []
    error: OSError = OSError(
        errno.EAFNOSUPPORT, f"{local_addr} and {remote_addr} have no address family in common"
    )
    for family, near, far in _ways(local, remote):
        try:
            return _open(family, near, far, reuse_port)
        except OSError as exc:
            error = _explain(exc, far if near is None else near)
    raise error


async def _look_up(addr: SocketAddress, flags: int = 0) -> list[tuple[int, Any]]:
    """Address families and addresses that a host and port stand for."""
    host, port = addr[:2]
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=flags)
    return [(info[0], addr if len(addr) == 4 else info[4]) for info in found]


def _ways(
    local: list[tuple[int, Any]], remote: list[tuple[int, Any]]
) -> list[tuple[int, Any, Any]]:
    if not remote:
        return [(family, near, None) for family, near in local]
    if not local:
        return [(family, None, far) for family, far in remote]
    return [
        (family, near, far) for family, far in remote for other, near in local if family == other
    ]


def _open(family: int, near: Any, far: Any, reuse_port: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if reuse_port:
            if sys.platform == "win32":
                raise UnsupportedError(errno.EOPNOTSUPP, "Windows has no reuse_port=")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if near is not None:
            if family == socket.AF_INET6 and near[0] == "::":
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.bind(near)
        if far is not None:
            sock.connect(far)
    except BaseException:
        sock.close()
        raise
    return sock


def _explain(exc: OSError, addr: Any) -> OSError:
    hints = {
        errno.EADDRINUSE: "another socket has this port: choose another one, or 0 for any",
        errno.EADDRNOTAVAIL: "no interface of this host has this address",
        errno.EACCES: "ports below 1024 need CAP_NET_BIND_SERVICE",
        errno.EAFNOSUPPORT: "this host does not speak it: take an IPv4 address, as 0.0.0.0",
    }
    hint = hints.get(exc.errno or 0)
    message = f"UDP endpoint at {addr[0]} port {addr[1]}: {exc.strerror}"
    return OSError(exc.errno, f"{message} ({hint})" if hint else message)


def set_dont_fragment(sock: socket.socket) -> None:
    """Let no datagram be fragmented on its way. Raises `UnsupportedError` but on Linux."""
    if sys.platform != "linux":
        raise UnsupportedError(errno.EOPNOTSUPP, "dont_fragment= is for Linux only")
    sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, IP_PMTUDISC_DO)


def set_buffer(sock: socket.socket, option: int, size: int) -> None:
    """Ask for so many bytes, beyond the system's limit where the program may."""
    if sys.platform == "linux":
        try:
            sock.setsockopt(socket.SOL_SOCKET, FORCED[option], size)
        except PermissionError:
            pass
        else:
            return
    sock.setsockopt(socket.SOL_SOCKET, option, size)
