"""tshark decrypts what is on the wire with the keys that one side logs, whichever it is."""

from __future__ import annotations

import subprocess
from ipaddress import ip_network
from pathlib import Path

import packets
import pytest

from aiotun import Datagram
from aiotun.codecs import CapturedPacket, Pcap
from aiotun.testing.ping import echo_request
from aiotun.wireguard.config import PeerConfig
from aiotun.wireguard.core.tunnel import Tunnel
from aiotun.wireguard.keys import generate_private_key

pytestmark = [pytest.mark.interop, pytest.mark.requires("tshark")]

HERE, THERE = "192.0.2.1", "192.0.2.2"
PSK = bytes(range(32))
EVERYTHING = (ip_network("0.0.0.0/0"), ip_network("::/0"))

FIELDS = ("wg.type", "wg.handshake_ok", "icmp.seq", "icmpv6.echo.sequence_number")


def on_the_wire(tunnels: dict[str, Tunnel]) -> list[bytes]:
    """A handshake and three pings in each direction, as IP packets."""
    tunnels[HERE].set_peer(
        PeerConfig(tunnels[THERE].public_key, PSK, None, EVERYTHING), 0, (THERE, 51820)
    )
    tunnels[THERE].set_peer(PeerConfig(tunnels[HERE].public_key, PSK, None, EVERYTHING), 0)
    seen: list[bytes] = []

    def deliver(source: str) -> None:
        for (destination, *_), _, _, datagrams in tunnels[source].take_datagrams():
            for data in datagrams:
                addresses = {"source": source, "destination": destination}
                seen.append(packets.udp(4, data, sport=51820, dport=51820, **addresses))
                datagram = Datagram(data, (source, 51820), None, 0)
                tunnels[destination].datagrams_received([datagram], 0)
            deliver(destination)

    for number in range(3):
        for source, tunnel in tunnels.items():
            one = echo_request("10.0.0.1", "10.0.0.2", 1, number)
            other = echo_request("fd00::1", "fd00::2", 1, number, bytes(1000))
            tunnel.packets_from_device([one, other], 0)
            deliver(source)
    return seen


@pytest.mark.parametrize("logging", [HERE, THERE, None], ids=["initiator", "responder", "nobody"])
def test_decrypted(logging: str | None, tmp_path: Path) -> None:
    lines: list[str] = []
    tunnels = {
        side: Tunnel(generate_private_key(), keylog=lines.append if side == logging else None)
        for side in (HERE, THERE)
    }
    pcap, keylog = tmp_path / "packets.pcap", tmp_path / "keys"
    captured = [CapturedPacket(packet, 10**9) for packet in on_the_wire(tunnels)]
    codec = Pcap()
    pcap.write_bytes(
        b"".join([*codec.preamble, *(b"".join(codec.encode(each)) for each in captured)])
    )
    keylog.write_text("".join(f"{line}\n" for line in lines))

    command = ["tshark", "-n", "-r", str(pcap), "-o", f"wg.keylog_file:{keylog}", "-T", "fields"]
    for field in FIELDS:
        command += ["-e", field]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=50)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == ["1", "2", *["4"] * 12]
    if logging is None:
        assert not any(cell for row in rows for cell in row[1:])
    else:
        assert rows[1][1] in ("1", "True")  # the latter from Wireshark 4.6 on
        pings = [pair for n in "012" for pair in 2 * [[n, ""], ["", n]]]
        assert [row[2:] for row in rows[2:]] == pings
