from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packets import ethernet, udp

from aiotun.codecs import CodecError, Ethernet, EthernetFrame, VLANTag

DESTINATION, SOURCE = b"\x02\0\0\0\0\x02", b"\x02\0\0\0\0\x01"

tags = st.builds(
    VLANTag,
    vlan=st.integers(0, 4095),
    priority=st.integers(0, 7),
    drop_eligible=st.booleans(),
    tpid=st.sampled_from([0x8100, 0x88A8]),
)
frames = st.builds(
    EthernetFrame,
    destination=st.binary(min_size=6, max_size=6),
    source=st.binary(min_size=6, max_size=6),
    ethertype=st.integers(0, 0xFFFF).filter(lambda n: n not in (0x8100, 0x88A8)),
    payload=st.binary(max_size=100),
    tags=st.lists(tags, max_size=3).map(tuple),
)


@pytest.mark.parametrize("vlans", [(), (7,), (7, 4095)], ids=["untagged", "tagged", "twice"])
@pytest.mark.parametrize("version", [4, 6])
def test_ip_in_a_frame(version: int, vlans: tuple[int, ...]) -> None:
    packet = udp(version, b"data")
    frame = EthernetFrame(
        destination=DESTINATION,
        source=SOURCE,
        ethertype={4: 0x0800, 6: 0x86DD}[version],
        payload=packet,
        tags=tuple(map(VLANTag, vlans)),
    )
    wire = ethernet(packet, *vlans)
    assert Ethernet().decode(wire) == frame
    assert Ethernet().encode(frame) == wire


def test_fields_of_a_tag() -> None:
    wire = DESTINATION + SOURCE + b"\x88\xa8\xb0\x07" + b"\x81\0\xe0\x08" + b"\x08\0data"
    frame = Ethernet().decode(wire)
    assert frame.tags == (VLANTag(7, 5, True, 0x88A8), VLANTag(8, 7))
    assert (frame.ethertype, frame.payload) == (0x0800, b"data")


def test_length_instead_of_a_type() -> None:
    """IEEE 802.3 with LLC, such as spanning tree."""
    frame = Ethernet().decode(DESTINATION + SOURCE + b"\0\x03\x42\x42\x03")
    assert (frame.ethertype, frame.payload) == (3, b"\x42\x42\x03")


@given(frame=frames)
def test_round_trip(frame: EthernetFrame) -> None:
    assert Ethernet().decode(Ethernet().encode(frame)) == frame


@given(
    packet=st.binary(max_size=40) | st.binary(max_size=20).map(lambda b: bytes(12) + b"\x81\0" + b)
)
def test_what_decodes_is_the_same_again(packet: bytes) -> None:
    with suppress(CodecError):
        frame = Ethernet().decode(packet)
        assert Ethernet().encode(frame) == packet


@pytest.mark.parametrize("size", range(22))
def test_every_truncation(size: int) -> None:
    wire = ethernet(udp(4), 7, 8)[:22]
    Ethernet().decode(wire)
    with pytest.raises(CodecError, match=f"at byte {size}"):
        Ethernet().decode(wire[:size])


GOOD = EthernetFrame(DESTINATION, SOURCE, 0x0800, b"", (VLANTag(7),))


@pytest.mark.parametrize(
    "frame",
    [
        GOOD._replace(destination=b"short"),
        GOOD._replace(source=b"too long"),
        GOOD._replace(ethertype=0x10000),
        GOOD._replace(ethertype=-1),
        GOOD._replace(ethertype=0x8100),
        GOOD._replace(tags=(VLANTag(4096),)),
        GOOD._replace(tags=(VLANTag(-1),)),
        GOOD._replace(tags=(VLANTag(1, priority=8),)),
        GOOD._replace(tags=(VLANTag(1, tpid=0x9100),)),
    ],
    ids=repr,
)
def test_no_such_frame(frame: EthernetFrame) -> None:
    with pytest.raises(CodecError):
        Ethernet().encode(frame)
