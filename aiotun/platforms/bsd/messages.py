"""The messages of a routing socket, which sysctl's tables are made of, too: bytes in, bytes out.

net/route.h of each system, route(4). A message is a struct, its first bytes alike everywhere,
and the sockaddrs that the bits of a field name, each rounded up.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

from collections.abc import Iterator
from ctypes import Structure, sizeof
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_interface, ip_network
from typing import Any

from ...addresses import Address, Route
from ...interfaces import InterfaceStatistics
from .base import System
from .headers.common import (
    IFF_POINTOPOINT,
    IFF_RUNNING,
    IFF_UP,
    RTA_BRD,
    RTA_DST,
    RTA_GATEWAY,
    RTA_IFA,
    RTA_IFP,
    RTA_NETMASK,
    RTF_GATEWAY,
    RTF_HOST,
    RTF_STATIC,
    RTF_UP,
    RTM_ADD,
    RTM_CHANGE,
    RTM_DELETE,
    RTM_GET,
    message_head,
)
from .sockaddrs import (
    decode_ip,
    decode_link_layer,
    decode_prefix,
    gateway,
    mask,
    to_sockaddr,
)

__all__ = [
    "Interfaces",
    "Link",
    "RouteMessage",
    "decode_interfaces",
    "decode_routes",
    "encode_route",
    "split",
]


@dataclass(frozen=True)
class Link:
    """An interface, as a table of the kernel has it."""

    index: int
    name: str
    flags: int
    mtu: int
    mac: str | None
    carrier: bool
    statistics: InterfaceStatistics

    @property
    def up(self) -> bool:
        return bool(self.flags & IFF_UP)

    @property
    def running(self) -> bool:
        return bool(self.flags & IFF_RUNNING)

    @property
    def point_to_point(self) -> bool:
        return bool(self.flags & IFF_POINTOPOINT)


@dataclass(frozen=True)
class Interfaces:
    """What sysctl's list of one interface, or of all, says."""

    links: dict[int, Link]
    addresses: dict[int, list[Address]]
    broadcasts: dict[int, IPv4Address]
    """That of an interface's first IPv4 address which has one."""


@dataclass(frozen=True)
class RouteMessage:
    """A route that the kernel has, or an answer of it."""

    kind: int
    index: int
    flags: int
    pid: int
    seq: int
    errno: int
    route: Route | None
    """None where its addresses are of another family, or cannot be read."""


def split(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The type and the bytes of each message; what is cut short ends it."""
    at = 0
    while at + sizeof(message_head) <= len(data):
        head = message_head.from_buffer_copy(data, at)
        if not sizeof(message_head) <= head.rtm_msglen <= len(data) - at:
            return
        yield head.rtm_type, data[at : at + head.rtm_msglen]
        at += head.rtm_msglen


def decode_interfaces(data: bytes, system: System) -> Interfaces:
    """What a table of interfaces says."""
    found = Interfaces({}, {}, {})
    for kind, message in split(data):
        if kind == system.link_kind:
            link = _decode_link(message, system)
            if link is not None:
                found.links[link.index] = link
        elif kind == system.headers.RTM_NEWADDR:
            _decode_address(message, system, found)
    return found


def _decode_link(message: bytes, system: System) -> Link | None:
    head = _struct(system.link_message, message)
    if head is None or not head.ifm_addrs & RTA_IFP:
        return None
    addresses = _sockaddrs(message, head.ifm_addrs, sizeof(system.link_message), system)
    name, mac = decode_link_layer(addresses.get(RTA_IFP, b""))
    data = head.ifm_data
    state = getattr(data, "ifi_link_state", None)
    return Link(
        head.ifm_index,
        name,
        head.ifm_flags & 0xFFFF_FFFF,
        data.ifi_mtu,
        mac,
        bool(head.ifm_flags & IFF_RUNNING)
        if state is None
        else state != system.headers.LINK_STATE_DOWN,
        InterfaceStatistics(
            packets_received=data.ifi_opackets,
            bytes_received=data.ifi_obytes,
            dropped_received=getattr(data, "ifi_oqdrops", 0),
            packets_sent=data.ifi_ipackets,
            bytes_sent=data.ifi_ibytes,
            dropped_sent=data.ifi_iqdrops,
            errors_sent=data.ifi_ierrors,
        ),
    )


def _decode_address(message: bytes, system: System, found: Interfaces) -> None:
    head = _struct(system.headers.ifa_msghdr, message)
    if head is None:
        return
    parts = _sockaddrs(message, head.ifam_addrs, sizeof(system.headers.ifa_msghdr), system)
    ip = decode_ip(parts.get(RTA_IFA, b""), system)
    if ip is None:
        return
    prefix = decode_prefix(parts.get(RTA_NETMASK, b""), ip.version)
    other = decode_ip(parts.get(RTA_BRD, b""), system)
    link = found.links.get(head.ifam_index)
    peer = None
    if link is not None and link.point_to_point:
        peer = None if other in (ip, None) or not int(other) else other
    elif isinstance(other, IPv4Address):
        found.broadcasts.setdefault(head.ifam_index, other)
    found.addresses.setdefault(head.ifam_index, []).append(
        Address(ip_interface(f"{ip}/{prefix}"), peer)
    )


def decode_routes(data: bytes, system: System) -> list[RouteMessage]:
    """What a table of routes, or what came from a routing socket, says of routes."""
    found = []
    for kind, message in split(data):
        head = _struct(system.headers.rt_msghdr, message)
        if head is None or kind not in (RTM_ADD, RTM_DELETE, RTM_CHANGE, RTM_GET):
            continue
        parts = _sockaddrs(message, head.rtm_addrs, sizeof(system.headers.rt_msghdr), system)
        found.append(
            RouteMessage(
                kind,
                head.rtm_index,
                head.rtm_flags & 0xFFFF_FFFF,
                head.rtm_pid,
                head.rtm_seq,
                head.rtm_errno,
                _decode_route(parts, head.rtm_flags, system),
            )
        )
    return found


def _decode_route(parts: dict[int, bytes], flags: int, system: System) -> Route | None:
    destination = decode_ip(parts.get(RTA_DST, b""), system)
    if destination is None:
        return None
    if flags & RTF_HOST:
        prefix: int = destination.max_prefixlen
    else:
        prefix = decode_prefix(parts.get(RTA_NETMASK, b""), destination.version)
    network = ip_network(f"{destination}/{prefix}", strict=False)
    behind = decode_ip(parts.get(RTA_GATEWAY, b""), system) if flags & RTF_GATEWAY else None
    return Route(network, behind)


def encode_route(
    kind: int,
    route: Route,
    interface: bytes,
    *,
    index: int,
    seq: int,
    pid: int,
    system: System,
    flags: int = 0,
) -> bytes:
    """RTM_ADD or RTM_DELETE. `interface` is the sockaddr that stands for the interface where
    the route has no gateway; `flags` are those that the route does not tell."""
    network = route.destination
    host = network.prefixlen == network.max_prefixlen
    flags |= RTF_UP | RTF_STATIC
    flags |= RTF_HOST if host else 0
    flags |= RTF_GATEWAY if route.gateway is not None else 0
    parts: dict[int, bytes] = {
        RTA_DST: bytes(to_sockaddr(network.network_address, system)),
        RTA_GATEWAY: interface if route.gateway is None else gateway(route.gateway, index, system),
    }
    if not host:
        parts[RTA_NETMASK] = bytes(mask(network.version, network.prefixlen, system))
    body = b"".join(part + bytes(-len(part) % system.rounding) for part in parts.values())
    head = system.headers.rt_msghdr(
        rtm_msglen=sizeof(system.headers.rt_msghdr) + len(body),
        rtm_version=system.headers.RTM_VERSION,
        rtm_type=kind,
        rtm_index=index,
        rtm_flags=flags,
        rtm_addrs=sum(parts),
        rtm_pid=pid,
        rtm_seq=seq,
    )
    if hasattr(head, "rtm_hdrlen"):
        head.rtm_hdrlen = sizeof(system.headers.rt_msghdr)
    return bytes(head) + body


def _struct(kind: type[Structure], message: bytes) -> Any:
    """The struct that a message begins with; None for one that is shorter."""
    return kind.from_buffer_copy(message) if len(message) >= sizeof(kind) else None


def _sockaddrs(message: bytes, bits: int, start: int, system: System) -> dict[int, bytes]:
    """By bit, each as long as it says it is. What does not fit into the message is left out."""
    found = {}
    if hasattr(system.headers.rt_msghdr, "rtm_hdrlen"):  # OpenBSD's headers say where they end
        start = int.from_bytes(message[4:6], sys.byteorder)
    for bit in (1 << number for number in range(system.headers.RTAX_MAX)):
        if not bits & bit:
            continue
        if start >= len(message):
            break
        size = message[start]
        found[bit] = message[start : start + size]
        start += max(size + -size % system.rounding, system.rounding)
    return found
