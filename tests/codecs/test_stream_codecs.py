"""What holds for every stream codec."""

from __future__ import annotations

import copy
import pickle
import time
import tracemalloc
from typing import Any, NamedTuple

import pytest
from decoding import Broken, chunks, decoded, drained, encoded
from hypothesis import given
from hypothesis import strategies as st
from packets import ip, tcp, udp
from strategies import payloads, tcp_or_udp

from aiotun.codecs import (
    COBS,
    LINKTYPE_RAW,
    SLIP,
    CapturedPacket,
    CodecError,
    Ethernet,
    EthernetFrame,
    IPStream,
    LengthDelimited,
    LengthPrefixed,
    PacketCodec,
    PacketInformation,
    Pcap,
    Pcapng,
    Raw,
    RawStream,
    StreamCodec,
    VarintPrefixed,
)


class Case(NamedTuple):
    codec: StreamCodec[Any]
    items: st.SearchStrategy[Any]
    start: bytes = b""
    """What lets random bytes get anywhere."""


def runs(*parts: bytes) -> st.SearchStrategy[bytes]:
    """Bytes with those that mean something to the codec."""
    return st.binary(max_size=300) | st.lists(st.sampled_from(parts), max_size=8).map(b"".join)


anything = st.binary(max_size=300)
ip_packets = payloads(0, 200).flatmap(tcp_or_udp)
captured = st.builds(
    CapturedPacket,
    data=anything,
    time=st.integers(0, (1 << 32) * 10**9 - 1),
    cut_off=st.integers(0, 0xFFFF),
    link_type=st.just(LINKTYPE_RAW),
)

CASES = {
    "1 byte": Case(LengthPrefixed(1), st.binary(max_size=255)),
    "2 bytes": Case(LengthPrefixed(2), anything),
    "3 bytes, little": Case(LengthPrefixed(3, "little"), anything),
    "8 bytes": Case(LengthPrefixed(8), anything, bytes(6)),
    "length behind an offset": Case(LengthPrefixed(2, offset=3), anything),
    "as tokio": Case(LengthDelimited(2), anything),
    "as tokio, adjusted": Case(LengthDelimited(3, length_adjustment=-3), anything),
    "length counts itself": Case(LengthPrefixed(2, adjustment=-2), anything),
    "length of the payload but 4": Case(
        LengthPrefixed(4, "little", adjustment=4), st.binary(min_size=4, max_size=300)
    ),
    "header kept": Case(
        LengthPrefixed(2, offset=1, keep_header=True),
        st.builds(
            lambda x, y: x + len(y).to_bytes(2, "big") + y,
            st.binary(min_size=1, max_size=1),
            anything,
        ),
    ),
    "varint": Case(VarintPrefixed(), anything),
    "IP": Case(IPStream(), ip_packets, b"\x45\0\0\x20"),
    "SLIP": Case(SLIP(), runs(b"\xc0", b"\xdb", b"\xdc", b"\xdd", b"a" * 50).filter(bool)),
    "COBS": Case(COBS(), runs(b"\0", b"a", b"a" * 253, b"a" * 254)),
    "a low limit": Case(LengthPrefixed(1, max_frame=100), st.binary(max_size=100)),
    "a low limit, SLIP": Case(SLIP(8), st.binary(min_size=1, max_size=8)),
    "a low limit, COBS": Case(COBS(8), st.binary(max_size=8)),
    "pcap": Case(Pcap(), captured, encoded(Pcap(), [])),
    "pcapng": Case(Pcapng(), captured, encoded(Pcapng(), [])),
    "chained": Case(LengthPrefixed(2) | PacketInformation(), ip_packets, b"\0\x18\0\0\x08\0\x45"),
    "chained twice": Case(COBS() | (PacketInformation() | Raw()), ip_packets),
    "chained frames": Case(
        SLIP() | Ethernet(),
        anything.map(lambda data: EthernetFrame(b"123456", b"abcdef", 0x0800, data)),
    ),
}

every_codec = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@every_codec
@given(data=st.data())
def test_round_trip_in_any_chunks(case: Case, data: st.DataObject) -> None:
    items = data.draw(st.lists(case.items, max_size=8))
    stream = encoded(case.codec, items)
    assert decoded(case.codec, data.draw(chunks(stream))) == items


@every_codec
@given(data=st.data())
def test_every_truncation_is_reported(case: Case, data: st.DataObject) -> None:
    items = data.draw(st.lists(case.items, min_size=1, max_size=3))
    frame = encoded(case.codec, [items[-1]])[len(encoded(case.codec, [])) :]
    complete = encoded(case.codec, items[:-1])
    for size in range(1, len(frame)):
        found = decoded(case.codec, [complete + frame[:size]])
        assert found[: len(items) - 1] == items[:-1]
        rest = found[len(items) - 1 :]
        if isinstance(case.codec, SLIP) or "SLIP" in repr(case.codec):
            assert size == 1 or rest, "END alone begins no packet"
        else:
            (error,) = rest
            assert isinstance(error, Broken)
            assert "ends inside a frame" in error.what
            assert error.offset == len(complete)


@every_codec
@given(data=st.data())
def test_arbitrary_bytes_tell_the_same_in_any_chunks(case: Case, data: st.DataObject) -> None:
    stream = case.start + data.draw(st.binary(max_size=200))
    found = decoded(case.codec, [stream])
    assert decoded(case.codec, data.draw(chunks(stream))) == found
    errors = [each for each in found if isinstance(each, Broken)]
    assert all(0 <= error.offset <= len(stream) for error in errors)


@every_codec
@given(data=st.data())
def test_spoiled_streams_tell_the_same_in_any_chunks(case: Case, data: st.DataObject) -> None:
    stream = bytearray(encoded(case.codec, data.draw(st.lists(case.items, min_size=1, max_size=4))))
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(chunks(bytes(stream)))
    assert decoded(case.codec, cut) == decoded(case.codec, [bytes(stream)])


@every_codec
@given(data=st.data())
def test_a_reader_that_never_drains_is_told_the_same(case: Case, data: st.DataObject) -> None:
    stream = case.start + data.draw(st.binary(max_size=100))
    stream += encoded(case.codec, data.draw(st.lists(case.items, max_size=2)))
    expected = drained(case.codec.decoder(), stream)
    decoder = case.codec.decoder()
    found: list[Any] = []
    for chunk in data.draw(chunks(stream)):
        try:
            found += decoder.feed(chunk)
        except CodecError as error:
            found.append(Broken(error.what, error.offset, error.recoverable))
            if not error.recoverable:
                break
    else:
        found += drained(decoder, b"")
    assert found == expected


@every_codec
@given(data=st.data())
def test_what_is_fed_is_returned_or_unused(case: Case, data: st.DataObject) -> None:
    """A decoder can be left between two frames: another reader finds the rest."""
    items = data.draw(st.lists(case.items, min_size=2, max_size=4))
    stream = encoded(case.codec, items)
    size = data.draw(st.integers(0, len(stream)))
    decoder = case.codec.decoder()
    first = drained(decoder, stream[:size])
    assert first == items[: len(first)]
    assert stream[:size].endswith(decoder.unused)
    assert drained(decoder, stream[size:]) == items[len(first) :]
    assert decoder.unused == b""
    decoder.eof()


@every_codec
def test_codecs_are_values(case: Case) -> None:
    """Immutable, and shared without harm: a decoder has its own state."""
    codec: Any = case.codec
    with pytest.raises(AttributeError):
        codec.max_frame = 1
    assert hash(codec) == hash(copy.copy(codec))
    one, two = codec.decoder(), codec.decoder()
    one.feed(encoded(codec, []) + b"x")
    assert two.unused == b""


def test_whole_chunk_is_the_item() -> None:
    codec = RawStream()
    chunk = b"abc"
    (item,) = codec.decoder().feed(chunk)
    assert item is chunk
    assert codec.encode(b"") == codec.decoder().feed(b"") == []
    codec.decoder().eof()
    assert codec.decoder().unused == b""
    assert codec.encode(chunk) == [chunk]


BIG = 1 << 10

BIG_FRAMES: dict[str, tuple[StreamCodec[Any], Any]] = {
    "length": (LengthPrefixed(4, max_frame=BIG), bytes(BIG)),
    "varint": (VarintPrefixed(BIG), bytes(BIG)),
    "SLIP": (SLIP(BIG), b"\xc0" * BIG),
    "COBS": (COBS(BIG), b"a" * BIG),
    "COBS, zeros": (COBS(BIG), bytes(BIG)),
    "pcap": (Pcap(max_frame=BIG), CapturedPacket(bytes(BIG), 1)),
    "pcapng": (Pcapng(max_frame=BIG), CapturedPacket(bytes(BIG), 1)),
    "chained": (
        LengthPrefixed(4, max_frame=BIG) | Ethernet(),
        EthernetFrame(b"123456", b"abcdef", 0x800, bytes(BIG - 14)),
    ),
}


@pytest.mark.parametrize("name", BIG_FRAMES)
def test_single_bytes_take_linear_time(name: str) -> None:
    """A copy of the frame for each of its bytes would be 128 GiB."""
    codec, item = BIG_FRAMES[name]
    stream = encoded(codec, [item])
    decoder = codec.decoder()
    items = []
    began = time.process_time()
    for place in range(len(stream)):
        items += decoder.feed(stream[place : place + 1])
    assert items == [item]
    assert time.process_time() - began < 10


LIMIT, CHUNK, TOTAL = 1000, 512, 1 << 16

HOSTILE: dict[str, tuple[StreamCodec[Any], bytes, bytes]] = {
    "no delimiter, SLIP": (SLIP(LIMIT), b"", b"a"),
    "no delimiter, COBS": (COBS(LIMIT), b"", b"a"),
    "only delimiters": (COBS(LIMIT), b"", b"\0"),
    "only ESC": (SLIP(LIMIT), b"", b"\xdb\xc0"),
    "endless length": (LengthPrefixed(8, max_frame=LIMIT), b"", b"\xff"),
    "greatest length": (LengthPrefixed(2, max_frame=LIMIT), b"", b"\x03"),
    "endless varint": (VarintPrefixed(LIMIT), b"", b"\x80"),
    "frames of nothing": (LengthPrefixed(1), b"", b"\0"),
    "broken packets": (LengthPrefixed(1) | PacketInformation(), b"", b"\x01\0"),
    "no IP": (IPStream(LIMIT), b"", b"\0"),
    "a skipped block of 4 GiB": (Pcapng(max_frame=LIMIT), encoded(Pcapng(), []), b"\xfc" * 4),
    "no pcap": (Pcap(max_frame=LIMIT), b"", b"\0"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_streams_are_bounded(name: str) -> None:
    """64 KiB go through a decoder that keeps no more than a frame and a chunk."""
    codec, start, pattern = HOSTILE[name]
    chunk = pattern * (CHUNK // len(pattern))
    decoder = codec.decoder()
    drained(decoder, start)
    tracemalloc.start()
    try:
        for _ in range(TOTAL // CHUNK):
            drained(decoder, chunk)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(decoder.unused) <= 2 * LIMIT + CHUNK
    assert kept < TOTAL // 4


@pytest.mark.parametrize(
    ("codec", "frame"),
    [(SLIP(), b"\xdb\xc0"), (COBS(), b"\xff\0"), (LengthPrefixed(1) | PacketInformation(), b"\0")],
    ids=["SLIP", "COBS", "chained"],
)
def test_a_chunk_of_broken_frames_takes_linear_time(codec: StreamCodec[Any], frame: bytes) -> None:
    count = 20_000
    began = time.process_time()
    found = drained(codec.decoder(), frame * count)
    assert len(found) == count
    assert time.process_time() - began < 10


class TestErrors:
    """The order in which a decoder tells, by SLIP, all of whose errors are recoverable."""

    good, bad = b"good\xc0", b"\xdbad\xc0"

    def test_items_before_a_broken_frame_come_first(self) -> None:
        decoder = SLIP().decoder()
        assert decoder.feed(self.good + self.bad + self.good) == [b"good"]
        with pytest.raises(CodecError, match="ESC") as caught:
            decoder.feed(b"")
        assert caught.value.offset == len(self.good)
        assert caught.value.recoverable
        assert decoder.feed(b"") == [b"good"]
        assert decoder.feed(b"") == []
        decoder.eof()

    def test_the_next_call_raises(self) -> None:
        decoder = SLIP().decoder()
        assert decoder.feed(self.bad) == []
        with pytest.raises(CodecError):
            decoder.feed(b"")
        assert decoder.feed(b"") == []

    def test_the_next_call_keeps_its_data(self) -> None:
        decoder = SLIP().decoder()
        decoder.feed(self.bad + b"sp")
        with pytest.raises(CodecError):
            decoder.feed(b"lit\xc0")
        assert decoder.unused == b"split\xc0"
        assert decoder.feed(b"next\xc0") == [b"split", b"next"]

    def test_errors_in_a_row(self) -> None:
        decoder = SLIP().decoder()
        assert decoder.feed(self.bad * 3 + self.good) == []
        for count in range(3):
            with pytest.raises(CodecError) as caught:
                decoder.feed(b"")
            assert caught.value.offset == count * len(self.bad)
        assert decoder.feed(b"") == [b"good"]

    def test_eof_raises_what_waits(self) -> None:
        decoder = SLIP().decoder()
        decoder.feed(self.bad)
        with pytest.raises(CodecError, match="ESC"):
            decoder.eof()
        decoder.eof()

    def test_no_recovery(self) -> None:
        decoder = LengthPrefixed(1, max_frame=3).decoder()
        assert decoder.feed(b"\x01a\x04abcd") == [b"a"]
        for _ in range(3):
            with pytest.raises(CodecError, match="length of 4, not 0 to 3, at byte 2") as caught:
                decoder.feed(b"not taken")
            assert not caught.value.recoverable
        with pytest.raises(CodecError, match="length of 4"):
            decoder.eof()
        assert decoder.unused == b"\x04abcd"

    def test_error_tells_where(self) -> None:
        error = CodecError("wrong", offset=7, recoverable=False)
        assert str(error) == "wrong, at byte 7"
        assert (error.what, error.offset, error.recoverable) == ("wrong", 7, False)
        assert vars(pickle.loads(pickle.dumps(error))) == vars(error)


class TestChained:
    """A stream codec with a packet codec behind it."""

    codec = LengthPrefixed(1) | PacketInformation()
    packet = udp(4, b"data")
    good = b"".join(codec.encode(packet))
    bad = b"\x05\0\0\x08\0\x60"

    def test_a_broken_packet_costs_itself(self) -> None:
        decoder = self.codec.decoder()
        assert decoder.feed(self.good + self.bad + self.good) == [self.packet]
        with pytest.raises(CodecError, match="frame 2: header 00000800") as caught:
            decoder.feed(self.good[:3])
        assert caught.value.recoverable
        assert decoder.unused == self.good[:3]
        assert decoder.feed(self.good[3:]) == [self.packet] * 2
        decoder.eof()

    def test_the_next_call_raises(self) -> None:
        decoder = self.codec.decoder()
        assert decoder.feed(self.bad + self.bad) == []
        for _ in range(2):
            with pytest.raises(CodecError):
                decoder.feed(b"")
        assert decoder.feed(b"") == []

    def test_errors_in_a_row_keep_the_data(self) -> None:
        decoder = self.codec.decoder()
        assert decoder.feed(self.bad + self.bad + self.good) == []
        for data in (self.good[:3], self.good[3:]):
            with pytest.raises(CodecError):
                decoder.feed(data)
        assert decoder.feed(b"") == [self.packet] * 2

    def test_eof_raises_what_waits(self) -> None:
        decoder = self.codec.decoder()
        decoder.feed(self.bad)
        with pytest.raises(CodecError, match="frame 1"):
            decoder.eof()
        decoder.eof()

    def test_a_broken_stream_behind_a_broken_packet(self) -> None:
        decoder = (LengthPrefixed(1, max_frame=100) | PacketInformation()).decoder()
        assert decoder.feed(self.good + self.bad + self.good + b"\xff") == [self.packet]
        with pytest.raises(CodecError, match="frame 2"):
            decoder.feed(b"")
        assert decoder.feed(b"") == [self.packet]
        for _ in range(2):
            with pytest.raises(CodecError, match="length of 255") as caught:
                decoder.feed(b"")
            assert not caught.value.recoverable
        assert decoder.unused == b"\xff"

    def test_a_broken_frame_between(self) -> None:
        codec = SLIP() | PacketInformation()
        good = b"".join(codec.encode(self.packet))
        decoder = codec.decoder()
        assert decoder.feed(good + b"\xdba\xc0" + good) == [self.packet]
        with pytest.raises(CodecError, match="ESC"):
            decoder.feed(b"")
        assert decoder.feed(b"") == [self.packet]

    def test_frames_are_kept_until_they_are_asked_for(self) -> None:
        codec = SLIP() | PacketInformation()
        good, bad = b"".join(codec.encode(self.packet)), b"\0\0\0\0\x45\xc0"
        decoder = codec.decoder()
        assert decoder.feed(bad + good + bad + good + b"\xdba\xc0" + good) == []
        expected: list[object] = [
            "frame 1",
            self.packet,
            "frame 3",
            self.packet,
            "ESC",
            self.packet,
        ]
        for each in expected:
            if isinstance(each, str):
                with pytest.raises(CodecError, match=each):
                    decoder.feed(b"")
            else:
                assert decoder.feed(b"") == [each]

    def test_types(self) -> None:
        """For mypy, which also complains about an ignored error that is none."""
        packets: PacketCodec[EthernetFrame] = Raw() | Ethernet()
        frames: StreamCodec[EthernetFrame] = SLIP() | packets
        assert frames == SLIP() | (Raw() | Ethernet())
        _ = Ethernet() | Raw()  # type: ignore[misc]
        _ = SLIP() | COBS()  # type: ignore[operator]

    def test_repr(self) -> None:
        assert repr(COBS() | Ethernet()) == "COBS(max_frame=65597) | Ethernet()"
        both = PacketInformation() | Ethernet()
        assert repr(both) == "PacketInformation() | Ethernet()"


@pytest.mark.parametrize("version", [4, 6])
def test_max_frame_takes_the_largest_packet(version: int) -> None:
    size = 65535 - 20 if version == 4 else 65535
    packet = ip(version, 253, bytes(size))
    for codec in [IPStream(), SLIP(), COBS(), LengthPrefixed(3), VarintPrefixed()]:
        assert codec.decoder().feed(b"".join(codec.encode(packet))) == [packet]


def test_a_payload_goes_out_as_it_is() -> None:
    packet = tcp(4, b"payload")
    for codec in [LengthPrefixed(2), VarintPrefixed(), IPStream(), SLIP(), RawStream()]:
        assert any(part is packet for part in codec.encode(packet)), codec
    item = CapturedPacket(packet, 1)
    for capture in [Pcap(), Pcapng()]:
        assert any(part is packet for part in capture.encode(item))
