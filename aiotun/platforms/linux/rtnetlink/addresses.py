"""The addresses of interfaces."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface
from socket import AF_INET, AF_INET6, AF_UNSPEC

from ....addresses import Address
from .messages import (
    decode_attributes,
    encode_attribute,
    encode_number,
    get_attribute,
    get_number,
    malformed,
    unpack,
)

__all__ = [
    "RTM_DELADDR",
    "RTM_GETADDR",
    "RTM_NEWADDR",
    "decode_address",
    "decode_broadcast",
    "encode_address",
    "encode_address_dump",
    "encode_broadcast",
    "is_by_hand",
    "is_unchecked",
]

# linux/rtnetlink.h
RTM_NEWADDR = 20
RTM_DELADDR = 21
RTM_GETADDR = 22

# linux/if_addr.h
IFA_ADDRESS = 1
IFA_LOCAL = 2
IFA_BROADCAST = 4
IFA_FLAGS = 8
IFA_RT_PRIORITY = 9
IFA_PROTO = 11
IFA_F_NODAD = 0x02
IFA_F_TENTATIVE = 0x40
IFA_F_NOPREFIXROUTE = 0x200
IFAPROT_KERNEL = (1, 2, 3)
"""Loopback, from a router's announcement, link-local."""

IFADDR = struct.Struct("=BBBBI")
"""struct ifaddrmsg: family, prefix length, flags, scope, index."""


def encode_address(
    index: int,
    address: Address,
    *,
    dad: bool = False,
    connected_route: bool = True,
    metric: int | None = None,
) -> bytes:
    """An address to add (RTM_NEWADDR) or to remove (RTM_DELADDR).

    Without `dad` IPv6 addresses are usable at once (IFA_F_NODAD). IPv4 addresses get no
    broadcast address, as with `ip address add`.
    """
    local, peer = address.interface, address.peer or address.interface.ip
    family = AF_INET if local.version == 4 else AF_INET6
    flags = 0 if dad or local.version == 4 else IFA_F_NODAD
    body = (
        IFADDR.pack(family, local.network.prefixlen, flags, 0, index)
        + encode_attribute(IFA_LOCAL, local.packed)
        + encode_attribute(IFA_ADDRESS, peer.packed)
    )
    if not connected_route:  # a flag beyond the eight bits of struct ifaddrmsg
        body += encode_number(IFA_FLAGS, flags | IFA_F_NOPREFIXROUTE)
    if metric is not None:
        body += encode_number(IFA_RT_PRIORITY, metric)
    return body


def encode_broadcast(body: bytes, broadcast: IPv4Address | None) -> bytes:
    """The body of an RTM_NEWADDR, with this broadcast address instead of its own."""
    attributes = decode_attributes(body, IFADDR.size)
    attributes.pop(IFA_BROADCAST, None)
    if broadcast is not None:
        attributes[IFA_BROADCAST] = broadcast.packed
    return body[: IFADDR.size] + b"".join(map(encode_attribute, attributes, attributes.values()))


def encode_address_dump(index: int) -> bytes:
    """Ask for the addresses of one interface (RTM_GETADDR).

    Kernels before 4.20 do not look at the index and send those of all.
    """
    return IFADDR.pack(AF_UNSPEC, 0, 0, 0, index)


def decode_address(body: bytes) -> tuple[int, Address] | None:
    """Interface index and address in the body of RTM_NEWADDR or RTM_DELADDR; None if not IP."""
    family, prefix, _, _, index = unpack(IFADDR, body, 0)
    if family not in (AF_INET, AF_INET6):
        return None
    attributes = decode_attributes(body, IFADDR.size)
    peer = get_attribute(attributes, IFA_ADDRESS)
    local = attributes.get(IFA_LOCAL, peer)
    interface = IPv4Interface if family == AF_INET else IPv6Interface
    try:
        own, other = interface((local, prefix)), interface((peer, prefix))
    except ValueError as exc:
        raise malformed(str(exc)) from exc
    return index, Address(own, None if own == other else other.ip)


def decode_broadcast(body: bytes) -> IPv4Address | None:
    """The broadcast address in the body of RTM_NEWADDR."""
    value = decode_attributes(body, IFADDR.size).get(IFA_BROADCAST)
    if value is None:
        return None
    if len(value) != 4:
        raise malformed(f"broadcast address of {len(value)} bytes")
    return IPv4Address(value)


def is_by_hand(body: bytes) -> bool:
    """Whether an RTM_NEWADDR is about no address of the kernel's own making (Linux 5.18)."""
    proto = get_number(decode_attributes(body, IFADDR.size), IFA_PROTO)
    return proto not in IFAPROT_KERNEL


def is_unchecked(body: bytes) -> bool:
    """Whether an RTM_NEWADDR is about an IPv6 address without duplicate address detection."""
    family, _, flags, _, _ = unpack(IFADDR, body, 0)
    return family == AF_INET6 and flags & (IFA_F_NODAD | IFA_F_TENTATIVE) == IFA_F_NODAD
