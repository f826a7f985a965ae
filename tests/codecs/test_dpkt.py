from __future__ import annotations

import subprocess
import sys
from contextlib import suppress

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packets import ethernet, icmp_echo, tcp, udp
from strategies import payloads, spoiled, tcp_or_udp, traffic

from aiotun.codecs import CodecError, Dpkt, LengthPrefixed
from aiotun.config import Layer


@pytest.mark.parametrize(
    ("layer", "packet", "kind"),
    [
        ("tun", udp(4, b"data"), dpkt.ip.IP),
        ("tun", tcp(6, b"data"), dpkt.ip6.IP6),
        ("tap", ethernet(icmp_echo(4, b"data"), 7), dpkt.ethernet.Ethernet),
    ],
    ids=["IPv4", "IPv6", "Ethernet"],
)
def test_objects(layer: Layer, packet: bytes, kind: type) -> None:
    codec = Dpkt(layer)
    found = codec.decode(packet)
    assert type(found) is kind
    assert codec.encode(found) == packet


@given(packet=payloads(0, 100).flatmap(tcp_or_udp))
def test_round_trip(packet: bytes) -> None:
    assert Dpkt().encode(Dpkt().decode(packet)) == packet


def test_a_packet_changed() -> None:
    packet = Dpkt().decode(udp(4, b"data", ttl=64))
    packet.ttl, packet.sum = 9, 0
    assert Dpkt().encode(packet) == udp(4, b"data", ttl=9)


@pytest.mark.parametrize("version", [4, 6])
def test_which_lengths_are_filled_in(version: int) -> None:
    """Only IPv4's, along with its checksum: so it is documented."""
    packet = Dpkt().decode(udp(version, b"data"))
    packet.data.data, packet.data.sum = b"more data", 0
    if version == 4:
        packet.sum = 0
        assert int.from_bytes(Dpkt().encode(packet)[2:4], "big") == 20 + 8 + 9
    else:
        assert int.from_bytes(Dpkt().encode(packet)[4:6], "big") == 8 + 4
        packet.plen = 8 + 9
    packet.data.ulen, packet.data.sum = 8 + 9, 0
    if version == 4:
        packet.sum = 0
    assert Dpkt().encode(packet) == udp(version, b"more data")


@pytest.mark.parametrize("layer", ["tun", "tap"])
@given(data=st.data())
def test_arbitrary_bytes(layer: Layer, data: st.DataObject) -> None:
    packet = data.draw(
        st.binary(max_size=100)
        | traffic(layer, hostile=True).flatmap(st.sampled_from).flatmap(spoiled)
    )
    with suppress(CodecError):
        Dpkt(layer).decode(packet)


@pytest.mark.parametrize("packet", [b"", b"\x45\0", b"\x60" + bytes(38)], ids=["0", "2", "39"])
def test_truncated(packet: bytes) -> None:
    with pytest.raises(CodecError, match="dpkt does not decode"):
        Dpkt().decode(packet)


def test_unencodable_object() -> None:
    packet = dpkt.ip.IP(src=bytes(4), dst=bytes(4), ttl=999)
    with pytest.raises(CodecError, match="dpkt does not encode"):
        Dpkt().encode(packet)


def test_objects_in_a_stream() -> None:
    codec = LengthPrefixed(2) | Dpkt()
    packet = udp(4, b"data")
    (found,) = codec.decoder().feed(b"".join(codec.encode(dpkt.ip.IP(packet))))
    assert found.udp.data == b"data"


def test_dpkt_is_optional() -> None:
    code = """
import sys
import aiotun.codecs
assert "dpkt" not in sys.modules
sys.modules["dpkt"] = None
try:
    aiotun.codecs.Dpkt()
except ImportError as exc:
    print(exc)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=30
    )
    assert "pip install 'aiotun[dpkt]'" in done.stdout
