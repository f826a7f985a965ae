"""Addresses as users have them, and as a socket takes and gives them."""

from __future__ import annotations

from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_pton, socket

from .protocol import SocketAddress

__all__ = ["from_socket", "is_v4", "peer_name", "to_socket"]

MAPPED = "::ffff:"
"""Before an IPv4 address on a dual-stack socket (RFC 4291, section 2.5.5.2)."""

FLOW_MAX = 0xFFFFF
"""A flow label has 20 bits (RFC 8200, section 3)."""


def is_v4(host: str) -> bool:
    return ":" not in host


def from_socket(addr: SocketAddress) -> SocketAddress:
    """An address as the socket gave it, an IPv4 one in its own form."""
    host = addr[0]
    if host.startswith(MAPPED) and "." in host:
        return host[len(MAPPED) :], addr[1]
    return addr


@lru_cache(maxsize=4096)
def to_socket(addr: SocketAddress, family: int) -> SocketAddress:
    """What a socket of the family takes. Raises `ValueError` for what cannot be sent to.

    A name is one of these: looking it up would block the loop.
    """
    host, port = addr[0], addr[1]
    try:
        inet_pton(AF_INET if is_v4(host) else AF_INET6, host)
    except OSError:
        raise ValueError(
            f"{host!r} is no numeric address: look names up with loop.getaddrinfo"
        ) from None
    if not 0 < port < 65536:
        raise ValueError(f"a port is 1 to 65535, not {port}")
    if len(addr) > 2 and not 0 <= addr[2] <= FLOW_MAX:
        raise ValueError(f"a flow label is 0 to {FLOW_MAX}, not {addr[2]}")
    if is_v4(host):
        return MAPPED + host if family == AF_INET6 else host, port
    if family == AF_INET:
        raise ValueError(f"this endpoint speaks IPv4 alone, and {host} is an IPv6 address")
    return addr


def peer_name(sock: socket) -> SocketAddress | None:
    """Where the socket is connected to."""
    try:
        return from_socket(sock.getpeername())
    except OSError:
        return None
