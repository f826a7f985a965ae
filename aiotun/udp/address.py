"""Addresses as users have them, and as a socket takes and gives them."""

from __future__ import annotations

from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_pton, socket

from .protocol import SocketAddress

__all__ = [
    "check_numbers",
    "check_types",
    "from_socket",
    "is_v4",
    "peer_name",
    "to_loop",
    "to_socket",
]

MAPPED = "::ffff:"
"""Before an IPv4 address on a dual-stack socket (RFC 4291, section 2.5.5.2)."""

PORT_MAX = 0xFFFF

FLOW_MAX = 0xFFFFF
"""A flow label has 20 bits (RFC 8200, section 3)."""

PLAIN = {(str, int), (str, int, int, int)}
"""Types in addresses as sockets give them."""

SCOPE_MAX = 0xFFFFFFFF
"""sin6_scope_id has 32 bits (RFC 3493, section 3.3)."""


def is_v4(host: str) -> bool:
    return ":" not in host


def check_types(addr: object) -> None:
    """Raise `TypeError` for what is no `SocketAddress`, whatever its values are."""
    if type(addr) is tuple and tuple(map(type, addr)) in PLAIN:
        return
    if isinstance(addr, tuple) and 2 <= len(addr) <= 4:
        host, *numbers = addr
        if isinstance(host, str) and all(isinstance(each, int) for each in numbers):
            return
    raise TypeError(
        f"an address is a tuple of a host and a port number, as ('192.0.2.1', 9), not {addr!r}"
    )


def check_numbers(addr: SocketAddress, port_min: int) -> None:
    """Raise `ValueError` for a port, flow label or scope that cannot be."""
    if not port_min <= addr[1] <= PORT_MAX:
        raise ValueError(f"a port is {port_min} to {PORT_MAX}, not {addr[1]}")
    if len(addr) > 2 and not 0 <= addr[2] <= FLOW_MAX:
        raise ValueError(f"a flow label is 0 to {FLOW_MAX}, not {addr[2]}")
    if len(addr) > 3 and not 0 <= addr[3] <= SCOPE_MAX:
        raise ValueError(f"a scope is 0 to {SCOPE_MAX}, not {addr[3]}")


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
    except (OSError, ValueError):  # a ValueError: a zero or half a character in it
        raise ValueError(
            f"{host!r} is no numeric address: look names up with loop.getaddrinfo"
        ) from None
    check_numbers(addr, 1)
    if is_v4(host):
        return MAPPED + host if family == AF_INET6 else host, port
    if family == AF_INET:
        raise ValueError(f"this endpoint speaks IPv4 alone, and {host} is an IPv6 address")
    return addr


@lru_cache(maxsize=4096)
def to_loop(addr: SocketAddress, family: int) -> SocketAddress:
    """What a loop's endpoint takes: of IPv6 with flow label and scope, by whose number alone
    Windows' own loop tells the versions (parse_address in CPython's overlapped.c).

    Raises `ValueError`, as `to_socket`.
    """
    name = to_socket(addr, family)
    return (*name, 0, 0)[:4] if family == AF_INET6 else name


def peer_name(sock: socket) -> SocketAddress | None:
    """Where the socket is connected to."""
    try:
        return from_socket(sock.getpeername())
    except OSError:
        return None
