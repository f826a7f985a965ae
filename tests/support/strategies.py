"""Random packets and frames (hypothesis)."""

from __future__ import annotations

import random
from typing import Any

import packets
from hypothesis import strategies as st
from packets import ACK, CWR, ECE, FIN, PSH, TCP, UDP, URG

TCP_OPTIONS = [
    b"",
    b"\x01\x01\x08\x0a" + bytes(range(8)),  # timestamps, as Linux sends them
    b"\x01\x01\x05\x0a" + bytes(8),  # SACK
    bytes([1]) * 40,
]
IPV4_OPTIONS = [b"", b"\x01" * 4, b"\x82\x0b" + bytes(9) + b"\0", b"\x01" * 40]
IPV6_EXTENSIONS: list[list[tuple[int, bytes]]] = [
    [],
    [(0, b"\x01\x04\0\0\0\0")],  # hop-by-hop: padding
    [(60, b"\x01\x0c" + bytes(12))],  # destination options: padding
    [(0, b"\x01\x04\0\0\0\0"), (43, b"\x04\0\0\0\0\0"), (60, b"\x01\x04\0\0\0\0")],
]


def payloads(low: int, high: int) -> st.SearchStrategy[bytes]:
    """Random bytes that cost hypothesis two numbers."""
    return st.builds(
        lambda size, seed: random.Random(seed).randbytes(size),
        st.integers(low, high),
        st.integers(0, 0xFFFF),
    )


@st.composite
def tcp_or_udp(
    draw: st.DrawFn, payload: bytes, *, version: int | None = None, protocol: int | None = None
) -> bytes:
    """A TCP or UDP packet with any legal header fields."""
    version = version or draw(st.sampled_from([4, 6]))
    protocol = protocol or draw(st.sampled_from([TCP, UDP]))
    fields: dict[str, Any] = {
        "ttl": draw(st.integers(2, 255)),
        "tos": draw(st.sampled_from([0, 0x10, 1, 2, 3, 0xFF])),
    }
    if version == 4:
        fields["identification"] = draw(st.integers(0, 0xFFFF))
        fields["fragment"] = draw(st.sampled_from([0x4000, 0]))
        fields["options"] = draw(st.sampled_from(IPV4_OPTIONS))
    else:
        fields["flow_label"] = draw(st.sampled_from([0, 0xFFFFF, 0x12345]))
        fields["extensions"] = draw(st.sampled_from(IPV6_EXTENSIONS))
    if protocol == UDP:
        return packets.udp(version, payload, sport=draw(st.integers(0, 0xFFFF)), **fields)
    flags = draw(
        st.sampled_from([ACK, ACK | PSH, ACK | FIN | PSH, ACK | CWR, ACK | URG, ACK | ECE | CWR])
        | st.integers(0, 0xFFF)
    )
    return packets.tcp(
        version,
        payload,
        seq=draw(st.integers(0, 0xFFFFFFFF)),
        ack=draw(st.integers(0, 0xFFFFFFFF)),
        flags=flags,
        window=draw(st.integers(0, 0xFFFF)),
        urgent=draw(st.sampled_from([0, 1, 0xFFFF])),
        tcp_options=draw(st.sampled_from(TCP_OPTIONS)),
        **fields,
    )


@st.composite
def super_frames(draw: st.DrawFn, layer: str = "tun") -> bytes:
    """A virtio_net_hdr with a packet to be segmented, of at most 64 segments."""
    gso_size = draw(st.sampled_from([1, 2, 536, 1220, 1448, 1460]) | st.integers(1, 2000))
    segments = draw(st.integers(1, 64))
    short = draw(st.integers(0, gso_size - 1))
    size = min(max(segments * gso_size - short, 1), 65535 - 160)
    packet = draw(payloads(size, size).flatmap(tcp_or_udp))
    if layer == "tap":
        packet = packets.ethernet(packet, *draw(st.sampled_from([(), (7,), (7, 8)])))
    return packets.super_packet(packet, gso_size, layer)


def mostly(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    """The usual value four times of five."""
    return st.sampled_from([usual] * (4 * len(others)) + list(others))


@st.composite
def traffic(draw: st.DrawFn, layer: str = "tun", hostile: bool = False) -> list[bytes]:
    """Packets of some flows, most of them in sequence, sound and of one size.

    Hostile traffic also has packets that are broken or in pieces, and UDP without checksums.
    """
    flows: list[dict[str, Any]] = [
        {
            "version": draw(st.sampled_from([4, 6])),
            "protocol": draw(st.sampled_from([TCP, UDP])),
            "port": port,
            "seq": draw(st.sampled_from([1, 0xFFFFFF00])),
            "identification": draw(st.sampled_from([0, 0xFFFE])),
            "fragment": draw(st.sampled_from([0x4000, 0])),
            "step": draw(st.sampled_from([1, 0])),
            "options": draw(st.sampled_from(TCP_OPTIONS)),
            "label": draw(st.sampled_from([0, 0x12345])),
            "unsummed": hostile and draw(st.booleans()),
        }
        for port in range(draw(st.integers(1, 3)))
    ]
    result: list[bytes] = []
    for number in range(draw(st.integers(1, 25))):
        flow = draw(st.sampled_from(flows))
        result.append(_next_packet(draw, flow, number, hostile))
        if draw(mostly(False, True)):
            result.append(packets.icmp_echo(flow["version"]))
        if hostile and draw(mostly(False, True)):
            result.append(draw(spoiled(result[-1])))
    if draw(mostly(False, True)):
        result = draw(st.permutations(result))
    if layer == "tap":
        tags = draw(st.sampled_from([(), (7,), (7, 8)]))
        result = [packets.ethernet(p, *tags) if p and p[0] >> 4 in (4, 6) else p for p in result]
    return result


def _next_packet(draw: st.DrawFn, flow: dict[str, Any], number: int, hostile: bool) -> bytes:
    version = flow["version"]
    # An empty datagram ends the run in our table, and not in the kernel.
    size = draw(mostly(100, 99, 1, 0 if hostile or flow["protocol"] == TCP else 50, 150))
    payload = bytes([number]) * size
    fields: dict[str, Any] = {
        "ttl": draw(mostly(64, 63)),
        "tos": draw(mostly(0, 3)),
        "sport": 1000 + flow["port"],
    }
    if version == 4:
        fields["identification"] = flow["identification"]
        fields["fragment"] = flow["fragment"]
        usual = flow["step"] if flow["protocol"] == UDP and flow["fragment"] else 1
        step = draw(mostly(usual, 1, 2))
        flow["identification"] = (flow["identification"] + step) & 0xFFFF
    else:
        fields["flow_label"] = flow["label"]
    if flow["protocol"] == UDP:
        packet = packets.udp(version, payload, **fields)
        bare = flow["unsummed"] and draw(mostly(True, False))
        return packets.unsummed(packet) if bare else packet
    fields["seq"] = flow["seq"]
    flow["seq"] = (flow["seq"] + size + draw(mostly(0, 1))) & 0xFFFFFFFF
    return packets.tcp(
        version,
        payload,
        flags=draw(mostly(ACK, ACK | PSH, ACK | FIN, ACK | CWR, ACK | ECE, ACK | URG)),
        window=draw(mostly(512, 511)),
        tcp_options=draw(mostly(flow["options"], b"\x01" * 4)),
        **fields,
    )


@st.composite
def spoiled(draw: st.DrawFn, packet: bytes) -> bytes:
    """The packet with bytes changed, cut off or added."""
    changed = bytearray(packet)
    for _ in range(draw(st.integers(0, 3)) if packet else 0):  # one spoiled before may be empty
        position = draw(st.integers(0, min(len(changed), 80) - 1))
        changed[position] = draw(st.integers(0, 255))
    end = draw(st.just(len(changed)) | st.integers(0, len(changed)))
    return bytes(changed[:end]) + draw(st.sampled_from([b"", b"\0", b"\0" * 6]))
