"""python -m benchmarks.endurance: the memory of a forwarder over many packets.

One TCP flow runs through a row's forwarder, two TUN devices, until it carried
the packets; every tenth of them a line tells what is resident (proc(5): VmRSS
and VmHWM). It takes as long as the flow does: 100 million are 1.2 Tbit.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence

from .floors import FLAT
from .network import ADDRESS_B, Network, congestion_control, forwarding
from .processes import Process, prepare
from .rows import ROWS

SEGMENT = 1448
"""Bytes of payload in a packet: an MTU of 1500, IPv4 and TCP with timestamps."""

TENTHS = 10


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.endurance", description=__doc__)
    parser.add_argument("--packets", type=int, default=100_000_000, help="(100 million)")
    parser.add_argument("--row", choices=ROWS, default="packet-uvloop")
    args = parser.parse_args(arguments)
    prepare("netns", "tun", "ip", "ping", "iperf3")
    row = ROWS[args.row]
    total = str(args.packets * SEGMENT * 11 // 10)  # it does not end before us
    with (
        forwarding(row, congestion_control()) as network,
        Process(network.b, "iperf3", "--server", "--forceflush") as server,
    ):
        server.wait_for("listening", timeout=20)
        with Process(network.a, "iperf3", "--client", ADDRESS_B, "--bytes", total) as client:
            growth = _watch(network, client, args.packets)
    print(f"{row.title}: {growth / 1e6:+.2f} MB after the first tenth")
    return 0 if growth <= FLAT else 1


def _watch(network: Network, client: Process, packets: int) -> int:
    """Print as it goes; bytes gained after the first tenth. Raises `MeasurementError`."""
    began = time.monotonic()
    resident = []
    for tenth in range(1, TENTHS + 1):
        wanted = packets * tenth // TENTHS
        while _carried(network) < wanted:
            client.check()
            time.sleep(0.1)
        resident.append(network.forwarder.resident_memory())
        print(
            f"{wanted:13,} packets, {time.monotonic() - began:5.0f} s: "
            f"{resident[-1] / 1e6:.2f} MB resident, "
            f"{network.forwarder.peak_memory() / 1e6:.2f} MB at most",
            flush=True,
        )
    return resident[-1] - resident[0]


def _carried(network: Network) -> int:
    """Packets that the sender's device gave to the forwarder."""
    (link,) = json.loads(network.a.command("ip", "-json", "-stats", "link", "show", "tun0"))
    return int(link["stats64"]["tx"]["bytes"]) // SEGMENT


if __name__ == "__main__":
    sys.exit(main())
