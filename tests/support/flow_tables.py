"""A table of connections between clients and a listener that tests play by hand."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

import packets
from hypothesis import strategies as st
from packets import ACK, FIN, PSH, RST, SYN
from strategies import payloads, super_frames, tcp_or_udp

from aiotun.flows.base import Decision, FlowCounters, FlowLimits
from aiotun.flows.table import Connection, ConnectionTable, Gate
from aiotun.flows.translate import locate

__all__ = [
    "ACK",
    "FIN",
    "LISTENER",
    "PEERS",
    "PSH",
    "RST",
    "SYN",
    "TablePlay",
    "packed",
    "tcp_frames",
]

LISTENER = {4: "10.9.0.1", 6: "fd09::1"}
PEERS = {4: ["10.9.0.2", "10.9.0.3"], 6: ["fd09::2"]}
PORT = 40404
CLIENT = {4: "10.1.0.7", 6: "fd01::7"}
SERVER = {4: "203.0.113.5", 6: "2001:db8::5"}


def packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


@st.composite
def tcp_frames(draw: st.DrawFn) -> bytes:
    """A TCP packet, whole or to be segmented, that the kernel may hand out. It has no routing
    header, behind which nothing is found."""
    if draw(st.booleans()):
        frames = super_frames().filter(lambda f: packets.find_transport(f[10:])[0] == 6)
    else:
        whole = payloads(0, 300).flatmap(lambda data: tcp_or_udp(data, protocol=6))
        frames = whole.map(lambda packet: bytes(10) + packet)
    return draw(frames.filter(lambda frame: (locate(frame) or (43,))[0] != 43))


class TablePlay:
    """The table, the packets that it wrote, and what is to be decided."""

    def __init__(self, *, decision: Decision | None = Decision.TAKE, **limits: Any) -> None:
        self.to_client: list[bytes] = []
        self.to_listener: list[bytes] = []
        self.asked: list[Connection] = []
        self.decision = decision
        self.may_report = True
        self.now = 1000.0
        self.counters = FlowCounters()
        self.table = ConnectionTable(
            {
                version: Gate(packed(LISTENER[version]), PORT, tuple(map(packed, PEERS[version])))
                for version in (4, 6)
            },
            FlowLimits(**limits),
            self.counters,
            to_client=self.to_client.append,
            to_listener=self.to_listener.append,
            admit=self._admit,
            may_report=lambda: self.may_report,
        )

    def _admit(self, connection: Connection) -> Decision | None:
        self.asked.append(connection)
        return self.decision

    @property
    def drops(self) -> dict[str, int]:
        return {reason.value: count for reason, count in self.counters.drops.items()}

    def receive(self, packet: bytes, header: bytes = bytes(10)) -> None:
        found = locate(header + packet)
        assert found is not None
        _, transport, key = found
        self.table.receive(header + packet, transport, key, self.now)

    def client(self, flags: int, sport: int = 5000, version: int = 4, **fields: Any) -> bytes:
        """A packet that a client sends: received, and returned."""
        packet = packets.tcp(
            version,
            fields.pop("payload", b""),
            sport=sport,
            dport=80,
            flags=flags,
            source=fields.pop("source", CLIENT[version]),
            destination=fields.pop("destination", SERVER[version]),
            **fields,
        )
        self.receive(packet)
        return packet

    def listener(self, flags: int, to: bytes, version: int = 4, **fields: Any) -> bytes:
        """A packet that the listener sends to where a packet came from: received, and returned."""
        host, port = source_of(to)
        packet = packets.tcp(
            version,
            fields.pop("payload", b""),
            sport=PORT,
            dport=port,
            flags=flags,
            source=LISTENER[version],
            destination=host,
            **fields,
        )
        self.receive(packet)
        return packet

    def open(self, sport: int = 5000, version: int = 4) -> bytes:
        """Shake hands. Returns a packet as the listener has it from this client."""
        self.client(SYN, sport, version)
        syn = self.last(self.to_listener)
        self.listener(SYN | ACK, syn, version)
        self.client(ACK, sport, version)
        return syn

    def hold(self, packet: bytes, held: Callable[[], bool] = lambda: True) -> None:
        """Accept the connection that the listener has this packet of."""
        host, port = source_of(packet)
        assert self.table.accept(packed(host), port, held) is not None

    @staticmethod
    def last(frames: list[bytes]) -> bytes:
        """The packet in the last frame, which is sound."""
        packets.assert_sound(frames[-1][10:])
        return frames[-1][10:]


def source_of(packet: bytes) -> tuple[str, int]:
    start = 12 if packet[0] >> 4 == 4 else 8
    size = 4 if start == 12 else 16
    transport = packets.find_transport(packet)[1]
    host = str(ipaddress.ip_address(packet[start : start + size]))
    return host, int.from_bytes(packet[transport : transport + 2], "big")
