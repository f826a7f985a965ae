"""Values as people write them: endpoints, names, networks, name servers and numbers."""

from __future__ import annotations

import re
import socket
import sys
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

__all__ = [
    "format_endpoint",
    "format_host",
    "parse_dns",
    "parse_endpoint",
    "parse_name",
    "parse_network",
    "parse_number",
    "parse_port",
    "quote",
    "split_words",
]

DOMAIN = re.compile(r"~?\w[\w.-]*|~\.")
"""As resolvectl(1) takes it: one behind ~ is asked about here, and not searched."""


def parse_endpoint(text: str) -> tuple[str, int]:
    """A host and a port: "host:51820", "192.0.2.1:51820", "[2001:db8::1]:51820".

    As `wg` has it, an IPv6 address may do without its brackets, the port may be the name of a
    UDP service, or 0, to which nothing is sent. Raises `ValueError`.
    """
    if text.startswith("["):
        host, _, port = text[1:].partition("]:")
    else:
        host, _, port = text.rpartition(":")
    if not (port and re.fullmatch(r"[^\s\[\]]{1,253}", host)):  # RFC 1035: 253
        raise ValueError(f"{quote(text)} is not host:port or [IPv6 address]:port")
    try:
        if ":" in host:
            ip_address(host)
        else:
            host.encode("idna")  # as getaddrinfo does it
    except ValueError:
        raise ValueError(f"{quote(host)} is neither an address nor a name of a host") from None
    return host, parse_port(port)


def format_endpoint(endpoint: tuple[Any, ...]) -> str:
    """What `parse_endpoint` reads; of a socket's address the host, with its zone, and the port."""
    host, port = format_host(endpoint), endpoint[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def format_host(endpoint: tuple[Any, ...]) -> str:
    """The host of an endpoint, or of a socket's address, with its zone (RFC 4007, section 11)."""
    host: str = endpoint[0]
    scope = endpoint[3] if len(endpoint) > 3 else 0
    if not scope:
        return host
    if sys.platform != "win32":  # whose zones are numbers
        with suppress(OSError):  # there is no such interface any more
            return f"{host}%{socket.if_indextoname(scope)}"
    return f"{host}%{scope}"


def parse_name(text: str) -> str:
    """What people call a peer: up to 64 printable characters in one line. Raises `ValueError`."""
    if len(text) > 64 or not text.isprintable() or text != text.strip():
        raise ValueError("a name is up to 64 printable characters, without a space at its ends")
    return text


def parse_network(text: str) -> IPv4Network | IPv6Network:
    """A network, or a single address. Bits behind the prefix are taken away, as `wg` does it.

    Raises `ValueError`, also for a zone and for a netmask: "10.0.0.1/0.0.0.0" is everything,
    and looks like one address.
    """
    try:
        if re.fullmatch(r"[^/%]+(/[0-9]+)?", text):
            return ip_network(text, strict=False)
    except ValueError:
        pass
    raise ValueError(
        f"{quote(text)} is not an address without a zone, or a network with the length of its "
        "prefix, such as 10.0.0.0/8"
    )


def parse_dns(text: str) -> tuple[str, ...]:
    """Name servers and domains, behind each other: addresses, and what may be a name.

    wg-quick takes any word for a domain, and programs may take it for something else. Raises
    `ValueError`.
    """
    words = tuple(split_words(text))
    for word in words:
        if not (DOMAIN.fullmatch(word) or _is_address(word)):
            raise ValueError(f"{quote(word)} is neither an address nor a domain")
    return words


def _is_address(word: str) -> bool:
    try:
        ip_address(word)
    except ValueError:
        return False
    return True


def parse_number(text: str, low: int, high: int) -> int:
    """A decimal number in a range, both ends included. Raises `ValueError`."""
    if not (re.fullmatch(r"0*[0-9]{1,10}", text) and low <= int(text) <= high):
        raise ValueError(f"{quote(text)} is not a number from {low} to {high}")
    return int(text)


def parse_port(text: str) -> int:
    """A port, by its number or by the name of a UDP service. Raises `ValueError`."""
    if text.isascii() and text.isdigit():
        return parse_number(text, 0, 65535)
    try:
        return socket.getservbyname(text, "udp")
    except (OSError, ValueError):
        raise ValueError(
            f"{quote(text)} is neither a port from 0 to 65535 nor the name of a UDP service"
        ) from None


def split_words(text: str) -> list[str]:
    """Words separated by commas, spaces, or both, without a comment behind them."""
    return text.partition("#")[0].replace(",", " ").split()


def quote(text: str) -> str:
    """The text for a message, unless it may be a key or a part of one."""
    return "what stands there" if re.search(r"[A-Za-z0-9+/=]{20}", text) else repr(text[:60])
