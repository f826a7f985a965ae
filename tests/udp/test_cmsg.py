"""Control messages: what the kernel says about datagrams, and what it is told."""

from __future__ import annotations

import ipaddress
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotun.udp import cmsg as control
from aiotun.udp.cmsg import ControlMessage, decode, encode, error_mtu

V4, V6, UDP = socket.IPPROTO_IP, socket.IPPROTO_IPV6, socket.IPPROTO_UDP
HERE4, HERE6 = "192.0.2.7", "2001:db8::7"


def packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


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


LEVELS = st.sampled_from([V4, V6, UDP, 1])
KINDS = st.sampled_from([1, 8, 11, 25, 50, 67, 103, 104])


@given(st.lists(st.tuples(LEVELS, KINDS, st.binary(max_size=40))))
def test_any_control_message_is_survived(messages: list[ControlMessage]) -> None:
    _, local, ecn = decode(messages)
    assert local is None or ipaddress.ip_address(local)
    assert 0 <= ecn <= 3
    assert 0 <= error_mtu(messages) < 2**32


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
