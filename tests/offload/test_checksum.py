from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from implementations import Implementation
from packets import ones_sum

from aiotun.errors import FrameHeaderError
from aiotun.offload import complete_checksum, partial_sum, pseudo_header_sum


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"", 0xFFFF, id="empty"),
        pytest.param(b"\0\0", 0xFFFF, id="zero"),
        pytest.param(b"\xff\xff", 0, id="the other zero"),
        pytest.param(b"\xff\xff\xff\xff", 0, id="sum of other zeros"),
        pytest.param(b"\x01", 0xFEFF, id="odd byte is the high half"),
        pytest.param(bytes.fromhex("0001f203f4f5f6f7"), 0x220D, id="RFC 1071 section 3"),
        pytest.param(
            bytes.fromhex("4500 0073 0000 4000 4011 0000 c0a80001 c0a800c7"), 0xB861, id="IPv4"
        ),
    ],
)
def test_known_sums(offload_impl: Implementation, data: bytes, expected: int) -> None:
    assert offload_impl.checksum(data) == expected


@given(data=st.binary(max_size=2000), initial=st.integers(0, 0xFFFFFFFF))
def test_equals_the_sum_of_words(offload_impl: Implementation, data: bytes, initial: int) -> None:
    assert offload_impl.checksum(data, initial) == ones_sum(data, initial) ^ 0xFFFF
    assert partial_sum(data, initial) == ones_sum(data, initial)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 65535])
def test_any_buffer_of_any_size(
    offload_impl: Implementation, kind: Callable[[bytes], Any], size: int
) -> None:
    data = bytes(i * 7 & 0xFF for i in range(size))
    assert offload_impl.checksum(kind(data)) == ones_sum(data) ^ 0xFFFF


@given(first=st.binary(max_size=100), second=st.binary(max_size=100))
def test_goes_on_from_a_partial_sum(
    offload_impl: Implementation, first: bytes, second: bytes
) -> None:
    first += bytes(len(first) % 2)
    assert offload_impl.checksum(second, partial_sum(first)) == offload_impl.checksum(
        first + second
    )


@pytest.mark.parametrize("size", [8, 32])
def test_pseudo_header(size: int) -> None:
    addresses = bytes(range(size))
    assert pseudo_header_sum(addresses, 17, 0x1_0005) == ones_sum(addresses, 17 + 0x1_0005)


def test_completes_a_partial_checksum() -> None:
    packet = bytes(range(20)) + b"\x12\x34" + bytes(5)
    done = complete_checksum(packet, 18, 2)
    assert done[:20] == packet[:20]
    assert done[22:] == packet[22:]
    assert done[20:22] == (ones_sum(packet[18:]) ^ 0xFFFF).to_bytes(2, "big")


def test_completes_to_the_zero_that_udp_allows() -> None:
    assert complete_checksum(b"\xff\xff\0\0", 0, 2) == b"\xff\xff\xff\xff"


@pytest.mark.parametrize(("start", "offset"), [(0, 3), (3, 0), (4, 0), (65535, 65535)])
def test_refuses_a_checksum_outside_the_packet(start: int, offset: int) -> None:
    with pytest.raises(FrameHeaderError, match="outside"):
        complete_checksum(bytes(4), start, offset)
