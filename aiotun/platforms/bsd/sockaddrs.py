"""Addresses as the kernel has them: struct sockaddr_in, sockaddr_in6, sockaddr_dl."""

from __future__ import annotations

import sys

assert sys.platform != "win32"

from ctypes import c_uint8, sizeof
from ipaddress import IPv4Address, IPv6Address

from .base import System
from .headers.common import AF_INET, AF_LINK, sockaddr_in, sockaddr_in6

__all__ = [
    "decode_ip",
    "decode_link_layer",
    "decode_prefix",
    "gateway",
    "link_layer",
    "mask",
    "to_sockaddr",
]

NAME_AND_MAC = 8
"""Where sdl_data begins: the name, then the MAC address."""


def to_sockaddr(ip: IPv4Address | IPv6Address, system: System) -> sockaddr_in | sockaddr_in6:
    if ip.version == 4:
        return sockaddr_in(16, AF_INET, 0, (c_uint8 * 4)(*ip.packed))
    return sockaddr_in6(28, system.headers.AF_INET6, 0, 0, (c_uint8 * 16)(*ip.packed))


def gateway(ip: IPv4Address | IPv6Address, index: int, system: System) -> bytes:
    """A gateway behind the interface with this index, which one that is link-local has to name."""
    address = to_sockaddr(ip, system)
    if isinstance(address, sockaddr_in6) and ip.is_link_local:
        if system.embeds_scope:
            address.sin6_addr[2], address.sin6_addr[3] = divmod(index, 256)
        else:
            address.sin6_scope_id = index
    return bytes(address)


def mask(version: int, prefix: int, system: System) -> sockaddr_in | sockaddr_in6:
    """The netmask of a prefix length."""
    if version == 4:
        return to_sockaddr(IPv4Address(0xFFFF_FFFF << (32 - prefix) & 0xFFFF_FFFF), system)
    return to_sockaddr(IPv6Address((2**128 - 1) << (128 - prefix) & (2**128 - 1)), system)


def link_layer(index: int, system: System) -> bytes:
    """A struct sockaddr_dl that names an interface."""
    size = sizeof(system.headers.sockaddr_dl)
    return bytes(system.headers.sockaddr_dl(size, AF_LINK, index))


def decode_ip(data: bytes, system: System) -> IPv4Address | IPv6Address | None:
    """The address of a struct sockaddr_in or sockaddr_in6; None for any other."""
    if len(data) >= 8 and data[1] == AF_INET:
        return IPv4Address(data[4:8])
    if len(data) >= 24 and data[1] == system.headers.AF_INET6:
        packed = data[8:24]
        if packed[0] == 0xFE and packed[1] & 0xC0 == 0x80:  # KAME keeps the interface in there
            packed = packed[:2] + bytes(2) + packed[4:]
        return IPv6Address(packed)
    return None


def decode_prefix(data: bytes, version: int) -> int:
    """The prefix length of a netmask, whose zeros at the end are left out, as may be all of it."""
    packed = data[4:8] if version == 4 else data[8:24]
    bits = "".join(f"{byte:08b}" for byte in packed) + "0"
    return bits.index("0")


def decode_link_layer(data: bytes) -> tuple[str, str | None]:
    """The name and the MAC address that a struct sockaddr_dl holds; "" and None if it does not."""
    if len(data) < NAME_AND_MAC or data[1] != AF_LINK:
        return "", None
    end = NAME_AND_MAC + data[5]
    mac = data[end : end + data[6]]
    name = data[NAME_AND_MAC:end].decode("ascii", "replace")
    return name, ":".join(f"{byte:02x}" for byte in mac) if len(mac) == 6 else None
