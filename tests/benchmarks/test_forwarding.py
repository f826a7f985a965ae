"""The harness on real devices, one short measurement each."""

from __future__ import annotations

import socket

import pytest

from benchmarks import endurance
from benchmarks.network import (
    allowed_congestion_controls,
    congestion_control,
    forwarding,
)
from benchmarks.processes import MeasurementError
from benchmarks.rows import ROWS
from benchmarks.workloads import METRICS, WORKLOADS

pytestmark = [
    pytest.mark.interop,
    pytest.mark.requires("tun", "netns", "ip", "ping", "iperf3"),
]


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_workload_through_our_forwarder(workload: str) -> None:
    with forwarding(ROWS["packet-asyncio"], congestion_control()) as network:
        metrics = WORKLOADS[workload].measure(network, 1)
    assert metrics
    assert metrics.keys() <= METRICS.keys()
    assert all(value >= 0 for value in metrics.values())


@pytest.mark.parametrize(
    "row", [name for name, row in ROWS.items() if row.ours and row.missing() is None]
)
def test_our_rows_forward(row: str) -> None:
    with forwarding(ROWS[row], congestion_control()) as network:
        assert network.forwarder.peak_memory() > 0


@pytest.mark.parametrize("name", ["reno", *{congestion_control()} - {"reno"}])
def test_the_senders_congestion_control(name: str) -> None:
    assert name in allowed_congestion_controls()
    with forwarding(ROWS["packet-asyncio"], name) as network:
        for namespace in (network.a, network.b):
            with namespace.run(socket.socket) as sock:
                used = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
            assert used.rstrip(b"\0") == name.encode()


def test_a_forwarder_that_fails_says_why() -> None:
    row = ROWS["packet-asyncio"]
    broken = type(row)(row.program, row.title, ("no-such-mode",))
    with pytest.raises(MeasurementError, match="no-such-mode"), forwarding(broken, "reno"):
        pass


def test_endurance(capsys: pytest.CaptureFixture[str]) -> None:
    assert endurance.main(["--packets", "50000", "--row", "packet-asyncio"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == endurance.TENTHS + 1
    assert "50,000 packets" in lines[-2]
