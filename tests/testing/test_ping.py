"""Echo requests and replies, judged by packets that others made."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packets import icmp_echo

from aiotun.testing.ping import echo_reply, echo_request

ENDS = {4: ("10.9.0.1", "10.9.0.42"), 6: ("fd09::1", "fd09::42")}
numbers = st.integers(0, 0xFFFF)
versions = pytest.mark.parametrize("version", [4, 6])


@versions
@given(identifier=numbers, sequence=numbers, data=st.binary(max_size=100))
def test_request_and_reply(version: int, identifier: int, sequence: int, data: bytes) -> None:
    source, destination = ENDS[version]
    numbered: dict[str, Any] = {"identifier": identifier, "sequence": sequence, "fragment": 0}
    request = icmp_echo(version, data, source=source, destination=destination, **numbered)
    assert echo_request(source, destination, identifier, sequence, data) == request
    assert echo_reply(request) == icmp_echo(
        version, data, reply=True, source=destination, destination=source, **numbered
    )


def patched(packet: bytes, offset: int, value: bytes) -> bytes:
    return packet[:offset] + value + packet[offset + len(value) :]


PING = {version: echo_request(*ENDS[version], 1, 2) for version in (4, 6)}


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(b"", id="empty"),
        pytest.param(patched(PING[4], 27, b"\x01"), id="damaged"),
        pytest.param(patched(PING[6], 47, b"\x01"), id="damaged-ipv6"),
        pytest.param(PING[4][:19], id="cut-ipv4-header"),
        pytest.param(PING[4][:27], id="cut-icmp-header"),
        pytest.param(PING[6][:47], id="cut-icmpv6-header"),
        pytest.param(patched(PING[4], 0, b"\x55"), id="neither-4-nor-6"),
        pytest.param(patched(PING[4], 0, b"\x4f"), id="options-beyond-the-end"),
        pytest.param(patched(PING[4], 0, b"\x44"), id="ipv4-header-too-short"),
        pytest.param(patched(PING[4], 9, b"\x11"), id="udp"),
        pytest.param(patched(PING[6], 6, b"\x2c"), id="ipv6-fragment"),
        pytest.param(patched(PING[4], 6, b"\x20\x00"), id="first-fragment"),
        pytest.param(patched(PING[4], 6, b"\x00\x01"), id="last-fragment"),
        pytest.param(patched(PING[4], 20, b"\x00"), id="reply"),
        pytest.param(patched(PING[6], 40, b"\x81"), id="reply-ipv6"),
        pytest.param(echo_request("10.9.0.1", "224.0.0.1", 1, 1), id="multicast"),
        pytest.param(echo_request("fd09::1", "ff02::1", 1, 1), id="multicast-ipv6"),
    ],
)
def test_what_is_not_answered(packet: bytes) -> None:
    assert echo_reply(packet) is None


def test_options_are_kept() -> None:
    source, destination = ENDS[4]
    options = b"\1" * 8
    request = icmp_echo(4, source=source, destination=destination, options=options)
    assert echo_reply(request) == icmp_echo(
        4, reply=True, source=destination, destination=source, options=options
    )


@given(st.binary(max_size=100))
def test_any_bytes(packet: bytes) -> None:
    reply = echo_reply(packet)
    assert reply is None or len(reply) == len(packet)


@pytest.mark.parametrize("ends", [("10.9.0.1", "fd09::1"), ("10.9.0.1", "nobody")])
def test_addresses_that_do_not_fit(ends: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=ends[1]):
        echo_request(*ends, 1, 1)
