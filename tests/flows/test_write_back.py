"""What C writes back by itself, rewritten, is what the table in Python writes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import Any

import packets
import pytest
from far import Far, close_at_once, use
from flow_tables import ACK, FIN, LISTENER, PEERS, PSH, RST, SYN, TablePlay, tcp_frames
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from implementations import IMPLEMENTATIONS
from strategies import spoiled

import aiotun
from aiotun.flows.backend import locate
from aiotun.flows.table import FIRST_PORT
from aiotun.offload import NO_OFFLOAD
from aiotun.offload.headers import TCP

pytestmark = pytest.mark.requires("native")

CLIENTS = {4: ("10.1.0.7", "203.0.113.5"), 6: ("fd01::7", "2001:db8::5")}
PORT = 40404


def frame(
    version: int, by: str, flags: int, number: int, size: int = 0, gso_size: int = 0, **more: Any
) -> bytes:
    """A packet of connection `number`, as its client or the listener sends it."""
    client, destination = CLIENTS[version]
    ends: dict[str, Any]
    if by == "client":
        ends = {"source": client, "destination": destination, "sport": 5000 + number, "dport": 80}
    else:
        ends = {"source": LISTENER[version], "destination": PEERS[version][0]}
        ends |= {"sport": PORT, "dport": FIRST_PORT + number}
    packet = packets.tcp(version, bytes(size), flags=flags, **ends, **more)
    if gso_size and size > gso_size:
        return packets.super_packet(packet, gso_size)
    return NO_OFFLOAD + packet


def handshake(version: int) -> list[bytes]:
    return [
        frame(version, "client", SYN, 0),
        frame(version, "listener", SYN | ACK, 0),
        frame(version, "client", ACK, 0),
    ]


frames = st.one_of(
    *[
        st.builds(
            frame,
            st.sampled_from([4, 6]),
            st.sampled_from(["client", "listener"]),
            flags,
            st.sampled_from([0, 0, 0, 1]),
            st.sampled_from([0, 0, 100, 3000, 60_000]),
            st.sampled_from([0, 1000]),
        )
        for flags in [
            *[st.sampled_from([ACK, ACK, PSH | ACK, ACK | 0x20])] * 3,
            st.sampled_from([SYN, SYN | ACK, FIN | ACK, RST, RST | ACK]),
        ]
    ],
    tcp_frames(),
    st.just(frame(4, "client", ACK, 0, 50)).flatmap(spoiled).filter(len),
    st.just(frame(6, "client", ACK, 0, 50, extensions=[(60, bytes(6))] * 3)),
    st.just(frame(6, "client", ACK, 0, 50, extensions=[(60, bytes(254))])),
    st.binary(min_size=1, max_size=60),
)
steps = st.one_of(
    st.lists(frames, min_size=1, max_size=6),
    st.sampled_from(["take", "expire"]),
)


class OfTable(aiotun.PacketProtocol):
    """Gives the table what is TCP, and writes back what that returns."""

    def __init__(self, play: TablePlay) -> None:
        self.play = play
        self.delivered = 0
        self.told: list[str] = []

    def connection_made(self, transport: aiotun.PacketTransport) -> None:
        def write(frame: bytes) -> None:
            try:
                transport.write_super(aiotun.SuperPacket(frame))
            except aiotun.OffloadError as exc:
                self.told.append(str(exc))

        self.play.table._to_client = self.play.table._to_listener = write
        transport._write_back(self.play.table.paths)

    def super_packets_received(self, packets: list[aiotun.SuperPacket]) -> None:
        self.delivered += len(packets)
        for packet in packets:
            found = locate(packet.frame)
            if found is not None and found[0] == TCP:
                self.play.table.receive(packet.frame, *found[1:], self.play.now)

    def error_received(self, exc: Exception) -> None:
        self.told.append(str(exc))


async def run(script: list[Any], room: int) -> tuple[int, list[Any]]:
    """How many packets the protocol was given, and all that is to be the same. `room` is how many
    bytes the device takes, more or less, before it refuses writes."""
    with contextlib.closing(Far()) as far:
        with socket.socket(fileno=os.dup(far.device.fileno())) as near:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
        protocol = OfTable(TablePlay())
        transport, _ = await aiotun.create_device_endpoint(lambda: protocol, device=far.device)
        transport._unwatch_readable()
        for watch in ("_watch_readable", "_watch_writable"):
            setattr(transport, watch, lambda: None)
        close_at_once(transport)
        table = protocol.play.table
        log: list[Any] = []
        for step in script:
            if step == "expire":
                protocol.play.now += 300
                table.expire(protocol.play.now)
            elif step == "take":
                log.append(far.recv())
                transport._write_ready()
            else:
                for each in step:
                    with contextlib.suppress(BlockingIOError):
                        far.put(each)
                for _ in range(len(step) + 1):  # C may end a batch sooner
                    transport._port.read_ready()
            log.append([(path.plain, path.used) for path in table.paths.values()])
            log.append([connection.state for connection in table.connections()])
        log += [far.recv(), transport.counters, protocol.play.counters, protocol.told]
        transport.abort()
        await transport._closed
        return protocol.delivered, log


def run_with(implementation: str, script: list[Any], room: int = 1 << 18) -> tuple[int, list[Any]]:
    with pytest.MonkeyPatch.context() as patch:
        use(implementation, patch)
        return asyncio.run(run(script, room))


@settings(phases=[Phase.explicit, Phase.reuse, Phase.generate])  # shrinking takes minutes
@given(st.lists(steps, min_size=3, max_size=15), st.sampled_from([4, 6]), st.sampled_from([14, 18]))
def test_it_is_what_the_table_writes(script: list[Any], version: int, bits: int) -> None:
    script = [handshake(version), handshake(10 - version), *script]
    (_, first), (_, second) = (run_with(each, script, 1 << bits) for each in IMPLEMENTATIONS)
    assert first == second


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("by", ["client", "listener"])
def test_what_is_plain_spares_the_way_through_python(version: int, by: str) -> None:
    plain = [frame(version, by, ACK | PSH, 0, size, 1000) for size in (0, 100, 60_000)]
    for script, delivered in (
        ([handshake(version), plain, "take"], 3),
        ([handshake(version)[:2], plain, "take"], 5),
        ([handshake(version), [plain[0], frame(version, by, FIN | ACK, 0), *plain], "take"], 7),
    ):
        assert run_with("native", script)[0] == delivered
        assert run_with("python", script)[0] == sum(map(len, script[:2]))


async def test_one_wake_up_writes_many_large_ones_back() -> None:
    large = [frame(4, "client", ACK, 0, 60_000, 1000)] * 6
    with contextlib.closing(Far()) as far:
        transport, _ = await aiotun.create_device_endpoint(
            lambda: OfTable(TablePlay()), device=far.device
        )
        async with contextlib.aclosing(transport):
            transport._unwatch_readable()
            for each in handshake(4):
                far.put(each)
                transport._port.read_ready()
            before = transport.counters.frames_sent
            for each in large:
                far.put(each)
            transport._port.read_ready()
            assert transport.counters.frames_sent == before + len(large)


@pytest.mark.parametrize("version", [4, 6])
def test_what_is_refused_is_written_later(version: int) -> None:
    large = [frame(version, "client", ACK, 0, 60_000, 1000)] * 3
    script = [handshake(version), *[large, "take"] * 3]
    delivered, native = run_with("native", script, 1 << 14)
    assert native == run_with("python", script, 1 << 14)[1]
    assert delivered > 3
