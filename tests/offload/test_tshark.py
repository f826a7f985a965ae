"""tshark as a judge of checksums."""

from __future__ import annotations

import io
import itertools
import subprocess
from pathlib import Path

import dpkt
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from implementations import Implementation
from packets import tcp
from strategies import super_frames, traffic

LINKTYPE_RAW = 101

CHECKSUMS = ["ip.checksum.status", "tcp.checksum.status", "udp.checksum.status"]
BAD, GOOD = "0", "1"


def checksum_states(packets: list[bytes], path: Path) -> list[list[str]]:
    """For each packet the state of the checksums that it has."""
    buffer = io.BytesIO()
    writer = dpkt.pcap.Writer(buffer, linktype=LINKTYPE_RAW, snaplen=65535)
    for packet in packets:
        writer.writepkt(packet, ts=0)
    path.write_bytes(buffer.getvalue())
    command = ["tshark", "-n", "-r", str(path), "-T", "fields"]
    for field in CHECKSUMS:
        layer = field.partition(".")[0]
        command += ["-e", field, "-o", f"{layer}.check_checksum:TRUE"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=50)
    return [line.split() for line in done.stdout.splitlines()]


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
