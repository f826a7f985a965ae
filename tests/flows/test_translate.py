"""Packets rewritten to go elsewhere: what stays, what changes, and what every checksum is."""

from __future__ import annotations

from typing import Any

import packets
import pytest
from flow_tables import tcp_frames
from hypothesis import given
from hypothesis import strategies as st
from strategies import payloads, tcp_or_udp

from aiotun.flows import backend
from aiotun.flows.translate import (
    FRAGMENT,
    Rewrite,
    addresses_of,
    is_unicast,
    locate,
    make_key,
    quoted,
    reverse_key,
    rewrite_quoted,
    sums_up,
)
from aiotun.offload import gso_split

PLAIN = bytes(10)

native = pytest.mark.skipif(
    backend.Rewrite is Rewrite, reason="the native module is not built, or not wanted"
)


def spoil(frame: bytes, data: st.DataObject) -> bytes:
    """Other bits in its headers, or an earlier end."""
    spoiled = bytearray(frame[: data.draw(st.integers(0, len(frame)))])
    for place in data.draw(st.lists(st.integers(0, 80), max_size=4)):
        if place < len(spoiled):
            spoiled[place] = data.draw(st.integers(0, 255))
    return bytes(spoiled)


@native
@given(
    st.one_of(tcp_frames(), st.binary(max_size=150), tcp_or_udp(b"some data").map(PLAIN.__add__)),
    st.booleans(),
    st.data(),
)
def test_natively_it_is_the_same(frame: bytes, spoils: bool, data: st.DataObject) -> None:
    found = locate(frame)
    if spoils:
        frame = spoil(frame, data)
    assert backend.locate(frame) == locate(frame)
    _, transport, key = locate(frame) or found or (6, 30, bytes(12))
    old = data.draw(st.one_of(st.just(key), keys(len(key))))
    new = data.draw(st.one_of(st.just(key), keys(len(key))))
    expected = Rewrite(old, new).apply(frame, transport)
    rewrite = backend.Rewrite(old, new)
    assert rewrite.apply(frame, transport) == expected
    longer = frame + bytes(70_000)
    for size in (2049, 3000, 65_553, 65_554):  # larger ones share a room, unless it is held
        again = longer[:size]
        assert rewrite.apply(again, transport) == Rewrite(old, new).apply(again, transport)


@native
def test_natively_what_is_held_stays() -> None:
    rewrite = backend.Rewrite(bytes(12), bytes([1] * 12))
    frames = [rewrite.apply(bytes([0] * 10 + [n] * 3000), 30) for n in range(3)]
    assert frames == [
        Rewrite(bytes(12), bytes([1] * 12)).apply(bytes([0] * 10 + [n] * 3000), 30)
        for n in range(3)
    ]


@native
def test_natively_wrong_arguments_are_told() -> None:
    with pytest.raises(TypeError, match="bytes"):
        backend.locate(bytearray(60))  # type: ignore[arg-type]
    for old, new in ((b"", b""), (bytes(12), bytes(36)), (bytes(13), bytes(13))):
        with pytest.raises(ValueError, match="12 or 36"):
            backend.Rewrite(old, new)
    rewrite = backend.Rewrite(bytes(12), bytes(12))
    with pytest.raises(TypeError, match="bytes and an offset"):
        rewrite.apply(bytearray(60), 30)  # type: ignore[arg-type]
    for transport in (-100, -1, 0, 29, 41, 1 << 62):  # of no TCP header
        assert rewrite.apply(bytes(60), transport) is None


def keys(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


@given(tcp_frames(), st.data())
def test_there_and_back(frame: bytes, data: st.DataObject) -> None:
    found = locate(frame)
    assert found is not None
    protocol, transport, key = found
    assert protocol == 6
    new = data.draw(keys(len(key)))
    there = Rewrite(key, new).apply(frame, transport)
    assert there is not None
    assert locate(there) == (6, transport, new)
    assert len(there) == len(frame)
    for packet in gso_split(there):
        packets.assert_sound(packet)
    assert Rewrite(new, key).apply(there, transport) == frame


@given(payloads(0, 100).flatmap(lambda data: tcp_or_udp(data, protocol=6)), st.data())
def test_a_wrong_checksum_is_as_wrong_afterwards(packet: bytes, data: st.DataObject) -> None:
    frame = PLAIN + packet
    found = locate(frame)
    if found is None or found[0] != 6:
        return
    _, transport, key = found
    wrong = data.draw(st.integers(1, 0xFFFE))
    field = transport + 16
    value = (int.from_bytes(frame[field : field + 2], "big") + wrong) % 0xFFFF
    frame = frame[:field] + value.to_bytes(2, "big") + frame[field + 2 :]
    there = Rewrite(key, data.draw(keys(len(key)))).apply(frame, transport)
    assert there is not None
    error = tcp_sum(there, transport)
    assert error == tcp_sum(frame, transport)
    assert error % 0xFFFF != 0


def tcp_sum(frame: bytes, transport: int) -> int:
    addresses = frame[22:30] if frame[10] >> 4 == 4 else frame[18:50]
    return packets.ones_sum(addresses + frame[transport:], 6 + len(frame) - transport)


@given(st.binary(max_size=120), st.sampled_from([4, 6, None]))
def test_arbitrary_bytes_raise_nothing(data: bytes, version: int | None) -> None:
    if version is not None and len(data) > 16:  # so that some of them are IP packets
        length = len(data) - 10 - (40 if version == 6 else 0)
        place = 14 if version == 6 else 12
        first = bytes([version << 4 | 5])
        data = data[:10] + first + data[11:]
        data = data[:place] + (length & 0xFFFF).to_bytes(2, "big") + data[place + 2 :]
    found = locate(data)
    if found is None:
        return
    protocol, transport, key = found
    assert len(key) == (12 if data[10] >> 4 == 4 else 36)
    assert transport + 8 <= len(data)
    sums_up(data, protocol, transport, key)
    there = Rewrite(key, bytes(len(key))).apply(data, transport)
    assert there is None or len(there) == len(data)


@pytest.mark.parametrize(
    ("frame", "protocol"),
    [
        (PLAIN + packets.tcp(4), 6),
        (PLAIN + packets.tcp(6), 6),
        (PLAIN + packets.udp(4, b"x", options=b"\x01" * 8), 17),
        (PLAIN + packets.udp(6, b"x", extensions=[(0, b"\x01\x04\0\0\0\0")]), 17),
        (PLAIN + packets.udp(4, b"x" * 64, fragment=0x2000), FRAGMENT),
        (PLAIN + packets.ip(4, 17, b"x" * 64, fragment=8), FRAGMENT),
        (PLAIN + packets.ip(6, 44, b"\x11" + b"x" * 63), FRAGMENT),
        (PLAIN + packets.udp(6, b"x", extensions=[(44, bytes(6))]), FRAGMENT),  # atomic: RFC 6946
        (PLAIN + packets.tcp(6, extensions=[(0, b"\x01\x04\0\0\0\0"), (44, bytes(6))]), FRAGMENT),
        (PLAIN + packets.tcp(6, extensions=[(43, b"\x04\0\0\0\0\0")]), 43),
        (PLAIN + packets.icmp_echo(6), 58),
        (PLAIN + packets.tcp(4) + b"!", None),  # behind its end
        (PLAIN + packets.tcp(6)[:-1], None),
        (PLAIN + packets.ip(4, 6, b"short"), None),
        (PLAIN + packets.ip(6, 0, b"\x06\xff" + bytes(30)), None),  # extensions beyond the end
        (PLAIN + b"\x44" + packets.tcp(4)[1:], None),  # a header of 16 bytes
        (PLAIN + b"\x50" + packets.tcp(4)[1:], None),
        (PLAIN, None),
        (b"", None),
    ],
)
def test_what_is_found(frame: bytes, protocol: int | None) -> None:
    found = locate(frame)
    assert (found and found[0]) == protocol


@pytest.mark.parametrize("version", [4, 6])
def test_keys(version: int) -> None:
    found = locate(PLAIN + packets.tcp(version, sport=1, dport=0xFFFE))
    assert found is not None
    key = found[2]
    source, destination, sport, dport = addresses_of(key)
    assert (sport, dport) == (1, 0xFFFE)
    assert make_key(source, destination, sport, dport) == key
    assert reverse_key(key) == make_key(destination, source, dport, sport)
    assert reverse_key(reverse_key(key)) == key


def flip(frame: bytes, place: int) -> bytes:
    return frame[:place] + bytes([frame[place] ^ 1]) + frame[place + 1 :]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("make", [packets.tcp, packets.udp])
def test_which_checksums_are_right(version: int, make: Any) -> None:
    frame = PLAIN + make(version, b"payload")
    found = locate(frame)
    assert found is not None
    assert sums_up(frame, *found)
    assert not sums_up(flip(frame, len(frame) - 1), *found)
    vouched = b"\x02" + flip(frame, len(frame) - 1)[1:]
    assert sums_up(vouched, *found)


@pytest.mark.parametrize("version", [4, 6])
def test_udp_without_checksum(version: int) -> None:
    frame = PLAIN + packets.udp(version, b"payload")
    found = locate(frame)
    assert found is not None
    field = found[1] + 6
    assert sums_up(frame[:field] + b"\0\0" + frame[field + 2 :], *found) == (version == 4)


def test_a_partial_checksum_elsewhere_is_refused() -> None:
    frame = packets.super_packet(packets.tcp(4, b"x" * 3000), 1000)
    found = locate(frame)
    assert found is not None
    _, transport, key = found
    rewrite = Rewrite(key, reverse_key(key))
    assert rewrite.apply(frame, transport) is not None
    for place in (6, 7, 8, 9):  # csum_start, csum_offset
        assert rewrite.apply(flip(frame, place), transport) is None


@pytest.mark.parametrize(
    ("address", "unicast"),
    [
        ("10.0.0.1", True),
        ("169.254.1.1", True),
        ("203.0.113.5", True),
        ("0.0.0.0", False),
        ("127.0.0.1", False),
        ("224.0.0.251", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("2001:db8::1", True),
        ("fe80::1", True),
        ("::", False),
        ("::1", False),
        ("ff02::fb", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:203.0.113.5", False),
    ],
)
def test_who_is_asked_and_answered(address: str, unicast: bool) -> None:
    import ipaddress

    assert is_unicast(ipaddress.ip_address(address).packed) is unicast


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("size", [8, 20, 60])
def test_a_quoted_packet(version: int, size: int) -> None:
    """As an ICMP error has it: cut off anywhere behind 8 bytes of TCP."""
    whole = packets.tcp(version, b"payload" * 10)
    head = 20 if version == 4 else 40
    packet = whole[: head + size]
    found = quoted(packet)
    assert found is not None
    protocol, transport, key = found
    assert (protocol, transport) == (6, head)
    new = rewrite_quoted(packet, transport, reverse_key(key))
    assert quoted(new) == (6, head, reverse_key(key))
    if version == 4:
        assert packets.ones_sum(new[:20]) == 0xFFFF
    assert rewrite_quoted(new, transport, key) == packet


@given(st.binary(max_size=80))
def test_arbitrary_quoted_bytes(data: bytes) -> None:
    for packet in (data, b"\x45" + data[1:], b"\x60" + data[1:]):
        found = quoted(packet)
        if found is not None:
            assert len(rewrite_quoted(packet, found[1], found[2])) == len(packet)
