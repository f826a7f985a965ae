"""Links: interfaces, what is set on them, and what they count."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from socket import AF_INET6, AF_UNSPEC
from typing import TYPE_CHECKING

from ....interfaces import InterfaceDetails, InterfaceStatistics
from .messages import (
    UNSIGNED,
    decode_attributes,
    encode_attribute,
    encode_number,
    get_attribute,
    get_number,
    unpack,
)

if TYPE_CHECKING:
    from ....config import Layer

__all__ = [
    "RTM_DELLINK",
    "RTM_GETLINK",
    "RTM_NEWLINK",
    "RTM_SETLINK",
    "Link",
    "decode_details",
    "decode_ipv6_quiet",
    "decode_layer",
    "decode_link",
    "decode_statistics",
    "encode_link",
]

# linux/rtnetlink.h
RTM_NEWLINK = 16
RTM_DELLINK = 17
RTM_GETLINK = 18
RTM_SETLINK = 19

# linux/if_link.h, linux/if.h
IFLA_ADDRESS = 1
IFLA_IFNAME = 3
IFLA_MTU = 4
IFLA_TXQLEN = 13
IFLA_OPERSTATE = 16
IFLA_LINKINFO = 18
IFLA_STATS64 = 23
IFLA_AF_SPEC = 26
IFLA_CARRIER = 33
IFLA_NEW_IFINDEX = 49
IFLA_INFO_KIND = 1
IFLA_INFO_DATA = 2
IFLA_TUN_OWNER = 1
IFLA_TUN_GROUP = 2
IFLA_TUN_TYPE = 3
IFLA_TUN_PI = 4
IFLA_TUN_PERSIST = 6
IFLA_TUN_NUM_QUEUES = 8
IFLA_TUN_NUM_DISABLED_QUEUES = 9
IFLA_INET6_ADDR_GEN_MODE = 8
IN6_ADDR_GEN_MODE_NONE = 1
IF_OPER_DORMANT = 5
IF_OPER_UP = 6
IFF_UP = 0x1
IFF_RUNNING = 0x40

IFF_TUN = 1
IFF_TAP = 2
"""linux/if_tun.h"""

IFINFO = struct.Struct("=BxHiII")
"""struct ifinfomsg: family, device kind, index, flags, mask of flags to change."""

STATISTICS = struct.Struct("=14Q")
"""struct rtnl_link_stats64 up to rx_frame_errors."""


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


def encode_link(
    index: int = 0,
    *,
    name: str | None = None,
    mtu: int | None = None,
    up: bool | None = None,
    mac: str | None = None,
    tx_queue_len: int | None = None,
    ipv6_quiet: bool = False,
    operational: bool | None = None,
) -> bytes:
    """A link to ask for (RTM_GETLINK: by index or name) or to change (RTM_SETLINK).

    With `ipv6_quiet` it gets no link-local address of the kernel's making. One that is not
    `operational` waits for something (RFC 2863's "dormant"), though its packets flow.
    """
    body = IFINFO.pack(AF_UNSPEC, 0, index, IFF_UP if up else 0, 0 if up is None else IFF_UP)
    if name is not None:
        body += encode_attribute(IFLA_IFNAME, os.fsencode(name) + b"\0")
    if mtu is not None:
        body += encode_number(IFLA_MTU, mtu)
    if mac is not None:
        body += encode_attribute(IFLA_ADDRESS, bytes.fromhex(mac.replace(":", "")))
    if tx_queue_len is not None:
        body += encode_number(IFLA_TXQLEN, tx_queue_len)
    if operational is not None:
        state = IF_OPER_UP if operational else IF_OPER_DORMANT
        body += encode_attribute(IFLA_OPERSTATE, bytes([state]))
    if ipv6_quiet:
        mode = encode_attribute(IFLA_INET6_ADDR_GEN_MODE, bytes([IN6_ADDR_GEN_MODE_NONE]))
        body += encode_attribute(IFLA_AF_SPEC, encode_attribute(AF_INET6, mode))
    return body


def decode_link(body: bytes) -> Link | None:
    """The body of RTM_NEWLINK or RTM_DELLINK; None if it is about something else.

    Bridges announce their ports by the same types with a family of their own
    (AF_BRIDGE): RTM_DELLINK then only says that the interface left the bridge.
    """
    family, _, index, flags, _ = unpack(IFINFO, body, 0)
    if family != AF_UNSPEC:
        return None
    attributes = decode_attributes(body, IFINFO.size)
    name = get_attribute(attributes, IFLA_IFNAME).split(b"\0", 1)[0]
    (mtu,) = unpack(UNSIGNED, get_attribute(attributes, IFLA_MTU), 0)
    return Link(
        index=index,
        name=os.fsdecode(name),
        mtu=mtu,
        up=bool(flags & IFF_UP),
        carrier=bool(get_number(attributes, IFLA_CARRIER)),
        mac=_mac(attributes),
        moved_to=get_number(attributes, IFLA_NEW_IFINDEX),
    )


def decode_details(body: bytes) -> InterfaceDetails:
    """What the body of RTM_NEWLINK says about a TUN or TAP (Linux 4.18 and later)."""
    _, _, _, flags, _ = unpack(IFINFO, body, 0)
    attributes = decode_attributes(body, IFINFO.size)
    tun = _tun(get_attribute(attributes, IFLA_LINKINFO))
    return InterfaceDetails(
        mac=_mac(attributes),
        tx_queue_len=get_number(attributes, IFLA_TXQLEN) or 0,
        is_running=bool(flags & IFF_RUNNING),
        carrier=bool(get_number(attributes, IFLA_CARRIER)),
        persistent=bool(get_number(tun, IFLA_TUN_PERSIST)),
        owner=get_number(tun, IFLA_TUN_OWNER),
        group=get_number(tun, IFLA_TUN_GROUP),
        queues=_queues(tun),
        packet_information=bool(get_number(tun, IFLA_TUN_PI)),
    )


def decode_layer(body: bytes) -> Layer | None:
    """Which kind of device the body of RTM_NEWLINK is about; None for any other interface."""
    info = decode_attributes(body, IFINFO.size).get(IFLA_LINKINFO, b"")
    if decode_attributes(info, 0).get(IFLA_INFO_KIND, b"").rstrip(b"\0") != b"tun":
        return None
    return "tap" if get_number(_tun(info), IFLA_TUN_TYPE) == IFF_TAP else "tun"


def decode_ipv6_quiet(body: bytes) -> bool | None:
    """Whether the kernel makes no link-local address; None where there is no IPv6.

    From the body of RTM_NEWLINK.
    """
    attributes = decode_attributes(body, IFINFO.size)
    families = decode_attributes(attributes.get(IFLA_AF_SPEC, b""), 0)
    if AF_INET6 not in families:
        return None
    ipv6 = decode_attributes(families[AF_INET6], 0)
    return get_number(ipv6, IFLA_INET6_ADDR_GEN_MODE) == IN6_ADDR_GEN_MODE_NONE


def decode_statistics(body: bytes) -> InterfaceStatistics:
    """The counters in the body of RTM_NEWLINK."""
    attributes = decode_attributes(body, IFINFO.size)
    counters = unpack(STATISTICS, get_attribute(attributes, IFLA_STATS64), 0)
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


def _tun(info: bytes) -> dict[int, bytes]:
    """What the driver says, in the attributes of IFLA_LINKINFO."""
    return decode_attributes(decode_attributes(info, 0).get(IFLA_INFO_DATA, b""), 0)


def _queues(tun: dict[int, bytes]) -> int:
    """Open queues, also those that take no packets (TUNSETQUEUE).

    The kernel tells their number only of an interface that may have several.
    """
    queues = get_number(tun, IFLA_TUN_NUM_QUEUES) or 0
    return queues + (get_number(tun, IFLA_TUN_NUM_DISABLED_QUEUES) or 0) or 1


def _mac(attributes: dict[int, bytes]) -> str | None:
    """A TUN shows one if somebody changed the type of its link (TUNSETLINK), but has none."""
    tun = _tun(attributes.get(IFLA_LINKINFO, b""))
    if get_number(tun, IFLA_TUN_TYPE) == IFF_TUN:
        return None
    return attributes.get(IFLA_ADDRESS, b"").hex(":") or None
