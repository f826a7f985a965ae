"""Messages of routing sockets and records of BPF: bytes in, bytes out, hostile ones too."""

from __future__ import annotations

import ctypes
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from models.devices import KERNELS
from models.kernel import Given, ModelKernel, Route

from aiotun import addresses
from aiotun.platforms.bsd.base import System
from aiotun.platforms.bsd.freebsd import FreeBSD
from aiotun.platforms.bsd.headers.darwin import bpf_hdr
from aiotun.platforms.bsd.messages import (
    decode_interfaces,
    decode_routes,
    encode_route,
    split,
)
from aiotun.platforms.bsd.netbsd import NetBSD
from aiotun.platforms.bsd.openbsd import OpenBSD
from aiotun.platforms.bsd.sockaddrs import decode_link_layer, decode_prefix, link_layer
from aiotun.platforms.darwin.bpf import split_records
from aiotun.platforms.darwin.system import Darwin

SYSTEMS: dict[str, type[System]] = {
    "freebsd": FreeBSD,
    "netbsd": NetBSD,
    "openbsd": OpenBSD,
    "darwin": Darwin,
}

ROUTES = {  # 10.8.0.0/16 to interface 5, whose address is 10.9.0.1: message, byte for byte
    "freebsd": "f000050105000000010800000700000007000000090000000000000000000000",
    "netbsd": "b800040105000000010800000700000007000000090000000000000000000000",
    "openbsd": "a00005016000050000000000070000000108000000000000070000000900000000000000",
    "darwin": "90000501050000000108000007000000070000000900000000000000",
}


@pytest.fixture(params=SYSTEMS)
def system(request: pytest.FixtureRequest) -> System:
    kernel = KERNELS["freebsd15" if request.param == "freebsd" else request.param]()
    return SYSTEMS[request.param](kernel)


@pytest.fixture
def table(system: System) -> bytes:
    """Of two interfaces with addresses and routes."""
    kernel = system.kernel
    assert isinstance(kernel, ModelKernel)
    for name, layer in (("tun7", "tun"), ("tap7", "tap")):
        interface = kernel.make(name, layer, mtu=1400)
        for text, other in (("10.9.0.1/24", "10.9.0.9"), ("fe80::1/64", None)):
            own = addresses.Address.parse(text).interface
            peer = None if other is None else addresses.Address.parse(other).interface.ip
            interface.addresses.append(Given(own.ip, own.network.prefixlen, peer))
    return kernel.sysctl((4, system.headers.AF_ROUTE, 0, 0, system.interface_list, 0))


def encoded(system: System, route: str) -> bytes:
    return encode_route(
        1,
        addresses.Route.parse(route),
        link_layer(5, system),
        index=5,
        seq=9,
        pid=7,
        system=system,
    )


@pytest.mark.parametrize("name", ROUTES)
def test_a_route_byte_for_byte(name: str) -> None:
    message = encoded(SYSTEMS[name](ModelKernel.__new__(ModelKernel)), "10.8.0.0/16")
    assert message.hex().startswith(ROUTES[name])
    assert len(message) == int.from_bytes(message[:2], "little")
    parts = message[ctypes.sizeof(SYSTEMS[name].headers.rt_msghdr) :]
    assert parts[:16].hex() == "100200000a0800000000000000000000"
    assert parts[-16:].hex() == "10020000ffff00000000000000000000"
    assert parts[17:20].hex() == "120500"  # AF_LINK, index 5


@pytest.mark.parametrize(
    "route",
    ["10.8.0.0/16", "10.8.0.1/32", "0.0.0.0/0", "fd08::/64", "::/0", "fd08::/48 via fd09::2"],
)
def test_what_is_encoded_is_decoded(system: System, route: str) -> None:
    (message,) = decode_routes(encoded(system, route), system)
    assert message.route == addresses.Route.parse(route)
    assert (message.kind, message.index, message.seq, message.pid) == (1, 5, 9, 7)


@pytest.mark.parametrize("version", [4, 6])
def test_netmasks_are_shortened(version: int) -> None:
    full = 32 if version == 4 else 128
    head = bytes(4) if version == 4 else bytes(8)
    for prefix in range(full + 1):
        packed = ((1 << prefix) - 1 << full - prefix).to_bytes(full // 8, "big")
        assert decode_prefix(head + packed, version) == prefix
        assert decode_prefix(head + packed.rstrip(b"\0"), version) == prefix
    assert decode_prefix(b"", version) == 0


def test_a_table_of_interfaces(system: System, table: bytes) -> None:
    found = decode_interfaces(table, system)
    tun, tap = sorted(found.links.values(), key=lambda link: link.index)
    assert (tun.name, tun.mtu, tun.mac, tun.point_to_point) == ("tun7", 1400, None, True)
    assert (tap.name, tap.mtu, tap.point_to_point) == ("tap7", 1400, False)
    assert tap.mac == f"02:00:00:00:00:{tap.index:02x}"
    assert [str(each) for each in found.addresses[tun.index]] == [
        "10.9.0.1 peer 10.9.0.9/24",
        "fe80::1/64",
    ]
    assert [str(each) for each in found.addresses[tap.index]] == ["10.9.0.1/24", "fe80::1/64"]
    assert str(found.broadcasts[tap.index]) == "10.9.0.9"


def test_a_table_that_is_cut_short(system: System, table: bytes) -> None:
    whole = [message for _, message in split(table)]
    assert b"".join(whole) == table
    for size in range(len(table)):
        assert [message for _, message in split(table[:size])] == whole[: _fit(whole, size)]
        decode_interfaces(table[:size], system)


def _fit(messages: list[bytes], size: int) -> int:
    ends = [sum(map(len, messages[: n + 1])) for n in range(len(messages))]
    return sum(end <= size for end in ends)


@pytest.mark.parametrize("name", SYSTEMS)
@given(data=st.data())
def test_hostile_messages(name: str, data: st.DataObject) -> None:
    """Whatever the bytes are, nothing is raised, and nothing is read that is not there."""
    system = SYSTEMS[name](ModelKernel.__new__(ModelKernel))
    kinds = [1, 4, system.link_kind, system.headers.RTM_NEWADDR]
    messages = []
    for body in data.draw(st.lists(st.binary(max_size=300), max_size=4)):
        kind = data.draw(st.sampled_from(kinds))
        size = (len(body) + 4).to_bytes(2, "little")
        messages.append(size + bytes([system.headers.RTM_VERSION, kind]) + body)
    table = b"".join(messages) + data.draw(st.binary(max_size=40))
    found = decode_interfaces(table, system)
    assert len(found.links) <= len(messages) + 10
    decode_routes(table, system)


@pytest.mark.parametrize("name", SYSTEMS)
@given(data=st.data())
def test_mutated_tables(name: str, data: st.DataObject) -> None:
    kernel = KERNELS["freebsd15" if name == "freebsd" else name]()
    system = SYSTEMS[name](kernel)
    interface = kernel.make("tun7", "tun")
    interface.addresses.append(Given(ip_network("10.9.0.1/32")[0], 24, None))
    kernel.routes.append(Route(ip_network("10.8.0.0/16")[0], 16, None, interface.index, 0x801))
    path = 4, system.headers.AF_ROUTE, 0, 0
    table = bytearray(kernel.sysctl((*path, system.interface_list, 0)))
    table += kernel.sysctl((*path, 1, 0))
    changes = st.lists(st.tuples(st.integers(0, len(table) - 1), st.integers(0, 255)), max_size=8)
    for at, value in data.draw(changes):
        table[at] = value
    decode_interfaces(bytes(table), system)
    decode_routes(bytes(table), system)


def test_link_layer_addresses() -> None:
    assert decode_link_layer(bytes.fromhex("1412050006040600") + b"tap5\2\0\0\0\0\1") == (
        "tap5",
        "02:00:00:00:00:01",
    )
    for cut in (b"", b"\x14\x12", bytes(20)):
        assert decode_link_layer(cut) == ("", None)


# BPF.


def record(frame: bytes, hdrlen: int = 18, **fields: Any) -> bytes:
    head = bytes(bpf_hdr(bh_caplen=len(frame), bh_datalen=len(frame), bh_hdrlen=hdrlen, **fields))
    data = head.ljust(hdrlen, b"\0")[:hdrlen] + frame
    return data + bytes(-len(data) % 4)


FRAMES = [b"a" * 60, b"b" * 61, b"c" * 1514, b""]


@pytest.mark.parametrize("hdrlen", [18, 20, 26])
def test_records(hdrlen: int) -> None:
    data = b"".join(record(frame, hdrlen) for frame in FRAMES)
    assert split_records(data) == FRAMES


def test_records_that_are_cut_short() -> None:
    data = record(FRAMES[0]) + record(FRAMES[2])
    for size in range(len(data)):
        assert split_records(data[:size]) == FRAMES[: int(size >= len(record(FRAMES[0])) - 2)]


@given(st.binary(max_size=500))
def test_hostile_records(data: bytes) -> None:
    assert sum(map(len, split_records(data))) <= len(data)
