"""Control messages: what the kernel says about datagrams, and what it is told."""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotun.udp import cmsg as control
from aiotun.udp.cmsg import ControlMessage, decode, encode, error_mtu

V4, V6, UDP = socket.IPPROTO_IP, socket.IPPROTO_IPV6, socket.IPPROTO_UDP
HERE4, HERE6 = "192.0.2.7", "2001:db8::7"


def packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


def extended_error(mtu: int) -> bytes:
    """struct sock_extended_err: EMSGSIZE of ICMP, fragmentation needed."""
    return struct.pack("=IBBBBII", 90, 2, 3, 4, 0, mtu, 7)


PKTINFO4 = (V4, 8, struct.pack("=i", 3) + packed(HERE4) + packed("192.0.2.255"))
PKTINFO6 = (V6, 50, packed(HERE6) + struct.pack("=i", 3))
PKTINFO_MAPPED = (V6, 50, packed("::ffff:" + HERE4) + struct.pack("=i", 3))


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([], (0, None, 0), id="nothing"),
        pytest.param([PKTINFO4], (0, HERE4, 0), id="the address that answers, not the broadcast"),
        pytest.param([PKTINFO6], (0, HERE6, 0), id="IPv6"),
        pytest.param([PKTINFO_MAPPED], (0, HERE4, 0), id="IPv4 on a dual-stack socket"),
        pytest.param([(V4, 1, b"\xbb")], (0, None, 3), id="CE behind a DSCP"),
        pytest.param([(V6, 67, struct.pack("=i", 0xBA))], (0, None, 2), id="ECT(0), IPv6"),
        pytest.param([(UDP, 104, struct.pack("=i", 1452))], (1452, None, 0), id="segments"),
        pytest.param(
            [(UDP, 104, struct.pack("=i", 9)), (V4, 1, b"\1"), PKTINFO4], (9, HERE4, 1), id="all"
        ),
        pytest.param([(1, 29, bytes(16)), (V4, 99, b"")], (0, None, 0), id="unknown"),
        pytest.param(
            [
                (V4, 8, bytes(11)),
                (V6, 50, bytes(19)),
                (V4, 1, b""),
                (V6, 67, b"1"),
                (UDP, 104, b""),
            ],
            (0, None, 0),
            id="cut short",
        ),
    ],
)
def test_decode(messages: list[ControlMessage], expected: tuple[object, ...]) -> None:
    assert decode(messages) == expected


INTS = st.integers(-(2**31), 2**31 - 1)

SAYING: st.SearchStrategy[tuple[ControlMessage, tuple[str, object]]] = st.one_of(
    st.integers(1, 65_535).map(lambda n: ((UDP, 104, struct.pack("=i", n)), ("segment", n))),
    st.ip_addresses(v=4).map(
        lambda a: ((V4, 8, bytes(4) + a.packed + packed("192.0.2.255")), ("local", str(a)))
    ),
    st.ip_addresses(v=4).map(
        lambda a: ((V6, 50, packed(f"::ffff:{a}") + bytes(4)), ("local", str(a)))
    ),
    st.integers(0, 255).map(lambda n: ((V4, 1, bytes([n])), ("ecn", n % 4))),
    INTS.map(lambda n: ((V6, 67, struct.pack("=i", n)), ("ecn", n % 4))),
)
"""Control messages, and what each says."""

SAYING_NOTHING = st.one_of(
    st.tuples(st.just(1), st.integers(0, 120), st.binary(max_size=40)),  # SOL_SOCKET
    st.tuples(st.just(V4), st.sampled_from([2, 11, 50, 67, 104]), st.binary(max_size=40)),
    st.tuples(st.just(V6), st.sampled_from([1, 8, 11, 25, 104]), st.binary(max_size=40)),
    st.tuples(st.just(UDP), st.sampled_from([1, 8, 50, 67, 103]), st.binary(max_size=40)),
    st.tuples(st.just(V4), st.just(8), st.binary(max_size=11)),
    st.tuples(st.just(V6), st.just(50), st.binary(max_size=19)),
    st.tuples(st.just(V6), st.just(67), st.binary(max_size=3)),
    st.tuples(st.just(UDP), st.just(104), st.binary(max_size=3)),
)


@given(st.lists(SAYING | SAYING_NOTHING.map(lambda message: (message, None))))
def test_each_control_message_says_its_own(messages: list[Any]) -> None:
    """The last one of a kind counts, whatever stands around it."""
    said = dict(says for _, says in messages if says is not None)
    expected = said.get("segment", 0), said.get("local"), said.get("ecn", 0)
    assert decode([message for message, _ in messages]) == expected


@pytest.mark.parametrize(
    ("messages", "mtu"),
    [
        pytest.param([], 0, id="nothing"),
        pytest.param([(V4, 11, extended_error(1400))], 1400, id="IPv4"),
        pytest.param([(V6, 25, extended_error(1280))], 1280, id="IPv6"),
        pytest.param([(V4, 11, extended_error(1400)[:15])], 0, id="cut short"),
        pytest.param([(V4, 25, extended_error(1)), (V6, 11, extended_error(2))], 0, id="others"),
        pytest.param([(V4, 8, bytes(16)), (V4, 11, extended_error(9))], 9, id="behind another"),
    ],
)
def test_the_mtu_in_the_error_queue(messages: list[ControlMessage], mtu: int) -> None:
    assert error_mtu(messages) == mtu


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param((True, None, 0, 0), (), id="nothing"),
        pytest.param((True, None, 0, 1452), ((UDP, 103, struct.pack("=H", 1452)),), id="segments"),
        pytest.param((True, None, 2, 0), ((V4, 1, struct.pack("=i", 2)),), id="ECN"),
        pytest.param((False, None, 3, 0), ((V6, 67, struct.pack("=i", 3)),), id="ECN, IPv6"),
        pytest.param(
            (True, HERE4, 0, 0), ((V4, 8, bytes(4) + packed(HERE4) + bytes(4)),), id="source"
        ),
        pytest.param(
            (False, HERE6, 0, 0), ((V6, 50, packed(HERE6) + bytes(4)),), id="source, IPv6"
        ),
    ],
)
def test_encode(
    arguments: tuple[bool, str | None, int, int], expected: tuple[ControlMessage, ...]
) -> None:
    assert encode(*arguments) == expected


@pytest.mark.parametrize(
    ("v4", "local", "ecn", "says"),
    [
        (True, HERE6, 0, "no IPv4 address: '2001:db8::7'"),
        (False, HERE4, 0, "no IPv6 address: '192.0.2.7'"),
        (True, "localhost", 0, "no IPv4 address"),
        (True, None, 4, "ecn is 0 to 3, not 4"),
        (False, None, -1, "ecn is 0 to 3, not -1"),
    ],
)
def test_what_cannot_be_sent_with(v4: bool, local: str | None, ecn: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        encode(v4, local, ecn, 0)


def test_the_numbers_are_those_of_the_socket_module() -> None:
    """Where it has them: not all versions do."""
    names = [name for name in vars(control) if name.startswith("IP") and hasattr(socket, name)]
    assert "IP_TOS" in names
    for name in names:
        assert getattr(control, name) == getattr(socket, name)
