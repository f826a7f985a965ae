"""The netlink encoder and decoder: what the kernel says, what it could not say, anything at all."""

from __future__ import annotations

import errno
import ipaddress
import os
import struct
import sys
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiotun.addresses import Address, Route
from aiotun.errors import TunError
from aiotun.interfaces import InterfaceDetails
from aiotun.platforms.linux.rtnetlink import addresses, links, messages, routes, rules
from aiotun.platforms.linux.rtnetlink.links import Link
from aiotun.platforms.linux.rtnetlink.messages import Message
from aiotun.platforms.linux.rtnetlink.routes import RouteEntry
from aiotun.platforms.linux.rtnetlink.rules import Rule

AF_INET, AF_BRIDGE, AF_INET6, AF_PACKET = 2, 7, 10, 17


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def link_body(*attributes: bytes, family: int = 0, flags: int = 0) -> bytes:
    return struct.pack("=BxHiII", family, 65534, 7, flags, 0) + b"".join(attributes)


def address_body(family: int, prefix: int, *attributes: bytes) -> bytes:
    return struct.pack("=BBBBI", family, prefix, 0, 0, 7) + b"".join(attributes)


NAME = attribute(3, b"vpn0\0")
MTU = attribute(4, struct.pack("=I", 1400))
STATISTICS = attribute(23, struct.pack("=25Q", *range(25)))


@pytest.mark.parametrize(
    ("body", "link"),
    [
        pytest.param(link_body(NAME, MTU), Link(7, "vpn0", 1400, False, False, None), id="down"),
        pytest.param(
            link_body(NAME, MTU, flags=0x1043), Link(7, "vpn0", 1400, True, False, None), id="up"
        ),
        pytest.param(
            link_body(attribute(0x8000 | 18, attribute(1, b"tun\0")), MTU, NAME),
            Link(7, "vpn0", 1400, False, False, None),
            id="nested attribute, other order",
        ),
        pytest.param(
            link_body(NAME, MTU, attribute(1, bytes(range(6))), attribute(33, b"\1")),
            Link(7, "vpn0", 1400, False, True, "00:01:02:03:04:05"),
            id="carrier, MAC address",
        ),
        pytest.param(
            link_body(NAME, MTU, attribute(49, struct.pack("=I", 9))),
            Link(7, "vpn0", 1400, False, False, None, moved_to=9),
            id="moved to another namespace",
        ),
        pytest.param(
            link_body(attribute(3, b"vpn\xe9\0"), MTU),
            Link(7, os.fsdecode(b"vpn\xe9"), 1400, False, False, None),
            id="name in no encoding",
        ),
        pytest.param(link_body(NAME, MTU, family=AF_BRIDGE), None, id="port of a bridge"),
    ],
)
def test_decode_link(body: bytes, link: Link | None) -> None:
    assert links.decode_link(body) == link


def number(kind: int, value: int, size: int = 4) -> bytes:
    return attribute(kind, value.to_bytes(size, sys.byteorder))


TUN_DATA = number(1, 12) + number(2, 13) + number(4, 0, 1) + number(6, 1, 1) + number(8, 3)
DETAILS = link_body(
    attribute(1, bytes.fromhex("02000000000a")),
    number(13, 77),
    number(33, 1, 1),
    attribute(18, attribute(1, b"tun\0") + attribute(0x8000 | 2, TUN_DATA)),
    flags=0x41,
)


@pytest.mark.parametrize(
    ("body", "details"),
    [
        pytest.param(
            DETAILS,
            InterfaceDetails("02:00:00:00:00:0a", 77, True, True, True, 12, 13, 3, False),
            id="all",
        ),
        pytest.param(
            link_body(attribute(1, b""), number(13, 500), attribute(18, attribute(1, b"tun\0"))),
            InterfaceDetails(None, 500, False, False, False, None, None, 1, False),
            id="nothing of the driver, Linux before 4.16",
        ),
    ],
)
def test_decode_details(body: bytes, details: InterfaceDetails) -> None:
    assert links.decode_details(body) == details


def route_body(
    *attributes: bytes,
    family: int = AF_INET,
    prefix: int = 16,
    table: int = 254,
    protocol: int = 4,
    kind: int = 1,
    flags: int = 0,
) -> bytes:
    header = struct.pack("=BBBBBBBBI", family, prefix, 0, 0, table, protocol, 0, kind, flags)
    return header + b"".join(attributes)


NETWORK = attribute(1, bytes([10, 8, 0, 0]))
OUT = number(4, 7)
V4, V4_PEER = bytes([10, 9, 0, 1]), bytes([10, 9, 0, 2])
V6, V6_PEER = bytes.fromhex("fd09" + 27 * "0" + "1"), bytes.fromhex("fd09" + 27 * "0" + "2")


@pytest.mark.parametrize(
    ("body", "text", "table", "configured"),
    [
        pytest.param(route_body(NETWORK, OUT), "10.8.0.0/16", 254, True, id="IPv4"),
        pytest.param(
            route_body(NETWORK, OUT, attribute(5, V4_PEER), number(6, 5)),
            "10.8.0.0/16 via 10.9.0.2 metric 5",
            254,
            True,
            id="gateway and metric",
        ),
        pytest.param(
            route_body(NETWORK, OUT, attribute(18, struct.pack("=H", AF_INET6) + V6_PEER)),
            "10.8.0.0/16 via fd09::2",
            254,
            True,
            id="gateway of the other family",
        ),
        pytest.param(route_body(OUT, prefix=0), "default", 254, True, id="default"),
        pytest.param(
            route_body(OUT, family=AF_INET6, prefix=0), "::/0", 254, True, id="IPv6 default"
        ),
        pytest.param(
            route_body(NETWORK, OUT, number(15, 51820), table=252),
            "10.8.0.0/16",
            51820,
            True,
            id="table beyond eight bits",
        ),
        pytest.param(
            route_body(NETWORK, OUT, protocol=2), "10.8.0.0/16", 254, False, id="the kernel's"
        ),
        pytest.param(
            route_body(NETWORK, OUT, protocol=9), "10.8.0.0/16", 254, False, id="a router's"
        ),
        pytest.param(route_body(NETWORK, OUT, kind=6), "10.8.0.0/16", 254, False, id="blackhole"),
        pytest.param(route_body(NETWORK), "10.8.0.0/16", 254, False, id="several ways"),
    ],
)
def test_decode_route(body: bytes, text: str, table: int, configured: bool) -> None:
    found = routes.decode_route(body)
    assert found is not None
    assert (str(found.route), found.table) == (str(Route.parse(text)), table)
    assert found.is_configured == configured


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(route_body(NETWORK, OUT, family=AF_PACKET), id="another family"),
        pytest.param(route_body(NETWORK, OUT, flags=0x200), id="remembered only"),
    ],
)
def test_no_route(body: bytes) -> None:
    assert routes.decode_route(body) is None


@pytest.mark.parametrize("table", [254, 255, 256, 51820, 2**32 - 1])
@pytest.mark.parametrize(
    "text",
    [
        "10.8.0.0/16",
        "10.8.0.0/16 via 10.9.0.2 metric 5",
        "10.8.0.0/16 via fd09::2",
        "default",
        "fd08::/32 via fd09::2",
    ],
)
def test_route_there_and_back(text: str, table: int) -> None:
    body = routes.encode_route(7, Route.parse(text), table)
    assert routes.decode_route(body) == RouteEntry(Route.parse(text), table, 7, 4, 1)


def rule_body(
    *attributes: bytes,
    family: int = AF_INET,
    destination: int = 0,
    source: int = 0,
    tos: int = 0,
    action: int = 1,
    flags: int = 0,
) -> bytes:
    head = struct.pack("=BBBBB2xBI", family, destination, source, tos, 200, action, flags)
    return head + b"".join(attributes)


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        pytest.param(rule_body(), Rule(4, 200, priority=0), id="table in the header"),
        pytest.param(
            rule_body(number(15, 51820), number(6, 9), number(14, 2**32 - 1), family=AF_INET6),
            Rule(6, 51820, priority=9),
            id="all packets",
        ),
        pytest.param(
            rule_body(number(10, 0xCA6C), number(16, 2**32 - 1), number(14, 0), flags=2),
            Rule(4, 200, 0xCA6C, True, 0, 0),
            id="mark, not, suppressed",
        ),
        pytest.param(rule_body(number(21, 3, 1)), Rule(4, 200, priority=0), id="a daemon's"),
        pytest.param(rule_body(number(10, 1), number(16, 0xFF)), None, id="part of the mark"),
        pytest.param(rule_body(attribute(1, V4), destination=32), None, id="destination"),
        pytest.param(rule_body(attribute(2, V4), source=32), None, id="source"),
        pytest.param(rule_body(tos=4), None, id="ToS"),
        pytest.param(rule_body(attribute(3, b"lo\0")), None, id="interface"),
        pytest.param(rule_body(action=6), None, id="blackhole"),
        pytest.param(rule_body(family=AF_PACKET), None, id="another family"),
    ],
)
def test_decode_rule(body: bytes, rule: Rule | None) -> None:
    assert rules.decode_rule(body) == rule


ANY_RULE = st.builds(
    Rule,
    st.sampled_from([4, 6]),
    st.integers(1, 2**32 - 1),
    st.none() | st.integers(1, 2**32 - 1),
    st.booleans(),
    st.none() | st.integers(0, 128),
    st.integers(0, 2**32 - 1),
)


@given(rule=ANY_RULE)
def test_rule_there_and_back(rule: Rule) -> None:
    assert rules.decode_rule(rules.encode_rule(rule)) == rule


def test_decode_broadcast() -> None:
    broadcast = attribute(4, bytes([10, 9, 0, 255]))
    body = address_body(AF_INET, 24, attribute(1, V4), broadcast)
    assert str(addresses.decode_broadcast(body)) == "10.9.0.255"
    assert addresses.decode_broadcast(address_body(AF_INET, 24, attribute(1, V4))) is None


def test_decode_statistics() -> None:
    found = links.decode_statistics(link_body(NAME, MTU, STATISTICS))
    # struct rtnl_link_stats64: rx_packets, tx_packets, rx_bytes, tx_bytes, rx_errors,
    # tx_errors, rx_dropped, tx_dropped, ..., rx_frame_errors
    assert (found.packets_sent, found.packets_received) == (0, 1)
    assert (found.bytes_sent, found.bytes_received) == (2, 3)
    assert (found.dropped_sent, found.dropped_received) == (6, 7)
    assert found.errors_sent == 13


@pytest.mark.parametrize(
    ("body", "address"),
    [
        pytest.param(
            address_body(AF_INET, 24, attribute(1, V4), attribute(2, V4), attribute(3, b"vpn0\0")),
            "10.9.0.1/24",
            id="IPv4",
        ),
        pytest.param(
            address_body(AF_INET, 32, attribute(1, V4_PEER), attribute(2, V4)),
            "10.9.0.1 peer 10.9.0.2/32",
            id="IPv4 with peer",
        ),
        pytest.param(address_body(AF_INET6, 64, attribute(1, V6)), "fd09::1/64", id="IPv6"),
        pytest.param(
            address_body(AF_INET6, 128, attribute(2, V6), attribute(1, V6_PEER)),
            "fd09::1 peer fd09::2/128",
            id="IPv6 with peer",
        ),
        pytest.param(address_body(AF_PACKET, 0), None, id="another family"),
    ],
)
def test_decode_address(body: bytes, address: str | None) -> None:
    expected = None if address is None else (7, Address.parse(address))
    assert addresses.decode_address(body) == expected


@pytest.mark.parametrize(
    ("decode", "data"),
    [
        pytest.param(messages.decode_messages, bytes(15), id="half a header"),
        pytest.param(messages.decode_messages, bytes(16), id="message of no length"),
        pytest.param(
            messages.decode_messages, struct.pack("=IHHII", 15, 16, 0, 0, 0), id="short length"
        ),
        pytest.param(
            messages.decode_messages, struct.pack("=IHHII", 17, 16, 0, 0, 0), id="long length"
        ),
        pytest.param(links.decode_link, bytes(15), id="half an ifinfomsg"),
        pytest.param(links.decode_link, link_body(MTU), id="link without name"),
        pytest.param(links.decode_link, link_body(NAME), id="link without MTU"),
        pytest.param(
            links.decode_link, link_body(NAME, attribute(4, b"\0\0")), id="MTU of two bytes"
        ),
        pytest.param(links.decode_link, link_body(bytes(4)), id="attribute of no length"),
        pytest.param(
            links.decode_link, link_body(struct.pack("=HH", 9, 3), b"vpn0"), id="long attribute"
        ),
        pytest.param(links.decode_link, link_body(NAME, MTU, b"\0\0"), id="half an attribute"),
        pytest.param(links.decode_statistics, link_body(NAME), id="no statistics"),
        pytest.param(
            links.decode_statistics, link_body(attribute(23, bytes(104))), id="few statistics"
        ),
        pytest.param(addresses.decode_address, bytes(7), id="half an ifaddrmsg"),
        pytest.param(addresses.decode_address, address_body(AF_INET, 24), id="no address"),
        pytest.param(
            addresses.decode_address,
            address_body(AF_INET, 33, attribute(1, V4)),
            id="prefix of 33 bits",
        ),
        pytest.param(
            addresses.decode_address,
            address_body(AF_INET, 24, attribute(1, V6)),
            id="IPv6 address as IPv4",
        ),
        pytest.param(
            addresses.decode_address,
            address_body(AF_INET6, 64, attribute(2, V4), attribute(1, V6)),
            id="IPv4 address as IPv6",
        ),
        pytest.param(links.decode_details, link_body(NAME), id="no kind of link"),
        pytest.param(
            links.decode_details, link_body(attribute(18, b"\0\0")), id="half a kind of link"
        ),
        pytest.param(routes.decode_route, bytes(11), id="half an rtmsg"),
        pytest.param(
            routes.decode_route, route_body(NETWORK, OUT, prefix=33), id="route of 33 bits"
        ),
        pytest.param(
            routes.decode_route,
            route_body(NETWORK, OUT, attribute(5, bytes(5))),
            id="gateway of five bytes",
        ),
        pytest.param(rules.decode_rule, bytes(11), id="half a fib_rule_hdr"),
        pytest.param(
            addresses.decode_broadcast,
            address_body(AF_INET, 24, attribute(4, bytes(3))),
            id="broadcast address of three bytes",
        ),
    ],
)
def test_malformed(decode: Callable[[bytes], object], data: bytes) -> None:
    with pytest.raises(TunError, match="malformed netlink message") as caught:
        decode(data)
    assert caught.value.errno == errno.EBADMSG


TEXT = attribute(1, b"mtu less than device minimum\0")
REQUEST = struct.pack("=IHHII", 36, 19, 5, 9, 0)
ERROR, DONE, CAPPED, TLVS = 2, 3, 0x100, 0x200


@pytest.mark.parametrize(
    ("message", "status"),
    [
        pytest.param(
            Message(ERROR, CAPPED, 9, bytes(4) + REQUEST), (0, os.strerror(0)), id="acknowledgement"
        ),
        pytest.param(
            Message(ERROR, CAPPED, 9, struct.pack("=i", -22) + REQUEST),
            (22, os.strerror(22)),
            id="error without words",
        ),
        pytest.param(
            Message(ERROR, CAPPED | TLVS, 9, struct.pack("=i", -22) + REQUEST + TEXT),
            (22, "mtu less than device minimum"),
            id="error with words",
        ),
        pytest.param(
            Message(ERROR, TLVS, 9, struct.pack("=i", -22) + REQUEST + bytes(20) + TEXT),
            (22, "mtu less than device minimum"),
            id="error that repeats the request",
        ),
        pytest.param(Message(DONE, 0, 9, bytes(4)), (0, os.strerror(0)), id="end of a dump"),
        pytest.param(
            Message(DONE, TLVS, 9, struct.pack("=i", -19) + TEXT),
            (19, "mtu less than device minimum"),
            id="dump that failed",
        ),
        pytest.param(
            Message(ERROR, TLVS, 9, struct.pack("=i", -22) + b"\xff" * 16),
            (22, os.strerror(22)),
            id="length that lies",
        ),
    ],
)
def test_decode_status(message: Message, status: tuple[int, str]) -> None:
    assert messages.decode_status(message) == status


def test_encode_link() -> None:
    body = links.encode_link(7, name="vpn0", mtu=1400, up=True)
    assert body == struct.pack("=BxHiII", 0, 0, 7, 1, 1) + NAME + MTU


@pytest.mark.parametrize(("up", "flags"), [(None, (0, 0)), (False, (0, 1)), (True, (1, 1))])
def test_encode_link_flags(up: bool | None, flags: tuple[int, int]) -> None:
    assert struct.unpack("=BxHiII", links.encode_link(7, up=up))[3:] == flags


@st.composite
def any_address(draw: st.DrawFn) -> Address:
    some = draw(st.sampled_from([st.ip_addresses(v=4), st.ip_addresses(v=6)]))
    own, peer = draw(some), draw(some)
    prefix = draw(st.integers(0, own.max_prefixlen))
    interface = ipaddress.ip_interface((own.packed, prefix))
    return Address(interface, draw(st.sampled_from([None, peer])) if peer != own else None)


@given(index=st.integers(1, 2**31 - 1), address=any_address())
def test_address_there_and_back(index: int, address: Address) -> None:
    body = addresses.encode_address(index, address)
    assert addresses.decode_address(body) == (index, address)


@given(
    several=st.lists(
        st.builds(
            Message,
            st.integers(0, 0xFFFF),
            st.integers(0, 0xFFFF),
            st.integers(0, 0xFFFFFFFF),
            st.binary(max_size=40),
        )
    )
)
def test_messages_there_and_back(several: list[Message]) -> None:
    encoded = (messages.encode_message(*message) for message in several)
    data = b"".join(datagram + bytes(-len(datagram) % 4) for datagram in encoded)
    assert messages.decode_messages(data) == several


VALID = (
    link_body(NAME, MTU, STATISTICS),
    address_body(AF_INET, 24, attribute(1, V4), attribute(2, V4)),
    address_body(AF_INET6, 64, attribute(1, V6)),
    struct.pack("=i", -22) + REQUEST + TEXT,
    DETAILS,
    route_body(NETWORK, OUT, number(6, 5)),
    rule_body(number(10, 0xCA6C), number(16, 2**32 - 1), number(14, 0), flags=2),
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid body, with some bytes replaced and the end cut off."""
    data = bytearray(draw(st.sampled_from(VALID)))
    for position, byte in draw(
        st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), max_size=4)
    ):
        data[position] = byte
    return bytes(data[: draw(st.integers(0, len(data)))])


DECODERS: list[Callable[[Message], object]] = [
    lambda message: messages.decode_messages(message.body),
    lambda message: messages.decode_messages(messages.encode_message(*message)),
    lambda message: links.decode_link(message.body),
    lambda message: links.decode_statistics(message.body),
    lambda message: addresses.decode_address(message.body),
    lambda message: addresses.decode_broadcast(message.body),
    lambda message: links.decode_details(message.body),
    lambda message: routes.decode_route(message.body),
    lambda message: rules.decode_rule(message.body),
    messages.decode_status,
]


@given(
    kind=st.sampled_from([ERROR, DONE, 16]),
    flags=st.integers(0, 0xFFFF),
    body=st.one_of(st.binary(max_size=200), damaged()),
    decode=st.sampled_from(DECODERS),
)
@settings(max_examples=500)
def test_anything_decodes_or_is_malformed(
    kind: int, flags: int, body: bytes, decode: Callable[[Message], object]
) -> None:
    with suppress(TunError):
        decode(Message(kind, flags, 1, body))


@pytest.mark.parametrize("number", [-(2**31), -4096, 1, 2**31 - 1])
def test_status_beyond_any_errno(number: int) -> None:
    found, _ = messages.decode_status(Message(DONE, 0, 1, struct.pack("=i", number)))
    assert 0 <= found <= 4095
