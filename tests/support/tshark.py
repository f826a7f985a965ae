"""tshark as a judge of checksums."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import dpkt

__all__ = ["BAD", "GOOD", "checksum_states"]

LINKTYPE_RAW = 101

LAYERS = ["ip", "tcp", "udp", "icmp", "icmpv6"]
CHECKED = ["ip", "tcp", "udp"]
"""Those that are looked at on request alone."""

BAD, GOOD = "0", "1"


def checksum_states(packets: list[bytes], path: Path) -> list[list[str]]:
    """For each packet the state of the checksums that it has; tshark reassembles fragments."""
    buffer = io.BytesIO()
    writer = dpkt.pcap.Writer(buffer, linktype=LINKTYPE_RAW, snaplen=65535)
    for packet in packets:
        writer.writepkt(packet, ts=0)
    path.write_bytes(buffer.getvalue())
    command = ["tshark", "-n", "-r", str(path), "-T", "fields"]
    for layer in LAYERS:
        command += ["-e", f"{layer}.checksum.status"]
    for layer in CHECKED:
        command += ["-o", f"{layer}.check_checksum:TRUE"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=50)
    return [line.replace(",", " ").split() for line in done.stdout.splitlines()]
