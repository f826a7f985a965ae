"""The socket of a UDP endpoint."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from typing import Any

from ..errors import ConfigError, UnsupportedError
from .address import check_numbers, check_types
from .cmsg import IP_MTU_DISCOVER, IP_PMTUDISC_DO, IPV6_MTU_DISCOVER
from .protocol import SocketAddress

__all__ = ["check_socket", "open_socket", "set_buffer", "set_dont_fragment"]

BUFFER_MAX = (1 << 31) - 1
"""Bytes: setsockopt(2) takes an int."""

# asm-generic/socket.h: beyond the system's limit, with CAP_NET_ADMIN
FORCED = {socket.SO_SNDBUF: 32, socket.SO_RCVBUF: 33}

FORBIDDEN = {
    "linux": "ports below 1024 need CAP_NET_BIND_SERVICE",
    "win32": "a program has this port to itself, or Windows keeps it, see "
    "netsh interface ipv4 show excludedportrange udp: choose another one, or 0 for any",
}
"""What EACCES of bind(2) means, where it is not that root alone has the port."""


async def open_socket(
    local_addr: SocketAddress | None,
    remote_addr: SocketAddress | None,
    reuse_port: bool,
) -> socket.socket:
    """A UDP socket bound and connected; names are looked up off the loop.

    Raises the `OSError` of the last of the addresses tried, `ConfigError` if there is
    none to try, and `TypeError` or `ValueError` for what is none.
    """
    if local_addr is None and remote_addr is None:
        raise ConfigError("a UDP endpoint needs local_addr=, remote_addr= or sock=")
    local = remote = []
    if local_addr is not None:
        local = await _look_up(local_addr, 0, socket.AI_PASSIVE)
    if remote_addr is not None:
        remote = await _look_up(remote_addr, 1)
    error: OSError = OSError(
        errno.EAFNOSUPPORT, f"{local_addr} and {remote_addr} have no address family in common"
    )
    for family, near, far in _ways(local, remote):
        try:
            return _open(family, near, far, reuse_port)
        except OSError as exc:
            error = _explain(exc, far if near is None else near)
    raise error


async def _look_up(addr: SocketAddress, port_min: int, flags: int = 0) -> list[tuple[int, Any]]:
    """Address families and addresses that a host and port stand for."""
    check_types(addr)
    check_numbers(addr, port_min)
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
        errno.EACCES: FORBIDDEN.get(sys.platform, "ports below 1024 need root"),
        errno.EAFNOSUPPORT: "this host does not speak it: take an IPv4 address, as 0.0.0.0",
    }
    hint = hints.get(exc.errno or 0)
    message = f"UDP endpoint at {addr[0]} port {addr[1]}: {exc.strerror}"
    return OSError(exc.errno, f"{message} ({hint})" if hint else message)


def check_socket(sock: object) -> None:
    """Raise `TypeError` unless it is a socket, and `ConfigError` unless it is a UDP socket."""
    if not isinstance(sock, socket.socket):
        raise TypeError(f"sock= is a socket.socket, not {sock!r}")
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or sock.type != socket.SOCK_DGRAM:
        raise ConfigError(f"sock= is no UDP socket: {sock!r}")


def set_dont_fragment(sock: socket.socket) -> None:
    """Let no datagram be fragmented on its way. Raises `UnsupportedError` but on Linux."""
    if sys.platform != "linux":
        raise UnsupportedError(errno.EOPNOTSUPP, "dont_fragment= is for Linux only")
    sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, IP_PMTUDISC_DO)


def set_buffer(sock: socket.socket, option: int, size: int) -> None:
    """Ask for so many bytes, beyond the system's limit where the program may.

    Raises `TypeError` or `ValueError` for what no buffer can have.
    """
    if not isinstance(size, int):
        raise TypeError(f"the size of a buffer is an int, not {size!r}")
    if not 0 < size <= BUFFER_MAX:
        raise ValueError(f"a buffer has 1 to {BUFFER_MAX} bytes, not {size}")
    if sys.platform == "linux":
        try:
            sock.setsockopt(socket.SOL_SOCKET, FORCED[option], size)
        except PermissionError:
            pass
        else:
            return
    sock.setsockopt(socket.SOL_SOCKET, option, size)
