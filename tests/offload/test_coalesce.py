from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from implementations import Implementation
from packets import (
    ACK,
    CWR,
    ECE,
    FIN,
    PSH,
    RST,
    SYN,
    UDP,
    URG,
    ethernet,
    ethernet_size,
    find_transport,
    icmp_echo,
    tcp,
    udp,
    unsummed,
)
from strategies import traffic

from aiotun.config import Layer
from aiotun.offload import NO_OFFLOAD, VirtioNetHeader, is_candidate

LAYERS: list[Layer] = ["tun", "tap"]
IN_LAYER: dict[Layer, Callable[[bytes], bytes]] = {"tun": bytes, "tap": ethernet}


def tcp_run(number: int, version: int = 4, size: int = 100, port: int = 1000) -> list[bytes]:
    packets = []
    for i in range(number):
        fields: dict[str, Any] = {"identification": i} if version == 4 else {}
        payload = bytes([i & 0xFF]) * size
        packets.append(tcp(version, payload, seq=i * size, sport=port, **fields))
    return packets


def udp_run(number: int, version: int = 4, size: int = 100, port: int = 1000) -> list[bytes]:
    return [udp(version, bytes([i & 0xFF]) * size, sport=port) for i in range(number)]


def split_all(impl: Implementation, frames: Iterable[bytes], layer: Layer) -> list[bytes]:
    return [packet for frame in frames for packet in impl.gso_split(frame, layer)]


def by_flow(packets: Iterable[bytes], layer: Layer) -> dict[bytes, list[bytes]]:
    """Packets with their order in each flow, without the IDs of UDP that mean nothing."""
    flows: dict[bytes, list[bytes]] = {}
    for packet in packets:
        link = ethernet_size(packet) if layer == "tap" else 0
        inner = packet[link:]
        key = b""
        if inner and len(inner) >= {4: 20, 6: 40}.get(inner[0] >> 4, 1 << 16):
            try:
                protocol, transport = find_transport(inner)
            except IndexError:
                protocol, transport = 0, 0
            addresses = inner[12:20] if inner[0] >> 4 == 4 else inner[8:40]
            key = packet[:link] + addresses + bytes([protocol]) + inner[transport : transport + 4]
            if inner[0] == 0x45 and protocol == UDP and inner[6] & 0x40:
                packet = packet[: link + 4] + b"\0\0" + inner[6:10] + b"\0\0" + inner[12:]
        flows.setdefault(key, []).append(packet)
    return flows


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("run", [tcp_run, udp_run])
@pytest.mark.parametrize("version", [4, 6])
def test_one_flow_becomes_one_frame(
    offload_impl: Implementation, version: int, run: type, layer: Layer
) -> None:
    packets: list[bytes] = run(5, version)
    start = 20 if version == 4 else 40
    if layer == "tap":
        packets = [ethernet(packet, 7) for packet in packets]
        start += 18
    (frame,) = offload_impl.GROTable(layer).coalesce(packets)
    header = VirtioNetHeader.unpack(frame)
    header.check(frame[10:], layer)
    assert header == VirtioNetHeader(
        flags=VirtioNetHeader.NEEDS_CSUM,
        gso_type={
            (4, tcp_run): VirtioNetHeader.GSO_TCPV4,
            (6, tcp_run): VirtioNetHeader.GSO_TCPV6,
        }.get((version, run), VirtioNetHeader.GSO_UDP_L4),
        hdr_len=start + (20 if run is tcp_run else 8),
        gso_size=100,
        csum_start=start,
        csum_offset=16 if run is tcp_run else 6,
    )
    parts = offload_impl.gso_split(frame, layer)
    assert by_flow(parts, layer) == by_flow(packets, layer)


def test_nothing(offload_impl: Implementation) -> None:
    assert offload_impl.GROTable().coalesce([]) == []


def test_a_single_packet_comes_as_it_is(offload_impl: Implementation) -> None:
    (packet,) = tcp_run(1)
    assert offload_impl.GROTable().coalesce([packet]) == [NO_OFFLOAD + packet]


@pytest.mark.parametrize(("last", "frames"), [(257, 1), (258, 2)])
def test_a_frame_is_as_large_as_an_ip_packet_can_be(
    offload_impl: Implementation, last: int, frames: int
) -> None:
    packets = [*udp_run(45, size=1450), udp(4, bytes(last), sport=1000)]
    coalesced = offload_impl.GROTable().coalesce(packets)
    assert len(coalesced) == frames
    assert len(coalesced[0]) == 10 + (65535 if frames == 1 else 28 + 45 * 1450)


def test_any_iterable(offload_impl: Implementation) -> None:
    assert len(offload_impl.GROTable().coalesce(iter(tcp_run(3)))) == 1


def test_nothing_is_kept_between_calls(offload_impl: Implementation) -> None:
    table = offload_impl.GROTable()
    first, second = tcp_run(2)
    assert table.coalesce([first]) == [NO_OFFLOAD + first]
    assert table.coalesce([second]) == [NO_OFFLOAD + second]


@pytest.mark.parametrize(
    ("tcp_on", "udp_on", "expected"), [(True, True, 2), (True, False, 4), (False, True, 4)]
)
def test_each_kind_can_be_switched_off(
    offload_impl: Implementation, tcp_on: bool, udp_on: bool, expected: int
) -> None:
    packets = tcp_run(3) + udp_run(3)
    assert len(offload_impl.GROTable("tun", tcp_on, udp_on).coalesce(packets)) == expected
    table = offload_impl.GROTable()
    table.tcp, table.udp = tcp_on, udp_on
    assert len(table.coalesce(packets)) == expected


@pytest.mark.parametrize("layer", LAYERS)
@given(data=st.data())
def test_udp_without_checksums_becomes_what_it_were_with_them(
    offload_impl: Implementation, layer: Layer, data: st.DataObject
) -> None:
    """On request, and what stays a packet of its own stays without."""
    packets = data.draw(traffic())
    frames = offload_impl.GROTable(layer).coalesce(map(IN_LAYER[layer], packets))
    table = offload_impl.GROTable(layer, udp_zero_checksum=True)
    packets = [unsummed(packet) for packet in packets]
    single = [NO_OFFLOAD + IN_LAYER[layer](packet) for packet in packets]
    made = table.coalesce(map(IN_LAYER[layer], packets))
    assert len(made) == len(frames)
    for frame, expected in zip(made, frames, strict=True):
        assert frame == expected if expected[1] else frame in single


BARE = [unsummed(packet) for packet in udp_run(5)]
UNSUMMED: dict[str, tuple[list[bytes], list[int]]] = {
    "a run": (BARE, [5]),
    "among those with checksums": ([*BARE[:2], *udp_run(3), *BARE[:2], *udp_run(1)], [2, 3, 2, 1]),
    "over IPv6": ([packet[:46] + b"\0\0" + packet[48:] for packet in udp_run(2, 6)], [1, 1]),
    "IPv4 checksum wrong": ([packet[:10] + b"\1\2" + packet[12:] for packet in BARE], [1] * 5),
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", UNSUMMED)
def test_udp_without_checksums(offload_impl: Implementation, name: str, layer: Layer) -> None:
    packets, expected = UNSUMMED[name]
    packets = [IN_LAYER[layer](packet) for packet in packets]
    frames = offload_impl.GROTable(layer, udp_zero_checksum=True).coalesce(packets)
    assert [len(offload_impl.gso_split(frame, layer)) for frame in frames] == expected


def test_udp_without_checksums_is_left_alone_unless_asked_for(
    offload_impl: Implementation,
) -> None:
    table = offload_impl.GROTable()
    assert table.coalesce(BARE) == [NO_OFFLOAD + packet for packet in BARE]
    assert not table.udp_zero_checksum
    table.udp_zero_checksum = True
    assert len(table.coalesce(BARE)) == 1
    table.udp = False
    assert len(table.coalesce(BARE)) == 5
    assert [is_candidate(BARE[0], "tun", asked) for asked in (False, True)] == [False, True]


def test_the_frame_stands_where_its_first_packet_stood(offload_impl: Implementation) -> None:
    a, b = tcp_run(3, port=1), tcp_run(3, port=2)
    packets = [a[0], icmp_echo(4), b[0], a[1], b[1], a[2], b[2]]
    frames = offload_impl.GROTable().coalesce(packets)
    assert split_all(offload_impl, frames, "tun") == [*a, icmp_echo(4), *b]


def test_link_addresses_and_tags_are_part_of_the_flow(offload_impl: Implementation) -> None:
    packets = tcp_run(3)
    mixed = [
        ethernet(packets[0]),
        ethernet(packets[1], 7),
        ethernet(packets[1], source=bytes(6)),
        ethernet(packets[1]),
        ethernet(packets[2], 7),
    ]
    frames = offload_impl.GROTable("tap").coalesce(mixed)
    assert split_all(offload_impl, frames, "tap") == [
        mixed[0],
        mixed[3],
        mixed[1],
        mixed[4],
        mixed[2],
    ]


@pytest.mark.parametrize("spoiler", ["options", "checksum", "fragment", "extension", "short"])
def test_what_is_not_merged_is_not_overtaken(offload_impl: Implementation, spoiler: str) -> None:
    version = 6 if spoiler == "extension" else 4
    packets = tcp_run(4, version)
    between = {
        "options": tcp(4, b"x", sport=1000, options=b"\x01" * 4),
        "checksum": tcp(4, b"x", sport=1000)[:-1] + b"y",
        "fragment": udp(4, bytes(16), fragment=0x0001),
        "extension": tcp(6, b"x", extensions=[(0, b"\1\4\0\0\0\0")]),
        "short": tcp(4, b"xx", sport=1000)[:-1],
    }[spoiler]
    frames = offload_impl.GROTable().coalesce([*packets[:2], between, *packets[2:]])
    assert split_all(offload_impl, frames, "tun") == [*packets[:2], between, *packets[2:]]
    assert len(frames) == 3


def changed_tcp(version: int, **changes: Any) -> list[bytes]:
    """A run of three, the second one changed."""
    runs = []
    for i in range(3):
        fields: dict[str, Any] = {"payload": bytes(100), "seq": 1 + i * 100, "tcp_options": b""}
        if version == 4:
            fields["identification"] = i
        runs.append(tcp(version, **(fields | changes if i == 1 else fields)))
    return runs


def with_data_offset(packet: bytes, words: int) -> bytes:
    """TCP's header length changed, its checksum made right again."""
    data = bytearray(packet)
    change = (words - (data[32] >> 4)) << 12
    data[32] = words << 4 | data[32] & 15
    total = int.from_bytes(data[36:38], "big") - change
    data[36:38] = (total % 0xFFFF).to_bytes(2, "big")
    return bytes(data)


def three_udp(**changes: Any) -> list[bytes]:
    same = {"payload": bytes(100)}
    return [udp(4, **(same | changes if i == 1 else same)) for i in range(3)]


ALONE = [1, 1, 1]

RUNS: dict[str, tuple[list[bytes], list[int]]] = {
    "in sequence": (changed_tcp(4), [3]),
    "in sequence, IPv6": (changed_tcp(6), [3]),
    "PSH ends a run": (changed_tcp(4, flags=ACK | PSH), [2, 1]),
    "FIN ends a run": (changed_tcp(4, flags=ACK | FIN), [2, 1]),
    "SYN": (changed_tcp(4, flags=ACK | SYN), ALONE),
    "RST": (changed_tcp(4, flags=ACK | RST), ALONE),
    "URG": (changed_tcp(4, flags=ACK | URG), ALONE),
    "CWR": (changed_tcp(4, flags=ACK | CWR), ALONE),
    "another ECE": (changed_tcp(4, flags=ACK | ECE), ALONE),
    "a gap": (changed_tcp(4, seq=102), ALONE),
    "again": (changed_tcp(4, seq=1), ALONE),
    "another acknowledgement": (changed_tcp(4, ack=2), ALONE),
    "another window": (changed_tcp(4, window=2), ALONE),
    "another TTL": (changed_tcp(4, ttl=2), ALONE),
    "another ToS": (changed_tcp(4, tos=1), ALONE),
    "another DF": (changed_tcp(4, fragment=0), ALONE),
    "another hop limit": (changed_tcp(6, ttl=2), ALONE),
    "another traffic class": (changed_tcp(6, tos=1), ALONE),
    "another flow label": (changed_tcp(6, flow_label=1), ALONE),
    "TCP options": (changed_tcp(4, tcp_options=bytes([1] * 4)), ALONE),
    "an ID out of order": (changed_tcp(4, identification=7), ALONE),
    "the same ID": ([tcp(4, bytes(100), seq=1 + i * 100) for i in range(2)], [1, 1]),
    "nothing": (changed_tcp(4, payload=b""), ALONE),
    "a shorter one ends a run": (changed_tcp(4, payload=bytes(99)), [2, 1]),
    "a longer one": (changed_tcp(4, payload=bytes(101)), ALONE),
    "a header beyond the packet": (
        [with_data_offset(packet, 15) for packet in tcp_run(2, size=30)],
        [1, 1],
    ),
    "a header shorter than TCP's": (
        [
            with_data_offset(tcp(4, bytes(100), seq=1 + i * 104, identification=i), 4)
            for i in range(2)
        ],
        [1, 1],
    ),
    "a header as long as the packet": (
        [with_data_offset(packet, 15) for packet in tcp_run(2, size=40)],
        [1, 1],
    ),
    "the smallest segments": (tcp_run(3, size=1), [3]),
    "more than an IP packet holds": (tcp_run(4, size=20_000), [3, 1]),
    "more than 64": (tcp_run(70, size=10), [64, 6]),
    "datagrams": (three_udp(), [3]),
    "datagrams with rising IDs": ([udp(4, b"data", identification=i) for i in range(3)], [3]),
    "datagrams whose IDs change": (
        [udp(4, b"data", identification=i) for i in (0, 0, 1, 2)],
        [2, 2],
    ),
    "constant IDs without DF": ([udp(4, b"data", fragment=0) for _ in range(2)], [1, 1]),
    "rising IDs without DF": (
        [udp(4, b"data", fragment=0, identification=i) for i in range(2)],
        [2],
    ),
    "a shorter datagram": (three_udp(payload=bytes(99)), [2, 1]),
    "a longer datagram": (three_udp(payload=bytes(101)), [1, 2]),
    "an empty datagram": (three_udp(payload=b""), ALONE),
    "no checksum": (
        [packet[:26] + b"\0\0" + packet[28:] for packet in udp_run(2)],
        [1, 1],
    ),
    "another length in the UDP header": (
        [packet[:24] + b"\0\x09" + packet[26:] for packet in udp_run(2)],
        [1, 1],
    ),
}


@pytest.mark.parametrize(("packets", "expected"), RUNS.values(), ids=RUNS)
def test_what_makes_a_run(
    offload_impl: Implementation, packets: list[bytes], expected: list[int]
) -> None:
    for layer in LAYERS:
        given = [ethernet(packet) for packet in packets] if layer == "tap" else packets
        frames = offload_impl.GROTable(layer).coalesce(given)
        assert [len(offload_impl.gso_split(frame, layer)) for frame in frames] == expected


@given(packets=st.lists(st.binary(max_size=100)), layer=st.sampled_from(LAYERS))
def test_any_bytes_come_out_as_they_went_in(
    offload_impl: Implementation, packets: list[bytes], layer: Layer
) -> None:
    assert offload_impl.GROTable(layer).coalesce(packets) == [NO_OFFLOAD + p for p in packets]


@pytest.mark.parametrize("hostile", [False, True])
@pytest.mark.parametrize("layer", LAYERS)
@given(data=st.data())
def test_no_packet_is_lost_changed_or_overtaken(
    offload_impl: Implementation, layer: Layer, hostile: bool, data: st.DataObject
) -> None:
    packets = data.draw(traffic(layer, hostile))
    frames = offload_impl.GROTable(layer).coalesce(packets)
    for frame in frames:
        if frame[:10] != NO_OFFLOAD:
            VirtioNetHeader.unpack(frame).check(frame[10:], layer)
    parts = split_all(offload_impl, frames, layer)
    assert by_flow(parts, layer) == by_flow(packets, layer)
    # Constant IDs that became rising ones may allow more, so fewer frames are possible.
    again = offload_impl.GROTable(layer).coalesce(parts)
    assert len(again) <= len(frames)
    assert by_flow(split_all(offload_impl, again, layer), layer) == by_flow(parts, layer)


def test_ten_thousand_flows_cost_as_much_a_packet_as_one(offload_impl: Implementation) -> None:
    def measure(packets: list[bytes]) -> float:
        start = time.perf_counter()
        offload_impl.GROTable().coalesce(packets)
        return time.perf_counter() - start

    flows = [udp(4, b"data", sport=i) for i in range(10000)]
    one = min(measure(flows[:1] * 10000) for _ in range(3))
    many = min(measure(flows) for _ in range(3))
    # Cache misses make it up to 5 on some machines; a search through all flows, thousands.
    assert many < 50 * one


CANDIDATES = {
    "TCP": (tcp(4, b"data"), True),
    "TCP with PSH": (tcp(6, b"data", flags=ACK | PSH), True),
    "UDP": (udp(6, b"data"), True),
    "pure ACK": (tcp(4), False),
    "empty datagram": (udp(4), False),
    "ICMP": (icmp_echo(4), False),
    "fragment": (udp(4, bytes(16), fragment=0x2000), False),
    "extension header": (tcp(6, b"data", extensions=[(60, b"\1\4\0\0\0\0")]), False),
    "IPv4 options": (tcp(4, b"data", options=b"\x01" * 4), False),
    "bad checksum": (tcp(4, b"data")[:-1] + b"b", False),
    "bad IPv4 checksum": (b"\x45\x01" + tcp(4, b"data")[2:], False),
    "trailing bytes": (tcp(4, b"data") + b"\0", False),
    "TCP header of 16 bytes": (tcp(4, b"data")[:32] + b"\x40" + tcp(4, b"data")[33:], False),
    "nothing": (b"", False),
    "garbage": (b"garbage", False),
}


@pytest.mark.parametrize("name", CANDIDATES)
def test_candidates(name: str) -> None:
    packet, expected = CANDIDATES[name]
    assert is_candidate(packet) is expected
    if packet and packet[0] >> 4 in (4, 6):
        assert is_candidate(ethernet(packet, 7), "tap") is expected
