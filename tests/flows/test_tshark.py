"""tshark as a judge of what leaves: no checksum in it is wrong."""

from __future__ import annotations

from pathlib import Path

import packets
import pytest
from flow_tables import tcp_frames
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tshark import BAD, GOOD, checksum_states

from aiotun.flows.replies import (
    HOST,
    DatagramWriter,
    echo_reply,
    give_up,
    reset,
    unreachable,
)
from aiotun.flows.translate import Rewrite, addresses_of, locate
from aiotun.offload import gso_split

pytestmark = [pytest.mark.interop, pytest.mark.requires("tshark")]


def test_what_is_rewritten(tmp_path: Path) -> None:
    found: list[bytes] = []

    @settings(
        max_examples=200,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(frame=tcp_frames(), data=st.data())
    def collect(frame: bytes, data: st.DataObject) -> None:
        located = locate(frame)
        assert located is not None
        _, transport, key = located
        new = data.draw(st.binary(min_size=len(key), max_size=len(key)))
        there = Rewrite(key, new).apply(frame, transport)
        assert there is not None
        found.extend(gso_split(there))

    collect()
    states = checksum_states(found, tmp_path / "packets.pcap")
    assert len(states) == len(found)
    assert {state for each in states for state in each} == {GOOD}
    assert {len(each) for each in states} == {1, 2}, "IPv6 has no checksum of its own"


@pytest.mark.parametrize("version", [4, 6])
def test_what_is_made(version: int, tmp_path: Path) -> None:
    """Resets, ICMP, and datagrams, in fragments too."""
    asked = bytes(10) + packets.tcp(version, b"data", flags=packets.PSH)
    located = locate(asked)
    assert located is not None
    _, transport, key = located
    source, destination, _, _ = addresses_of(key)
    ping = packets.icmp_echo(version, b"ping!")[transport - 10 :]
    writer = DatagramWriter(key)
    made = [
        reset(asked, transport, key),
        give_up(key, 7),
        unreachable(asked, key, HOST),
        echo_reply(source, destination, ping),
        *writer.packets(b"", 1500),
        *writer.packets(b"odd", 1500),
    ]
    assert None not in made
    data = bytes(range(256)) * 256
    sizes = [1473, 4001, 65500]
    pieces = [packet for size in sizes for packet in writer.packets(data[:size], 1280)]
    found = [packet for packet in made if packet is not None] + pieces
    states = checksum_states(found, tmp_path / "packets.pcap")
    assert all(GOOD in each for each in states[: len(made)])
    assert BAD not in {state for each in states for state in each}
    own = 1 if version == 4 else 0
    judged = [each for each in states[len(made) :] if len(each) > own]
    assert len(judged) == len(sizes), "one for each that was reassembled"
