from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.processes import MeasurementError
from benchmarks.workloads import METRICS, WORKLOADS, parse_iperf, parse_ping

TCP = {
    "sum_sent": {"bits_per_second": 5e9, "retransmits": 3},
    "sum_received": {"bits_per_second": 4e9},
}
UDP = {
    "sum_sent": {"bits_per_second": 80e6, "packets": 1000, "lost_packets": 0},
    "sum_received": {
        "bits_per_second": 20e6,
        "packets": 1000,
        "lost_packets": 250,
        "seconds": 0.5,
    },
}
BACK = {
    "sum_sent_bidir_reverse": {"bits_per_second": 2e9, "retransmits": 4},
    "sum_received_bidir_reverse": {"bits_per_second": 1e9},
}


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        pytest.param(TCP, {"throughput": 4.0, "retransmissions": 3}, id="tcp"),
        pytest.param({**TCP, **BACK}, {"throughput": 5.0, "retransmissions": 7}, id="both ways"),
        pytest.param(UDP, {"throughput": 0.02, "packets": 1.5, "loss": 25.0}, id="udp"),
    ],
)
def test_iperf(end: dict[str, Any], expected: dict[str, float]) -> None:
    assert parse_iperf(json.dumps({"end": end})) == expected
    assert expected.keys() <= METRICS.keys()


@pytest.mark.parametrize(
    ("output", "message"),
    [
        pytest.param('{"error": "unable to connect"}', "unable to connect", id="error"),
        pytest.param('{"end": {}}', "nothing arrived", id="nothing"),
        pytest.param('{"end": {"sum_received": {}}}', "bits_per_second", id="key missing"),
        pytest.param("{}", "'end'", id="empty"),
        pytest.param("iperf3: interrupt", "not understood", id="no json"),
        pytest.param("", "not understood", id="no output"),
    ],
)
def test_iperf_failed(output: str, message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        parse_iperf(output)


def ping(times: list[str], sent: int) -> str:
    replies = [f"64 bytes from 10.0.0.2: icmp_seq=1 ttl=64 time={time} ms" for time in times]
    end = f"{sent} packets transmitted, {len(times)} received, 20% packet loss, time 10ms"
    return "\n".join([*replies, "", end, "rtt min/avg/max/mdev = 0.090/0.090/0.090/0.010 ms"])


def test_ping() -> None:
    metrics = parse_ping(ping(["0.090", "0.100", "12", "0.110"], 5))
    assert metrics == pytest.approx({"p50": 105.0, "p99": 11643.3, "loss": 20.0})
    assert metrics.keys() <= METRICS.keys()


@pytest.mark.parametrize("output", ["", ping([], 5), ping(["0.1"], 5)])
def test_ping_without_replies(output: str) -> None:
    with pytest.raises(MeasurementError, match="hardly a reply"):
        parse_ping(output)


def test_titles_differ() -> None:
    assert len({workload.title for workload in WORKLOADS.values()}) == len(WORKLOADS)
