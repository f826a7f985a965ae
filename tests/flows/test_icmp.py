"""ICMP errors about flows, and echoes."""

from __future__ import annotations

import errno
import struct

import packets
import pytest
from flow_tables import PEERS, TablePlay, source_of
from hypothesis import given
from hypothesis import strategies as st

from aiotun.errors import PathMTUError
from aiotun.flows.base import FlowAddress
from aiotun.flows.icmp import IcmpError
from aiotun.flows.replies import echo_reply, icmp_packet, icmp_sums_up

ADDR = FlowAddress("10.1.0.7", 5000)


def message(kind: int, code: int, packet: bytes, mtu: int = 0) -> bytes:
    return struct.pack("!BBHI", kind, code, 0, mtu) + packet


@pytest.mark.parametrize(
    ("version", "kind", "code", "number"),
    [
        (4, 3, 0, errno.ENETUNREACH),
        (4, 3, 1, errno.EHOSTUNREACH),
        (4, 3, 2, errno.ENOPROTOOPT),
        (4, 3, 3, errno.ECONNREFUSED),
        (4, 3, 4, errno.EMSGSIZE),
        (4, 11, 0, errno.EHOSTUNREACH),
        (6, 1, 0, errno.ENETUNREACH),
        (6, 1, 1, errno.EACCES),
        (6, 1, 3, errno.EHOSTUNREACH),
        (6, 1, 4, errno.ECONNREFUSED),
        (6, 2, 0, errno.EMSGSIZE),
        (6, 3, 0, errno.EHOSTUNREACH),
    ],
)
def test_what_errors_say(version: int, kind: int, code: int, number: int) -> None:
    mtu = 0xAAAA0000 | 1300 if version == 4 else 1300  # IPv4's has 16 bits (RFC 1191)
    error = IcmpError.parse(version, message(kind, code, packets.udp(version, b"x"), mtu))
    assert error is not None
    exc = error.exception(ADDR)
    assert exc.errno == number
    if number == errno.EMSGSIZE:
        assert isinstance(exc, PathMTUError)
        assert (exc.mtu, exc.addr) == (1300, ADDR)


@pytest.mark.parametrize(
    ("version", "data"),
    [
        (4, message(8, 0, packets.udp(4))),  # no error
        (4, message(5, 0, packets.udp(4))),  # a redirect
        (6, message(128, 0, packets.udp(6))),
        (4, message(3, 3, packets.udp(4)[:27])),
        (4, message(3, 3, b"")),
        (6, message(1, 0, packets.udp(6)[:47])),
        (4, b"\x03\x03"),
        (4, message(3, 3, b"\x4f" + packets.udp(4)[1:])),  # options beyond the end
    ],
)
def test_what_is_no_error(version: int, data: bytes) -> None:
    assert IcmpError.parse(version, data) is None


@given(st.sampled_from([4, 6]), st.integers(0, 255), st.binary(max_size=100))
def test_arbitrary_messages_raise_nothing(version: int, kind: int, data: bytes) -> None:
    error = IcmpError.parse(version, bytes([kind]) + data)
    if error is not None:
        error.exception(ADDR)


@pytest.mark.parametrize("version", [4, 6])
def test_an_error_about_a_connection_as_its_listener_reads_it(version: int) -> None:
    play = TablePlay()
    syn = play.open(version=version)
    own = play.listener(0x10, syn, version, payload=b"too large" * 100)
    sent = play.last(play.to_client)
    kind, code = (3, 4) if version == 4 else (2, 0)
    error = IcmpError.parse(version, message(kind, code, sent[: 28 + 20 * (version == 6)], 1280))
    assert error is not None
    connection = play.asked[0]
    told = error.for_listener(connection)
    head = 20 if version == 4 else 40
    body = told[head:]
    addresses = told[12:20] if version == 4 else told[8:40]
    assert icmp_sums_up(addresses, body)
    assert source_of(told[:head] + bytes(20))[0] == PEERS[version][0]
    assert body[:2] == bytes([kind, code])
    assert body[4:8] == struct.pack("!I", 1280)
    quoted = body[8:]
    assert own.startswith(quoted), "the packet that the listener sent"


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("payload", [b"", b"ping" * 20])
def test_echoes(version: int, payload: bytes) -> None:
    request = packets.icmp_echo(version, payload, identifier=7, sequence=9)
    head = 20 if version == 4 else 40
    addresses = request[12:20] if version == 4 else request[8:40]
    size = len(addresses) // 2
    reply = echo_reply(addresses[:size], addresses[size:], request[head:])
    assert reply == packets.icmp_echo(
        version,
        payload,
        reply=True,
        identifier=7,
        sequence=9,
        source=packets.DESTINATION[version],
        destination=packets.SOURCE[version],
        **({"fragment": 0} if version == 4 else {}),
    )


@pytest.mark.parametrize("version", [4, 6])
def test_what_is_no_request_gets_no_reply(version: int) -> None:
    size = 4 if version == 4 else 16
    for data in (b"", b"\x08", packets.icmp_echo(version, reply=True)[-8:]):
        assert echo_reply(bytes(size), bytes(size), data) is None


@pytest.mark.parametrize("version", [4, 6])
def test_checksums_of_messages(version: int) -> None:
    address = bytes(range(1, 5 if version == 4 else 17))
    packet = icmp_packet(address, address, 1, 2, b"rest", b"body!")
    body = packet[20 if version == 4 else 40 :]
    assert icmp_sums_up(address * 2, body)
    assert not icmp_sums_up(address * 2, body[:-1] + b"?")
