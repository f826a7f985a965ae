"""The kernel as an oracle for `GROTable`: it coalesces what is written to a TUN with IFF_NAPI."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import assume, given
from implementations import Implementation
from kernel import (
    IFF_NAPI,
    IFF_VNET_HDR,
    RawDevice,
    forwarded,
    hold_for_gro,
    is_test_packet,
    kernel_path,
    with_kernel,
)
from packets import ACK, CWR, ECE, FIN, PSH, RST, SYN, UDP, URG, find_transport, icmp_echo, tcp, udp
from strategies import traffic

from aiotun.offload import VirtioNetHeader, gso_split

pytestmark = pytest.mark.requires("uso")
"""What is coalesced of UDP, too, is read as it is."""

HOLD = 10_000_000  # nanoseconds


class KernelGRO:
    """What the kernel's own GRO makes of packets."""

    def __init__(self, devices: tuple[RawDevice, RawDevice]) -> None:
        self._first, self._second = devices

    def coalesce(self, packets: list[bytes]) -> list[bytes]:
        """Frames in the order of delivery, behind a router, with hdr_len left out.

        The kernel says with hdr_len how many bytes it holds in one piece.
        """
        for packet in packets:
            self._first.write(packet)
        frames = self._second.read_until(
            lambda frames: sum(map(count, frames)) >= len(packets),
            lambda frame: is_test_packet(frame[10:]),
            timeout=0.5,
        )
        return [without_hdr_len(frame) for frame in frames]


def without_hdr_len(frame: bytes) -> bytes:
    return frame[:2] + b"\0\0" + frame[4:]


def count(frame: bytes) -> int:
    return len(gso_split(frame))


@pytest.fixture(scope="module")
def kernel_gro() -> Iterator[KernelGRO]:
    with kernel_path(flags_in=IFF_NAPI, flags_out=IFF_VNET_HDR, mtu=16000) as (first, second, ns):
        try:
            ns.run(hold_for_gro, first.name, HOLD)
        except PermissionError:
            pytest.skip("the kernel lets nobody hold packets for GRO in a user namespace")
        yield KernelGRO((first, second))


def segments(number: int, version: int = 4, *, size: int = 100, **fields: Any) -> list[bytes]:
    """TCP in sequence, IPv4 IDs rising."""
    seq = fields.pop("seq", 1)
    first = fields.pop("identification", 1)
    payload = bytes(range(256)) * (size // 256 + 1)
    return [
        tcp(
            version,
            payload[:size],
            seq=(seq + i * size) & 0xFFFFFFFF,
            **({"identification": (first + i) & 0xFFFF} if version == 4 else {}),
            **fields,
        )
        for i in range(number)
    ]


def segment(index: int, version: int = 4, **fields: Any) -> bytes:
    """One of the `segments` with something changed."""
    size = fields.pop("size", 100)
    payload = (bytes(range(256)) * (size // 256 + 1))[:size]
    if version == 4:
        fields.setdefault("identification", 1 + index)
    fields.setdefault("seq", 1 + index * 100)
    return tcp(version, payload, **fields)


def datagrams(number: int, version: int = 4, *, size: int = 100, **fields: Any) -> list[bytes]:
    """UDP, IPv4 IDs rising."""
    return [datagram(i, version, size=size, **fields) for i in range(number)]


def datagram(index: int, version: int = 4, **fields: Any) -> bytes:
    if version == 4:
        fields.setdefault("identification", 1 + index)
    return udp(version, bytes([index & 0xFF]) * fields.pop("size", 100), **fields)


def patched(packet: bytes, offset: int, data: bytes) -> bytes:
    return packet[:offset] + data + packet[offset + len(data) :]


def segments_with_sum_zero(form: bytes) -> list[bytes]:
    """Two segments whose checksum is zero, in one of its two forms."""
    result = []
    for i in range(2):
        fields: dict[str, Any] = {"seq": 1 + i * 100, "identification": i}
        checksum = tcp(4, bytes(100), **fields)[36:38]
        packet = tcp(4, checksum + bytes(98), **fields)
        assert packet[36:38] == b"\0\0"
        result.append(patched(packet, 36, form))
    return result


def datagram_with_sum_zero(index: int) -> bytes:
    """A datagram whose checksum is zero, which UDP writes as 0xFFFF."""
    checksum = udp(4, bytes(100))[26:28]
    packet = udp(4, checksum + bytes(98), identification=1 + index)
    assert packet[26:28] == b"\xff\xff"
    return packet


def headers_with_sum_zero() -> list[bytes]:
    """Two datagrams of the same ID, chosen so that the IPv4 header's checksum is zero."""
    identification = int.from_bytes(datagram(0, identification=0)[10:12], "big")
    packets = [datagram(i, identification=identification) for i in range(2)]
    assert {packet[10:12] for packet in packets} == {b"\0\0"}
    return packets


# Packets; how many of them `GROTable` puts into each frame; the same of the
# kernel, in ascending order, where it differs.
CASES: dict[str, tuple[list[bytes], list[int], list[int] | None]] = {
    "TCP over IPv4": (segments(5), [5], None),
    "TCP over IPv6": (segments(5, 6), [5], None),
    "UDP over IPv4": (datagrams(5), [5], None),
    "UDP over IPv6": (datagrams(5, 6), [5], None),
    "TCP without DF": (segments(3, fragment=0), [3], None),
    "UDP without DF": (datagrams(3, fragment=0), [3], None),
    "UDP, constant ID": (datagrams(3, identification=7), [3], None),
    "UDP, constant ID, without DF": (datagrams(3, identification=7, fragment=0), [1, 1, 1], [3]),
    "TCP, constant ID": ([segment(i, identification=7) for i in range(3)], [1, 1, 1], None),
    "TCP, ID missing": ([segment(0), segment(1, identification=3)], [1, 1], None),
    "UDP, ID missing": ([datagram(0), datagram(1, identification=3)], [1, 1], None),
    "UDP, ID rises, then stays": (
        [datagram(0), datagram(1), datagram(2, identification=2)],
        [2, 1],
        None,
    ),
    "UDP, ID stays, then rises": (
        [datagram(i, identification=i // 2) for i in range(2, 5)],
        [2, 1],
        None,
    ),
    "ID wraps": (segments(3, identification=0xFFFF), [3], None),
    "sequence wraps": (segments(3, seq=0xFFFFFF9C), [3], None),
    "sequence gap": ([segment(0), segment(2, identification=2)], [1, 1], None),
    "twice the same": ([segment(0), segment(0, identification=2)], [1, 1], None),
    "out of order": ([segment(0), segment(2), segment(1), segment(2)], [1, 1, 2], None),
    "short segment ends": (
        [segment(0), segment(1, size=50), segment(1, seq=151, identification=3)],
        [2, 1],
        None,
    ),
    "short datagram ends": ([datagram(0), datagram(1, size=50), datagram(2)], [2, 1], None),
    "longer segment": ([segment(0), segment(1, size=101)], [1, 1], None),
    "longer datagram": ([datagram(0), datagram(1, size=101)], [1, 1], None),
    "PSH ends": ([segment(0), segment(1, flags=ACK | PSH), segment(2), segment(3)], [2, 2], None),
    "PSH at once": ([segment(0, flags=ACK | PSH), segment(1), segment(2)], [1, 2], None),
    "FIN ends": ([segment(0), segment(1, flags=ACK | FIN), segment(2)], [2, 1], None),
    "FIN and PSH": ([segment(0), segment(1, flags=ACK | FIN | PSH)], [2], None),
    "SYN": ([segment(0), segment(1, flags=ACK | SYN), segment(2), segment(3)], [1, 1, 2], None),
    "all SYN": ([segment(i, flags=ACK | SYN) for i in range(2)], [1, 1], None),
    "RST": ([segment(0), segment(1, flags=ACK | RST), segment(2), segment(3)], [1, 1, 2], None),
    "URG": ([segment(0), segment(1, flags=ACK | URG), segment(2), segment(3)], [1, 1, 2], None),
    "CWR first": ([segment(0, flags=ACK | CWR), segment(1), segment(2)], [1, 2], None),
    "CWR later": ([segment(0), segment(1, flags=ACK | CWR), segment(2)], [1, 1, 1], None),
    "all CWR": ([segment(i, flags=ACK | CWR) for i in range(2)], [1, 1], None),
    "all ECE": ([segment(i, flags=ACK | ECE) for i in range(2)], [2], None),
    "ECE later": ([segment(0), segment(1, flags=ACK | ECE)], [1, 1], None),
    "no ACK": ([segment(i, flags=0) for i in range(2)], [2], None),
    "all reserved bits": ([segment(i, flags=0xF00 | ACK) for i in range(2)], [2], None),
    "reserved bit later": ([segment(0), segment(1, flags=0x800 | ACK)], [1, 1], None),
    "urgent pointer without URG": ([segment(0), segment(1, urgent=1)], [1, 1], [2]),
    "acknowledgment": ([segment(0), segment(1, ack=2)], [1, 1], None),
    "window": ([segment(0), segment(1, window=2)], [1, 1], None),
    "TCP options, equal": (segments(3, tcp_options=b"\x08\x0a" + bytes(8)), [3], None),
    "TCP options, other": (
        [segment(i, tcp_options=b"\x08\x0a" + bytes([i]) * 8) for i in range(2)],
        [1, 1],
        None,
    ),
    "TCP options later": ([segment(0), segment(1, tcp_options=b"\x01" * 4)], [1, 1], None),
    "TTL": ([segment(0), segment(1, ttl=63)], [1, 1], None),
    "UDP TTL": ([datagram(0), datagram(1, ttl=63)], [1, 1], None),
    "hop limit": ([segment(0, 6), segment(1, 6, ttl=63)], [1, 1], None),
    "ToS": ([segment(0), segment(1, tos=4)], [1, 1], None),
    "ECN of IP": ([segment(0), segment(1, tos=3)], [1, 1], None),
    "traffic class": ([segment(0, 6), segment(1, 6, tos=4)], [1, 1], None),
    "flow label": ([segment(0, 6), segment(1, 6, flow_label=1)], [1, 1], None),
    "flow labels in turn": (
        [segment(i, 6, seq=1 + i // 2 * 100 + i % 2 * 5000, flow_label=i % 2) for i in range(4)],
        [1, 1, 1, 1],
        [2, 2],
    ),
    "DF later": ([segment(0, fragment=0), segment(1)], [1, 1], None),
    "reserved IPv4 flag": ([segment(i, fragment=0x8000) for i in range(2)], [1, 1], None),
    "pure ACK between": (
        [segment(0), segment(1), tcp(4, seq=201, identification=3), segment(2), segment(3)],
        [2, 1, 2],
        None,
    ),
    "pure ACKs": ([tcp(4, identification=i) for i in range(3)], [1, 1, 1], None),
    "empty datagrams": ([datagram(i, size=0) for i in range(3)], [1, 1, 1], None),
    "empty datagram between": (
        [datagram(0), datagram(1, size=0), datagram(1)],
        [1, 1, 1],
        [1, 2],
    ),
    "IPv4 options": ([segment(i, options=b"\x01" * 4) for i in range(2)], [1, 1], None),
    "IPv6 extension header": (
        segments(3, 6, extensions=[(0, b"\x01\x04\0\0\0\0")]),
        [1, 1, 1],
        [3],
    ),
    "trailing bytes": ([segment(i) + b"\0" for i in range(2)], [1, 1], None),
    "trailing bytes, IPv6": ([segment(i, 6) + b"\0" for i in range(2)], [1, 1], None),
    "bad TCP checksum between": (
        [segment(0), segment(1), patched(segment(2), 36, b"\1\2"), segment(2), segment(3)],
        [2, 1, 2],
        [1, 4],
    ),
    "bad TCP checksum first": ([patched(segment(0), 36, b"\1\2"), segment(1)], [1, 1], None),
    "bad UDP checksum between": (
        [datagram(0), patched(datagram(1), 26, b"\1\2"), datagram(1)],
        [1, 1, 1],
        [1, 2],
    ),
    "UDP without checksum": ([patched(datagram(i), 26, b"\0\0") for i in range(2)], [1, 1], None),
    "UDP without checksum between": (
        [datagram(0), patched(datagram(1), 26, b"\0\0"), datagram(1)],
        [1, 1, 1],
        [1, 2],
    ),
    "IPv4 options between": (
        [segment(0), segment(1, options=b"\x01" * 4), segment(1)],
        [1, 1, 1],
        [1, 2],
    ),
    "trailing bytes between": ([segment(0), segment(1) + b"\0", segment(1)], [1, 1, 1], None),
    "bad IPv4 checksum between": (
        [segment(0), patched(segment(1), 10, b"\1\2"), segment(1)],
        [1, 1, 1],
        [2],
    ),
    "zero written as 0xFFFF": (segments_with_sum_zero(b"\xff\xff"), [1, 1], [2]),
    "UDP without checksum where it is zero": (
        [patched(datagram_with_sum_zero(i), 26, b"\0\0") for i in range(2)],
        [1, 1],
        None,
    ),
    "UDP checksum of zero": ([datagram_with_sum_zero(i) for i in range(2)], [2], None),
    "IPv4 zero written as 0xFFFF": (
        [patched(packet, 10, b"\xff\xff") for packet in headers_with_sum_zero()],
        [1, 1],
        [2],
    ),
    "zero written as 0": (segments_with_sum_zero(b"\0\0"), [2], None),
    "ICMP between": ([segment(0), icmp_echo(4), segment(1)], [2, 1], None),
    "fragment between": (
        [segment(0), udp(4, bytes(16), fragment=0x0001), segment(1)],
        [1, 1, 1],
        [1, 2],
    ),
    "two flows": (
        [segment(i // 2, sport=1000 + i % 2) for i in range(6)],
        [3, 3],
        None,
    ),
    "TCP and UDP of the same ports": (
        [segment(0), datagram(0), segment(1), datagram(1)],
        [2, 2],
        None,
    ),
    "64 datagrams at most": (datagrams(65, size=10), [64, 1], None),
    "64 segments at most": (segments(65, size=10), [64, 1], [65]),
    "64 KiB at most": (segments(50, size=1400), [46, 4], None),
    "64 KiB of IPv6 at most": (segments(50, 6, size=1400), [46, 4], None),
    "64 KiB of UDP at most": (datagrams(50, size=1400), [46, 4], None),
    "exactly 65535 bytes": (segments(5, size=13099), [5], None),
    "one byte more than 65535": (segments(6, size=10916), [5, 1], None),
}


# The same of Linux 6.12 where it differs: it splits a frame that begins with CWR for the device.
OLDER_KERNELS = {"UDP, constant ID, without DF": [1, 1, 1], "CWR first": [1, 1, 1]}


@pytest.mark.parametrize("case", CASES)
def test_merges_as_the_kernel_does(
    case: str, kernel_gro: KernelGRO, offload_impl: Implementation
) -> None:
    packets, ours, kernel = CASES[case]
    frames = offload_impl.GROTable().coalesce(packets)
    assert [count(frame) for frame in frames] == ours
    expected = [kernel or sorted(ours), OLDER_KERNELS.get(case)]
    same = sorted(map(behind_router, merged(frames)))
    # The kernel's timer flushes early now and then, which may leave the same counts.
    for _ in range(5):
        made = kernel_gro.coalesce(packets)
        counts = sorted(map(count, made))
        compared = kernel is None and counts == sorted(ours)
        if counts in expected and not (compared and sorted(merged(made)) != same):
            break
    assert counts in expected
    if compared:
        assert sorted(merged(made)) == same


def merged(frames: list[bytes]) -> list[bytes]:
    return [frame for frame in frames if frame[1]]


def behind_router(frame: bytes) -> bytes:
    return without_hdr_len(frame[:10] + forwarded(frame[10:]))


def test_makes_no_frame_that_the_kernel_would_not(
    kernel_gro: KernelGRO, offload_impl: Implementation
) -> None:
    """And merges no less than the kernel, where the kernel keeps the order of a flow."""

    @with_kernel(max_examples=40)
    @given(packets=traffic())
    def check(packets: list[bytes]) -> None:
        frames = offload_impl.GROTable().coalesce(packets)
        assert len(frames) <= len(kernel_gro.coalesce(packets))
        for frame in merged(frames):
            for _ in range(5):
                made = kernel_gro.coalesce(gso_split(frame))
                if made == [behind_router(frame)]:
                    break
            assert made == [behind_router(frame)]

    check()


def by_flow(packets: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    """Packets with their order in each flow, their IDs left out where these mean nothing."""
    flows: dict[bytes, list[bytes]] = {}
    for packet in packets:
        protocol, transport = find_transport(packet)
        if packet[0] >> 4 == 4 and protocol == UDP and packet[6] & 0x40:
            packet = packet[:4] + b"\0\0" + packet[6:10] + b"\0\0" + packet[12:]
        key = packet[8:transport] if packet[0] >> 4 == 6 else packet[12:transport]
        flows.setdefault(key + bytes([protocol]) + packet[transport : transport + 4], []).append(
            packet
        )
    return flows


def test_what_is_merged_comes_out_of_the_kernel_as_it_was(offload_impl: Implementation) -> None:
    with kernel_path() as (first, second, _):

        @with_kernel(max_examples=100)
        @given(packets=traffic())
        def check(packets: list[bytes]) -> None:
            frames = offload_impl.GROTable().coalesce(packets)
            # Since Linux 6.12 the kernel makes no smaller segments.
            assume(all(VirtioNetHeader.unpack(each).gso_size >= 8 for each in merged(frames)))
            for frame in frames:
                VirtioNetHeader.unpack(frame).check(frame[10:])
                first.write(frame)
            delivered = second.read_until(
                lambda delivered: len(delivered) >= len(packets), is_test_packet, timeout=1.0
            )
            assert by_flow(delivered) == by_flow(map(forwarded, packets))

        check()
