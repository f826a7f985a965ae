"""Addresses as users have them, and as a socket takes and gives them."""

from __future__ import annotations

from socket import AF_INET, AF_INET6

import pytest

from aiotun.udp.address import from_socket, to_loop, to_socket
from aiotun.udp.protocol import SocketAddress


@pytest.mark.parametrize(
    ("given", "family", "taken"),
    [
        (("192.0.2.1", 7), AF_INET, ("192.0.2.1", 7)),
        (("192.0.2.1", 7), AF_INET6, ("::ffff:192.0.2.1", 7)),
        (("192.0.2.1", 7, 0, 0), AF_INET, ("192.0.2.1", 7)),
        (("2001:db8::1", 7), AF_INET6, ("2001:db8::1", 7)),
        (("fe80::1", 7, 0, 3), AF_INET6, ("fe80::1", 7, 0, 3)),
    ],
)
def test_to_socket(given: SocketAddress, family: int, taken: SocketAddress) -> None:
    assert to_socket(given, family) == taken


@pytest.mark.parametrize(
    ("given", "family", "taken"),
    [
        (("192.0.2.1", 7), AF_INET, ("192.0.2.1", 7)),
        (("192.0.2.1", 7), AF_INET6, ("::ffff:192.0.2.1", 7, 0, 0)),
        (("2001:db8::1", 7), AF_INET6, ("2001:db8::1", 7, 0, 0)),
        (("2001:db8::1", 7, 5), AF_INET6, ("2001:db8::1", 7, 5, 0)),
        (("fe80::1", 7, 0, 3), AF_INET6, ("fe80::1", 7, 0, 3)),
    ],
)
def test_to_loop(given: SocketAddress, family: int, taken: SocketAddress) -> None:
    assert to_loop(given, family) == taken


@pytest.mark.parametrize(
    ("addr", "family", "says"),
    [
        (("vpn.example", 7), AF_INET, "no numeric address: look names up"),
        (("", 7), AF_INET, "no numeric address"),
        (("fe80::1%eth0", 7), AF_INET6, "no numeric address"),
        (("2001:db8::1", 7), AF_INET, "IPv4 alone"),
        (("192.0.2.1", 0), AF_INET, "1 to 65535, not 0"),
        (("192.0.2.1", 65536), AF_INET, "1 to 65535, not 65536"),
        (("fe80::1", 7, 1 << 20, 3), AF_INET6, "0 to 1048575, not 1048576"),
        (("fe80::1", 7, 0, 1 << 32), AF_INET6, "0 to 4294967295, not 4294967296"),
        (("fe80::1", 7, 0, -1), AF_INET6, "0 to 4294967295, not -1"),
        (("192.0.2.1\0", 7), AF_INET, "no numeric address"),
        (("\ud800", 7), AF_INET, "no numeric address"),
    ],
)
def test_what_cannot_be_sent_to(addr: SocketAddress, family: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        to_socket(addr, family)


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        (("192.0.2.1", 7), ("192.0.2.1", 7)),
        (("::ffff:192.0.2.1", 7, 0, 0), ("192.0.2.1", 7)),
        (("2001:db8::1", 7, 0, 0), ("2001:db8::1", 7, 0, 0)),
        (("::ffff:0:1", 7, 0, 0), ("::ffff:0:1", 7, 0, 0)),
    ],
)
def test_from_socket(given: SocketAddress, seen: SocketAddress) -> None:
    assert from_socket(given) == seen
