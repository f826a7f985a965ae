"""Throughput of each codec alone: no device, no loop, no socket.

`python -m benchmarks.codecs` prints a table. Counted are the bytes of the IP
packets that go through, not those that a codec adds to them. Stream codecs
decode the packets as reads of a socket bring them: 64 KiB at a time, cut anywhere.
"""

from __future__ import annotations

import os
import timeit
from collections.abc import Callable
from typing import Any

from aiotun.codecs import (
    COBS,
    SLIP,
    AddressFamily,
    CapturedPacket,
    Dpkt,
    Ethernet,
    EthernetFrame,
    IPStream,
    LengthPrefixed,
    PacketCodec,
    PacketInformation,
    Pcap,
    Pcapng,
    Raw,
    RawStream,
    StreamCodec,
    VarintPrefixed,
    VLANTag,
)

from .micro import HEADERS, tcp_packet
from .tables import Table

__all__ = ["throughput"]

SIZES = (128, 1500)
"""Bytes of the packets."""

COUNT = 512
"""Packets in one run."""

READ = 1 << 16
"""Bytes of one read of the stream."""

TIME = 1_700_000_000_000_000_000


def item(codec: PacketCodec[Any] | StreamCodec[Any], packet: bytes) -> Any:
    """The packet as the codec wants it."""
    if isinstance(codec, (Pcap, Pcapng)):
        return CapturedPacket(packet, TIME)
    if isinstance(codec, Ethernet):
        return EthernetFrame(b"\2\0\0\0\0\1", b"\2\0\0\0\0\2", 0x0800, packet, (VLANTag(1),))
    if isinstance(codec, Dpkt):
        return codec.decode(packet)
    return packet


PACKET_CODECS: dict[str, PacketCodec[Any]] = {
    "raw packets": Raw(),
    "packet information (Linux)": PacketInformation(),
    "address family (macOS)": AddressFamily("darwin"),
    "Ethernet, one VLAN tag": Ethernet(),
    "dpkt": Dpkt(),
}

STREAM_CODECS: dict[str, StreamCodec[Any]] = {
    "raw stream": RawStream(),
    "IP": IPStream(),
    "length, 2 bytes": LengthPrefixed(2),
    "length, 4 bytes little-endian": LengthPrefixed(4, "little"),
    "varint": VarintPrefixed(),
    "SLIP": SLIP(),
    "COBS": COBS(),
    "pcap": Pcap(),
    "pcapng": Pcapng(),
    "length, 2 bytes, and packet information": LengthPrefixed(2) | PacketInformation(),
}


def throughput(size: int) -> dict[str, tuple[float, float]]:
    """Gbit/s of encoding and of decoding packets of that size, by the codec's name."""
    packets = [tcp_packet(0, n, os.urandom(size - HEADERS)) for n in range(COUNT)]
    measured: dict[str, tuple[float, float]] = {}
    for name, packet_codec in PACKET_CODECS.items():
        items = [item(packet_codec, packet) for packet in packets]
        wire = list(map(packet_codec.encode, items))
        measured[name] = (
            _gigabits(size, _each(packet_codec.encode, items)),
            _gigabits(size, _each(packet_codec.decode, wire)),
        )
    for name, codec in STREAM_CODECS.items():
        items = [item(codec, packet) for packet in packets]
        buffers = codec.preamble + [part for each in items for part in codec.encode(each)]
        stream = b"".join(buffers)
        reads = [stream[n : n + READ] for n in range(0, len(stream), READ)]
        measured[name] = (
            _gigabits(size, _each(codec.encode, items)),
            _gigabits(size, _decode(codec, reads)),
        )
    return measured


def _each(function: Callable[[Any], object], arguments: list[Any]) -> Callable[[], None]:
    def run() -> None:
        for argument in arguments:
            function(argument)

    return run


def _decode(codec: StreamCodec[Any], reads: list[bytes]) -> Callable[[], None]:
    def run() -> None:
        decoder = codec.decoder()
        for data in reads:
            decoder.feed(data)
        decoder.eof()

    return run


def _gigabits(size: int, run: Callable[[], None]) -> float:
    """Of the best of several runs: the others were disturbed."""
    timer = timeit.Timer(run)
    number, _ = timer.autorange()
    return 8e-9 * size * COUNT * number / min(timer.repeat(3, number))


def table() -> Table:
    measured = {size: throughput(size) for size in SIZES}
    columns = [f"{what}, {size} bytes" for size in SIZES for what in ("encode", "decode")]
    lines = [
        (name, *(f"{rate:.2f}" for size in SIZES for rate in measured[size][name]))
        for name in (*PACKET_CODECS, *STREAM_CODECS)
    ]
    return Table("Codecs, Gbit/s", ("codec", *columns), lines)


if __name__ == "__main__":
    print(table().markdown())
