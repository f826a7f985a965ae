"""rtnetlink messages as bytes, built and taken apart without a socket (netlink(7), rtnetlink(7)).

Everything is in the machine's byte order. What is decoded may be any bytes: a
message that contradicts itself raises `TunError` (EBADMSG).
"""

from __future__ import annotations

import errno
import os
import struct
import sys
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface, ip_address, ip_network
from socket import AF_INET, AF_INET6, AF_UNSPEC
from typing import NamedTuple

from ...config import Address, Route
from ...errors import TunError
from ..base import InterfaceDetails, InterfaceStatistics

__all__ = [
    "Link",
    "Message",
    "decode_address",
    "decode_broadcast",
    "decode_details",
    "decode_link",
    "decode_messages",
    "decode_route",
    "decode_statistics",
    "decode_status",
    "encode_address",
    "encode_address_dump",
    "encode_link",
    "encode_message",
    "encode_route",
    "encode_route_dump",
]

# linux/netlink.h
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_REQUEST = 0x01
NLM_F_ACK = 0x04
NLM_F_DUMP_INTR = 0x10
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_DUMP = 0x300
NLM_F_CAPPED = 0x100
NLM_F_ACK_TLVS = 0x200
NLMSGERR_ATTR_MSG = 1
NLA_TYPE_MASK = 0x3FFF

# linux/rtnetlink.h
RTM_NEWLINK = 16
RTM_DELLINK = 17
RTM_GETLINK = 18
RTM_SETLINK = 19
RTM_NEWADDR = 20
RTM_DELADDR = 21
RTM_GETADDR = 22
RTM_NEWROUTE = 24
RTM_DELROUTE = 25
RTM_GETROUTE = 26
RTA_DST = 1
RTA_OIF = 4
RTA_GATEWAY = 5
RTA_PRIORITY = 6
RTA_TABLE = 15
RT_TABLE_MAIN = 254
RTPROT_UNSPEC = 0
RTPROT_KERNEL = 2
RTPROT_STATIC = 4
RTPROT_RA = 9
RT_SCOPE_UNIVERSE = 0
RT_SCOPE_LINK = 253
RT_SCOPE_NOWHERE = 255
RTN_UNICAST = 1

# linux/if_link.h, linux/if.h
IFLA_ADDRESS = 1
IFLA_IFNAME = 3
IFLA_MTU = 4
IFLA_TXQLEN = 13
IFLA_LINKINFO = 18
IFLA_STATS64 = 23
IFLA_AF_SPEC = 26
IFLA_CARRIER = 33
IFLA_NEW_IFINDEX = 49
IFLA_INFO_DATA = 2
IFLA_TUN_OWNER = 1
IFLA_TUN_GROUP = 2
IFLA_TUN_PI = 4
IFLA_TUN_PERSIST = 6
IFLA_TUN_NUM_QUEUES = 8
IFLA_INET6_ADDR_GEN_MODE = 8
IN6_ADDR_GEN_MODE_NONE = 1
IFF_UP = 0x1
IFF_RUNNING = 0x40

# linux/if_addr.h
IFA_ADDRESS = 1
IFA_LOCAL = 2
IFA_BROADCAST = 4
IFA_FLAGS = 8
IFA_RT_PRIORITY = 9
IFA_F_NODAD = 0x02
IFA_F_NOPREFIXROUTE = 0x200

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length with this header, kind, flags, sequence number, port."""

ATTRIBUTE = struct.Struct("=HH")
"""struct nlattr: length with this header, type."""

IFINFO = struct.Struct("=BxHiII")
"""struct ifinfomsg: family, device kind, index, flags, mask of flags to change."""

IFADDR = struct.Struct("=BBBBI")
"""struct ifaddrmsg: family, prefix length, flags, scope, index."""

ROUTE = struct.Struct("=BBBBBBBBI")
"""struct rtmsg: family, prefix length, that of the source, ToS, table, protocol, scope, type,
flags."""

STATISTICS = struct.Struct("=14Q")
"""struct rtnl_link_stats64 up to rx_frame_errors."""

MAX_ERRNO = 4095
"""linux/err.h"""

INT = struct.Struct("=i")
UNSIGNED = struct.Struct("=I")


class Message(NamedTuple):
    kind: int
    flags: int
    sequence: int
    body: bytes


@dataclass(frozen=True)
class Link:
    """What a link message says about an interface."""

    index: int
    name: str
    mtu: int
    up: bool
    carrier: bool
    mac: str | None
    moved_to: int | None = None
    """Its index in the namespace to which it was moved (in RTM_DELLINK; Linux 4.16)."""


def encode_message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    return HEADER.pack(HEADER.size + len(body), kind, flags, sequence, 0) + body


def decode_messages(data: bytes) -> list[Message]:
    """The messages of one datagram."""
    messages = []
    offset = 0
    while offset < len(data):
        length, kind, flags, sequence, _ = _unpack(HEADER, data, offset)
        end = offset + length
        if length < HEADER.size or end > len(data):
            raise _malformed(f"message of {length} bytes")
        messages.append(Message(kind, flags, sequence, data[offset + HEADER.size : end]))
        offset = _align(end)
    return messages


def decode_status(message: Message) -> tuple[int, str]:
    """What an NLMSG_ERROR or NLMSG_DONE says: errno, 0 for success, and the reason in words.

    The kernel's own words where it sent some (extended acknowledgement).
    """
    (status,) = _unpack(INT, message.body, 0)
    number = min(max(0, -status), MAX_ERRNO)
    offset = INT.size
    if message.kind == NLMSG_ERROR:  # struct nlmsgerr repeats the request, or only its header
        (length, *_) = _unpack(HEADER, message.body, offset)
        offset += HEADER.size if message.flags & NLM_F_CAPPED else _align(length)
    text = b""
    if message.flags & NLM_F_ACK_TLVS:
        text = _attributes(message.body, offset).get(NLMSGERR_ATTR_MSG, b"").rstrip(b"\0")
    return number, text.decode(errors="replace") or os.strerror(number)


def encode_link(
    index: int = 0,
    *,
    name: str | None = None,
    mtu: int | None = None,
    up: bool | None = None,
    mac: str | None = None,
    tx_queue_len: int | None = None,
    ipv6_quiet: bool = False,
) -> bytes:
    """A link to ask for (RTM_GETLINK: by index or name) or to change (RTM_SETLINK).

    With `ipv6_quiet` it gets no link-local address of the kernel's making.
    """
    body = IFINFO.pack(AF_UNSPEC, 0, index, IFF_UP if up else 0, 0 if up is None else IFF_UP)
    if name is not None:
        body += _attribute(IFLA_IFNAME, os.fsencode(name) + b"\0")
    if mtu is not None:
        body += _attribute(IFLA_MTU, UNSIGNED.pack(mtu))
    if mac is not None:
        body += _attribute(IFLA_ADDRESS, bytes.fromhex(mac.replace(":", "")))
    if tx_queue_len is not None:
        body += _attribute(IFLA_TXQLEN, UNSIGNED.pack(tx_queue_len))
    if ipv6_quiet:
        mode = _attribute(IFLA_INET6_ADDR_GEN_MODE, bytes([IN6_ADDR_GEN_MODE_NONE]))
        body += _attribute(IFLA_AF_SPEC, _attribute(AF_INET6, mode))
    return body


def decode_link(body: bytes) -> Link | None:
    """The body of RTM_NEWLINK or RTM_DELLINK; None if it is about something else.

    Bridges announce their ports by the same types with a family of their own
    (AF_BRIDGE): RTM_DELLINK then only says that the interface left the bridge.
    """
    family, _, index, flags, _ = _unpack(IFINFO, body, 0)
    if family != AF_UNSPEC:
        return None
    attributes = _attributes(body, IFINFO.size)
    name = _get(attributes, IFLA_IFNAME).split(b"\0", 1)[0]
    (mtu,) = _unpack(UNSIGNED, _get(attributes, IFLA_MTU), 0)
    return Link(
        index=index,
        name=os.fsdecode(name),
        mtu=mtu,
        up=bool(flags & IFF_UP),
        carrier=bool(_number(attributes, IFLA_CARRIER)),
        mac=_mac(attributes),
        moved_to=_number(attributes, IFLA_NEW_IFINDEX),
    )


def decode_details(body: bytes) -> InterfaceDetails:
    """What the body of RTM_NEWLINK says about a TUN or TAP (Linux 4.18 and later)."""
    _, _, _, flags, _ = _unpack(IFINFO, body, 0)
    attributes = _attributes(body, IFINFO.size)
    info = _attributes(_get(attributes, IFLA_LINKINFO), 0)
    tun = _attributes(info.get(IFLA_INFO_DATA, b""), 0)
    return InterfaceDetails(
        mac=_mac(attributes),
        tx_queue_len=_number(attributes, IFLA_TXQLEN) or 0,
        is_running=bool(flags & IFF_RUNNING),
        carrier=bool(_number(attributes, IFLA_CARRIER)),
        persistent=bool(_number(tun, IFLA_TUN_PERSIST)),
        owner=_number(tun, IFLA_TUN_OWNER),
        group=_number(tun, IFLA_TUN_GROUP),
        # only of an interface with IFF_MULTI_QUEUE is it told
        queues=_number(tun, IFLA_TUN_NUM_QUEUES) or 1,
        packet_information=bool(_number(tun, IFLA_TUN_PI)),
    )


def decode_statistics(body: bytes) -> InterfaceStatistics:
    """The counters in the body of RTM_NEWLINK."""
    attributes = _attributes(body, IFINFO.size)
    counters = _unpack(STATISTICS, _get(attributes, IFLA_STATS64), 0)
    rx_packets, tx_packets, rx_bytes, tx_bytes, _, _, rx_dropped, tx_dropped = counters[:8]
    return InterfaceStatistics(
        packets_received=tx_packets,
        bytes_received=tx_bytes,
        dropped_received=tx_dropped,
        packets_sent=rx_packets,
        bytes_sent=rx_bytes,
        dropped_sent=rx_dropped,
        errors_sent=counters[13],
    )


def encode_address(
    index: int,
    address: Address,
    *,
    dad: bool = False,
    connected_route: bool = True,
    metric: int | None = None,
    broadcast: IPv4Address | None = None,
) -> bytes:
    """An address to add (RTM_NEWADDR) or to remove (RTM_DELADDR).

    Without `dad` IPv6 addresses are usable at once (IFA_F_NODAD). IPv4 addresses get no
    broadcast address unless told, as with `ip address add`.
    """
    local, peer = address.interface, address.peer or address.interface.ip
    family = AF_INET if local.version == 4 else AF_INET6
    flags = 0 if dad or local.version == 4 else IFA_F_NODAD
    body = (
        IFADDR.pack(family, local.network.prefixlen, flags, 0, index)
        + _attribute(IFA_LOCAL, local.packed)
        + _attribute(IFA_ADDRESS, peer.packed)
    )
    if broadcast is not None:
        body += _attribute(IFA_BROADCAST, broadcast.packed)
    if not connected_route:  # a flag beyond the eight bits of struct ifaddrmsg
        body += _attribute(IFA_FLAGS, UNSIGNED.pack(flags | IFA_F_NOPREFIXROUTE))
    if metric is not None:
        body += _attribute(IFA_RT_PRIORITY, UNSIGNED.pack(metric))
    return body


def encode_address_dump(index: int) -> bytes:
    """Ask for the addresses of one interface (RTM_GETADDR).

    Kernels before 4.20 do not look at the index and send those of all.
    """
    return IFADDR.pack(AF_UNSPEC, 0, 0, 0, index)


def decode_address(body: bytes) -> tuple[int, Address] | None:
    """Interface index and address in the body of RTM_NEWADDR or RTM_DELADDR; None if not IP."""
    family, prefix, _, _, index = _unpack(IFADDR, body, 0)
    if family not in (AF_INET, AF_INET6):
        return None
    attributes = _attributes(body, IFADDR.size)
    peer = _get(attributes, IFA_ADDRESS)
    local = attributes.get(IFA_LOCAL, peer)
    interface = IPv4Interface if family == AF_INET else IPv6Interface
    try:
        own, other = interface((local, prefix)), interface((peer, prefix))
    except ValueError as exc:
        raise _malformed(str(exc)) from exc
    return index, Address(own, None if own == other else other.ip)


def decode_broadcast(body: bytes) -> IPv4Address | None:
    """The broadcast address in the body of RTM_NEWADDR."""
    value = _attributes(body, IFADDR.size).get(IFA_BROADCAST)
    if value is None:
        return None
    if len(value) != 4:
        raise _malformed(f"broadcast address of {len(value)} bytes")
    return IPv4Address(value)


def encode_route(index: int, route: Route, *, delete: bool = False) -> bytes:
    """A route to the interface to add (RTM_NEWROUTE) or to remove (RTM_DELROUTE)."""
    family = AF_INET if route.destination.version == 4 else AF_INET6
    protocol, scope = RTPROT_STATIC, RT_SCOPE_UNIVERSE
    if delete:
        protocol, scope = RTPROT_UNSPEC, RT_SCOPE_NOWHERE  # whatever they are
    elif route.gateway is None and family == AF_INET:
        scope = RT_SCOPE_LINK
    body = (
        ROUTE.pack(
            family,
            route.destination.prefixlen,
            0,
            0,
            RT_TABLE_MAIN,
            protocol,
            scope,
            RTN_UNICAST,
            0,
        )
        + _attribute(RTA_DST, route.destination.network_address.packed)
        + _attribute(RTA_OIF, UNSIGNED.pack(index))
    )
    if route.gateway is not None:
        body += _attribute(RTA_GATEWAY, route.gateway.packed)
    if route.metric is not None:
        body += _attribute(RTA_PRIORITY, UNSIGNED.pack(route.metric))
    return body


def encode_route_dump(index: int) -> bytes:
    """Ask for the routes of the main table to one interface (RTM_GETROUTE).

    Kernels before 4.20 do not look at either and send those of all.
    """
    header = ROUTE.pack(AF_UNSPEC, 0, 0, 0, RT_TABLE_MAIN, 0, 0, 0, 0)
    return header + _attribute(RTA_OIF, UNSIGNED.pack(index))


def decode_route(body: bytes) -> tuple[int, Route] | None:
    """Interface index and route in the body of RTM_NEWROUTE.

    None for what is not of the main table, not to one interface, not for IP, or the
    kernel's own: connected routes and those that routers announce.
    """
    family, prefix, _, _, table, protocol, _, kind, _ = _unpack(ROUTE, body, 0)
    attributes = _attributes(body, ROUTE.size)
    index = attributes.get(RTA_OIF)
    if (
        family not in (AF_INET, AF_INET6)
        or table != RT_TABLE_MAIN
        or protocol in (RTPROT_KERNEL, RTPROT_RA)
        or kind != RTN_UNICAST
        or index is None
    ):
        return None
    gateway, metric = attributes.get(RTA_GATEWAY), attributes.get(RTA_PRIORITY)
    network = attributes.get(RTA_DST, bytes(4 if family == AF_INET else 16))
    try:
        route = Route(
            ip_network((network, prefix)),
            None if gateway is None else ip_address(gateway),
            None if metric is None else _unpack(UNSIGNED, metric, 0)[0],
        )
    except ValueError as exc:
        raise _malformed(str(exc)) from exc
    return _unpack(UNSIGNED, index, 0)[0], route


def _attribute(kind: int, value: bytes) -> bytes:
    length = ATTRIBUTE.size + len(value)
    return ATTRIBUTE.pack(length, kind) + value + bytes(_align(length) - length)


def _attributes(data: bytes, offset: int) -> dict[int, bytes]:
    """The attributes from an offset to the end; of two of one type the last counts."""
    attributes = {}
    while offset < len(data):
        length, kind = _unpack(ATTRIBUTE, data, offset)
        end = offset + length
        if length < ATTRIBUTE.size or end > len(data):
            raise _malformed(f"attribute of {length} bytes")
        attributes[kind & NLA_TYPE_MASK] = data[offset + ATTRIBUTE.size : end]
        offset = _align(end)
    return attributes


def _get(attributes: dict[int, bytes], kind: int) -> bytes:
    try:
        return attributes[kind]
    except KeyError:
        raise _malformed(f"no attribute {kind}") from None


def _number(attributes: dict[int, bytes], kind: int) -> int | None:
    value = attributes.get(kind)
    return None if value is None else int.from_bytes(value, sys.byteorder)


def _mac(attributes: dict[int, bytes]) -> str | None:
    return attributes.get(IFLA_ADDRESS, b"").hex(":") or None


def _unpack(format: struct.Struct, data: bytes, offset: int) -> tuple[int, ...]:
    try:
        return format.unpack_from(data, offset)
    except struct.error as exc:
        raise _malformed(f"{len(data) - offset} bytes left") from exc


def _align(length: int) -> int:
    return (length + 3) & ~3


def _malformed(what: str) -> TunError:
    return TunError(errno.EBADMSG, f"malformed netlink message: {what}")
