"""pcap and pcapng: the format, what others write, and what others read of ours."""

from __future__ import annotations

import io
import struct
import subprocess
from pathlib import Path
from typing import Any

import dpkt
import pytest
from decoding import Broken, chunks, decoded, encoded
from hypothesis import given
from hypothesis import strategies as st
from packets import ethernet, tcp, udp

from aiotun.codecs import (
    LINKTYPE_ETHERNET,
    LINKTYPE_RAW,
    MAX_FRAME,
    CapturedPacket,
    CodecError,
    Pcap,
    Pcapng,
)

TIME = 1_700_000_000_123_456_789
ITEMS = [
    CapturedPacket(udp(4, b"data"), TIME),
    CapturedPacket(tcp(6, b"more data"), TIME + 1, cut_off=100),
    CapturedPacket(b"", TIME + 2),
]

packets = st.lists(
    st.builds(
        CapturedPacket,
        data=st.binary(max_size=100),
        time=st.integers(0, 2**32).map(lambda seconds: seconds * 10**9 // 2),
        cut_off=st.just(0),
        link_type=st.just(LINKTYPE_RAW),
    ),
    max_size=5,
)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    total = struct.pack(order + "I", 12 + len(body))
    return struct.pack(order + "I", kind) + total + body + total


def section(order: str = "<", major: int = 1) -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, major, 0, -1), order)


def interface(link: int = 101, snap: int = 0, options: bytes = b"", order: str = "<") -> bytes:
    return block(1, struct.pack(order + "HHI", link, 0, snap) + options, order)


def enhanced(
    data: bytes, ticks: int = 0, number: int = 0, order: str = "<", options: bytes = b""
) -> bytes:
    fields = number, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data)
    padded = data + bytes(-len(data) % 4)
    return block(6, struct.pack(order + "IIIII", *fields) + padded + options, order)


def obsolete(data: bytes, ticks: int, number: int, order: str = "<") -> bytes:
    fields = number, 7, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data) + 2
    padded = data + bytes(-len(data) % 4)
    return block(2, struct.pack(order + "HHIIII", *fields) + padded, order)


def option(code: int, value: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def comment(size: int) -> bytes:
    return option(1, bytes(size))


BROKEN_PCAPNG = {
    "no section": (interface(), "no section header", 0),
    "no magic": (block(0x0A0D0D0A, bytes(16)), "no section header", 0),
    "version 2": (section(major=2), "version 2", 0),
    "length that is odd": (section() + b"\x05\0\0\0\x0d\0\0\0" + bytes(5), "13 bytes", 28),
    "length of nothing": (section() + bytes(12), "0 bytes", 28),
    "length of a packet": (section() + b"\6\0\0\0\x1c\0\0\0" + bytes(20), "28 bytes", 28),
    "lengths that differ": (
        section() + interface()[:-4] + b"\x18\0\0\0",
        "two lengths",
        28,
    ),
    "no interface": (section() + enhanced(b"abc"), "interface 0", 28),
    "no second interface": (section() + interface() + enhanced(b"", 0, 1), "interface 1", 48),
    "more than the block": (
        section() + interface() + block(6, struct.pack("<IIIII", 0, 0, 0, 5, 5) + b"abcd"),
        "5 bytes: more than its block",
        48,
    ),
    "more than the limit": (section() + interface() + enhanced(bytes(101)), "the limit", 48),
    "lengths that differ behind a packet and options": (
        section() + interface() + enhanced(b"abc", options=comment(5_000))[:-4] + bytes(4),
        "two lengths",
        48,
    ),
    "a packet in a block of 4 GiB": (
        section() + interface() + b"\6\0\0\0\xfc\xff\xff\xff" + bytes(12) + b"\xff" * 8,
        "the limit",
        48,
    ),
    "options without end": (
        section() + b"\1\0\0\0\xfc\xff\xff\xff" + bytes(8) + comment(5_000),
        f"ends inside a frame, of which there are {16 + 5_004} bytes",
        28,
    ),
    "interfaces without end": (section() + interface() * 4097, "4096", 28 + 4096 * 20),
}


class TestPcapng:
    @pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
    def test_byte_order(self, order: str) -> None:
        options = option(2, b"eth0", order) + option(9, b"\x09", order) + option(0, b"", order)
        stream = section(order) + interface(1, 0, options, order) + enhanced(b"abc", TIME, 0, order)
        assert decoded(Pcapng(), [stream]) == [CapturedPacket(b"abc", TIME, 0, 1)]

    @pytest.mark.parametrize(
        ("options", "ticks", "expected"),
        [
            (b"", 1_000_001, 1_000_001_000),
            (option(9, b"\x06"), 1_000_001, 1_000_001_000),
            (option(9, b"\x09"), TIME, TIME),
            (option(9, b"\x03"), 1_001, 1_001_000_000),
            (option(9, b"\x00"), 5, 5_000_000_000),
            (option(9, b"\x0c"), 1_999, 1),
            (option(9, b"\x81"), 3, 1_500_000_000),
            (option(9, b"\xff"), 1 << 63, 0),
            (option(9, b""), 7, 7_000),
            (option(14, struct.pack("<q", -1)) + option(9, b"\x09"), 5, 5 - 10**9),
            (option(14, b"short"), 1, 1000),
            (b"\x09\0", 1, 1000),
        ],
    )
    def test_time(self, options: bytes, ticks: int, expected: int) -> None:
        options += bytes(-len(options) % 4)
        stream = section() + interface(options=options) + enhanced(b"abc", ticks)
        assert decoded(Pcapng(), [stream]) == [CapturedPacket(b"abc", expected)]

    def test_sections_and_interfaces(self) -> None:
        first = section() + interface(1) + interface(101) + enhanced(b"a", number=1)
        second = section(">") + interface(113, order=">") + enhanced(b"b", order=">")
        assert decoded(Pcapng(), [first + second]) == [
            CapturedPacket(b"a", 0, 0, 101),
            CapturedPacket(b"b", 0, 0, 113),
        ]

    def test_other_blocks_are_skipped(self) -> None:
        statistics, names = block(5, bytes(200_000)), block(4, bytes(4))
        stream = section() + names + interface() + statistics + enhanced(b"abc") + names
        assert decoded(Pcapng(), [stream]) == [CapturedPacket(b"abc", 0)]
        *_, error = decoded(Pcapng(), [stream[:-1]])
        assert isinstance(error, Broken)
        assert f"of which there are {len(names) - 1} bytes" in error.what
        assert error.offset == len(stream) - len(names)

    @pytest.mark.parametrize(
        ("snap", "original", "expected"),
        [
            (0, 5, CapturedPacket(b"abcde", 0)),
            (4, 5, CapturedPacket(b"abcd", 0, 1)),
            (9, 5, CapturedPacket(b"abcde", 0)),
        ],
    )
    def test_simple_packets(self, snap: int, original: int, expected: CapturedPacket) -> None:
        data = expected.data + bytes(-len(expected.data) % 4)
        stream = section() + interface(snap=snap) + block(3, struct.pack("<I", original) + data)
        assert decoded(Pcapng(), [stream]) == [expected]

    @pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
    def test_obsolete_packets(self, order: str) -> None:
        stream = section(order) + interface(order=order) + interface(1, order=order)
        stream += obsolete(b"abc", 1 << 32, 1, order)
        assert decoded(Pcapng(), [stream]) == [CapturedPacket(b"abc", 1000 << 32, 2, 1)]
        (error,) = decoded(Pcapng(), [section(order) + obsolete(b"abc", 0, 1, order)])
        assert "interface 1" in error.what

    @pytest.mark.parametrize(
        ("max_frame", "options"),
        [(1514, comment(5_700)), (MAX_FRAME, comment(65_000) * 2), (4, comment(65_000) * 50)],
        ids=["one that is long", "two that are", "without end"],
    )
    def test_long_options(self, max_frame: int, options: bytes) -> None:
        stream = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + options)
        stream += interface(1, options=options + option(9, b"\x09") + options)
        stream += enhanced(b"abcd", 5, options=options) + enhanced(b"efg", 6)
        decoder = Pcapng(max_frame=max_frame).decoder()
        found = []
        for at in range(0, len(stream), 1000):
            found += decoder.feed(stream[at : at + 1000])
            assert len(decoder.unused) < 100  # nothing is kept of them
        decoder.eof()
        assert found == [CapturedPacket(b"abcd", 5, 0, 1), CapturedPacket(b"efg", 6, 0, 1)]

    @given(st.data())
    def test_parts_of_blocks_are_cut_anywhere(self, data: st.DataObject) -> None:
        options = comment(9) + option(9, b"\x09") + option(14, struct.pack("<q", 1)) + comment(3)
        stream = section() + interface(1, options=options + option(0, b"")) + interface(7)
        stream += enhanced(b"abcde", 5, options=comment(20)) + block(5, bytes(20))
        stream += obsolete(b"abc", 6, 1) + block(3, struct.pack("<I", 2) + b"ab\0\0")
        expected = decoded(Pcapng(), [stream])
        assert [item.data for item in expected] == [b"abcde", b"abc", b"ab"]
        size = data.draw(st.integers(0, len(stream)))
        ends = decoded(Pcapng(), [stream[:size]])
        assert decoded(Pcapng(), data.draw(chunks(stream[:size]))) == ends
        assert decoded(Pcapng(), data.draw(chunks(stream))) == expected

    def test_wire_format(self) -> None:
        codec = Pcapng(link_type=1, max_frame=2000)
        options = option(9, b"\x09") + option(0, b"")
        assert codec.preamble == [section(), interface(1, 2000, options)]
        item = CapturedPacket(b"abcde", TIME, link_type=1)
        assert b"".join(codec.encode(item)) == enhanced(b"abcde", TIME)

    @pytest.mark.parametrize(
        ("stream", "what", "offset"), BROKEN_PCAPNG.values(), ids=BROKEN_PCAPNG
    )
    def test_broken_stream(self, stream: bytes, what: str, offset: int) -> None:
        (error,) = decoded(Pcapng(max_frame=100), [stream])
        assert isinstance(error, Broken)
        assert what in error.what
        assert (error.offset, error.recoverable) == (offset, False)

    @given(items=packets)
    def test_dpkt_reads_what_we_write(self, items: list[CapturedPacket]) -> None:
        reader = dpkt.pcapng.Reader(io.BytesIO(encoded(Pcapng(), items)))
        assert reader.datalink() == LINKTYPE_RAW
        assert [(data, round(time * 2)) for time, data in reader] == [
            (item.data, item.time * 2 // 10**9) for item in items
        ]

    @given(items=packets)
    def test_we_read_what_dpkt_writes(self, items: list[CapturedPacket]) -> None:
        file = io.BytesIO()
        writer = dpkt.pcapng.Writer(file, linktype=LINKTYPE_RAW)
        for item in items:
            writer.writepkt(item.data, item.time / 10**9)
        assert decoded(Pcapng(), [file.getvalue()]) == items


BROKEN_PCAP = {
    "no magic": (bytes(24), "no header", 0),
    "another magic": (b"\xd4\xc3\xb2\xa2" + bytes(20), "no header", 0),
    "version 3": (b"\xd4\xc3\xb2\xa1\3\0" + bytes(18), "no header", 0),
    "record too long": (encoded(Pcap(), []) + b"\0" * 8 + b"\x65\0\0\0" * 2, "101 bytes", 24),
}


class TestPcap:
    @pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
    @pytest.mark.parametrize(
        ("magic", "fraction"), [(0xA1B2C3D4, 5), (0xA1B23C4D, 5000)], ids=["us", "ns"]
    )
    def test_variants(self, order: str, magic: int, fraction: int) -> None:
        header = struct.pack(order + "IHHIIII", magic, 2, 4, 0, 0, 65535, 0x14000001)
        record = struct.pack(order + "IIII", 7, fraction, 3, 9) + b"abc"
        expected = CapturedPacket(b"abc", 7_000_005_000, 6, LINKTYPE_ETHERNET)
        assert decoded(Pcap(), [header + record]) == [expected]

    @pytest.mark.parametrize(("stream", "what", "offset"), BROKEN_PCAP.values(), ids=BROKEN_PCAP)
    def test_broken_stream(self, stream: bytes, what: str, offset: int) -> None:
        (error,) = decoded(Pcap(max_frame=100), [stream])
        assert isinstance(error, Broken)
        assert what in error.what
        assert (error.offset, error.recoverable) == (offset, False)

    @given(items=packets)
    def test_dpkt_reads_what_we_write(self, items: list[CapturedPacket]) -> None:
        reader = dpkt.pcap.Reader(io.BytesIO(encoded(Pcap(), items)))
        assert reader.datalink() == LINKTYPE_RAW
        assert [(data, int(time * 10**9)) for time, data in reader] == [
            (item.data, item.time) for item in items
        ]

    @given(items=packets)
    def test_we_read_what_dpkt_writes(self, items: list[CapturedPacket]) -> None:
        file = io.BytesIO()
        writer = dpkt.pcap.Writer(file, linktype=LINKTYPE_RAW)
        for item in items:
            writer.writepkt(item.data, item.time / 10**9)
        assert decoded(Pcap(), [file.getvalue()]) == items


@pytest.mark.parametrize("codec", [Pcap(max_frame=4), Pcapng(max_frame=4)], ids=["pcap", "pcapng"])
@pytest.mark.parametrize(
    "change",
    [
        {"data": b"abcde"},
        {"time": -1},
        {"time": 1 << 64},
        {"cut_off": -1},
        {"cut_off": 1 << 32},
        {"link_type": 1},
    ],
    ids=repr,
)
def test_unencodable_packet(codec: Pcap | Pcapng, change: dict[str, Any]) -> None:
    good = CapturedPacket(b"abcd", 1)
    codec.encode(good)
    with pytest.raises(CodecError):
        codec.encode(good._replace(**change))


@pytest.mark.interop
@pytest.mark.requires("tshark")
@pytest.mark.parametrize("codec", [Pcap, Pcapng])
@pytest.mark.parametrize("link_type", [LINKTYPE_RAW, LINKTYPE_ETHERNET], ids=["tun", "tap"])
def test_tshark_reads_what_we_write(
    codec: type[Pcap | Pcapng], link_type: int, tmp_path: Path
) -> None:
    wrap = ethernet if link_type == LINKTYPE_ETHERNET else bytes
    data = [wrap(udp(4, b"data")), wrap(tcp(6, b"more data"))]
    items = [CapturedPacket(each, TIME + n, 100, link_type) for n, each in enumerate(data)]
    path = tmp_path / "packets"
    path.write_bytes(encoded(codec(link_type), items))
    command = ["tshark", "-n", "-r", str(path), "-T", "fields"]
    for field in ["frame.time_epoch", "frame.cap_len", "frame.len", "udp.dstport", "tcp.dstport"]:
        command += ["-e", field]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=50)
    assert "malformed" not in done.stderr + done.stdout
    assert [line.split() for line in done.stdout.splitlines()] == [
        [f"1700000000.{123456789 + n}", str(len(each)), str(len(each) + 100), "5201"]
        for n, each in enumerate(data)
    ]


@pytest.mark.interop
@pytest.mark.requires("tshark")
@pytest.mark.parametrize(
    ("kind", "codec"), [("pcap", Pcap()), ("nsecpcap", Pcap()), ("pcapng", Pcapng())]
)
def test_we_read_what_tshark_writes(kind: str, codec: Pcap | Pcapng, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.write_bytes(encoded(Pcapng(), ITEMS))
    command = ["tshark", "-r", str(ours), "-F", kind, "-w", str(theirs)]
    subprocess.run(command, check=True, capture_output=True, timeout=50)
    unit = 1000 if kind == "pcap" else 1
    expected = [item._replace(time=item.time // unit * unit) for item in ITEMS]
    assert decoded(codec, [theirs.read_bytes()]) == expected
