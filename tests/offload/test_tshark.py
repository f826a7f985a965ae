"""tshark as a judge of checksums."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from implementations import Implementation
from packets import tcp
from strategies import super_frames, traffic
from tshark import BAD, GOOD, checksum_states


@pytest.mark.interop
@pytest.mark.parametrize("merged_before", [False, True], ids=["split", "coalesced and split"])
def test_no_bad_checksum(offload_impl: Implementation, merged_before: bool, tmp_path: Path) -> None:
    packets: list[bytes] = []

    @settings(
        max_examples=100,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def collect(data: st.DataObject) -> None:
        if merged_before:
            frames = offload_impl.GROTable().coalesce(data.draw(traffic()))
        else:
            frames = [data.draw(super_frames())]
        packets.extend(itertools.chain.from_iterable(map(offload_impl.gso_split, frames)))

    collect()
    states = checksum_states(packets, tmp_path / "packets.pcap")
    assert len(states) == len(packets)
    assert {state for each in states for state in each} == {GOOD}
    assert {len(each) for each in states} >= {1, 2}, "IPv6 has no checksum of its own"


@pytest.mark.interop
def test_tshark_sees_a_bad_checksum(tmp_path: Path) -> None:
    packet = tcp(4, b"data")
    assert checksum_states([packet[:-1] + b"b"], tmp_path / "bad.pcap") == [[GOOD, BAD]]
