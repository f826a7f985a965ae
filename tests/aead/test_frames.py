"""Frames sealed to trains, trains opened to frames: natively as in steps, and there and back."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import packets
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import spoiled, super_frames, traffic

from aiotun.aead import python, replay
from aiotun.offload import NO_OFFLOAD, GROTable, OffloadError, gso_split
from aiotun.trains import SEGMENTS_MAX, SIZE_MAX, Train, cut

from .test_aead import IMPLEMENTATIONS, KEY, outcome

HEAD = b"\4\0\0\0abcd"
LIMIT = 2**64 - 2**13 - 1
PAD, MTU = 16, 1420

WINDOWS: dict[str, Any] = {
    name: replay.ReplayWindow if name == "python" else impl.ReplayWindow
    for name, impl in IMPLEMENTATIONS.items()
}

frames = st.one_of(
    super_frames(),
    traffic(hostile=True).map(lambda packets: GROTable().coalesce(packets)[-1]),
    st.binary(max_size=80).map(lambda packet: NO_OFFLOAD + packet),
    st.just(NO_OFFLOAD),
)


@pytest.fixture(params=IMPLEMENTATIONS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def sealer(name: str, **settings: Any) -> Any:
    return IMPLEMENTATIONS[name].Sealer(KEY, **settings)


def opener(name: str, **settings: Any) -> Any:
    return IMPLEMENTATIONS[name].Opener(KEY, len(HEAD), **settings)


def messages_of(trains: list[Train]) -> list[bytes]:
    return [message for train in trains for message in cut(*train)]


def flow(count: int, size: int = 1368, **fields: Any) -> list[bytes]:
    """Segments of one TCP connection, in order."""
    return [
        packets.tcp(payload=bytes([n % 251]) * size, seq=1 + n * size, identification=n, **fields)
        for n in range(count)
    ]


# Sealing.


def test_a_super_packet_is_one_train(name: str) -> None:
    segments = flow(44)
    (frame,) = GROTable().coalesce(segments)
    trains, count = sealer(name).seal_frames([frame], HEAD, 7, PAD, MTU)
    ((data, segment),) = trains
    assert (count, segment, len(data)) == (44, 1440, 44 * 1440)
    assert cut(data, segment) == sealer(name).seal(segments, HEAD, 7, PAD, MTU)


def test_trains_go_on_across_frames(name: str) -> None:
    """What is as long as those before it stands behind them, up to what a socket takes."""
    frames = [NO_OFFLOAD + packet for packet in flow(150, 100)]
    frames.insert(100, NO_OFFLOAD + b"short")
    trains, count = sealer(name).seal_frames(frames, HEAD, 0, PAD, MTU)
    assert count == 151
    assert [len(cut(*train)) for train in trains] == [64, 37, 50]
    assert all(len(data) <= SIZE_MAX for data, _ in trains)
    large = [NO_OFFLOAD + packet for packet in flow(100)]
    trains, _ = sealer(name).seal_frames(large, HEAD, 0, PAD, MTU)
    assert [len(cut(*train)) for train in trains] == [45, 45, 10]


def test_a_keepalive(name: str) -> None:
    trains, count = sealer(name).seal_frames([NO_OFFLOAD], HEAD, 0, PAD, MTU)
    assert (trains, count) == ([(sealer(name).seal([b""], HEAD, 0)[0], 32)], 1)
    assert sealer(name).seal_frames([], HEAD, 0) == ([], 0)


@pytest.mark.parametrize(
    ("frame", "wrong"),
    [
        (b"", OffloadError),
        (NO_OFFLOAD[:9], OffloadError),
        (packets.super_packet(packets.tcp(payload=bytes(100)), 10)[:-1], OffloadError),
        (b"\1\0\0\0\0\0\x14\0\x10\0" + bytes(37), OffloadError),
        ("text", TypeError),
        (bytearray(NO_OFFLOAD), TypeError),
        ((NO_OFFLOAD, "tun"), TypeError),
        (NO_OFFLOAD + bytes((1 << 24) + 1), ValueError),
    ],
    ids=[
        "empty",
        "cut header",
        "cut",
        "checksum beyond its end",
        "text",
        "bytearray",
        "tuple",
        "too large",
    ],
)
def test_frames_that_cannot_be_sealed(name: str, frame: Any, wrong: type[Exception]) -> None:
    with pytest.raises(wrong):
        sealer(name).seal_frames([NO_OFFLOAD + b"good", frame], HEAD, 0)


@given(
    st.lists(frames | frames.flatmap(spoiled), max_size=6),
    st.binary(max_size=12),
    st.one_of(st.integers(-2, 3), st.integers(2**64 - 70, 2**64 + 1)),
    st.sampled_from([16, 1, 0, 7]),
    st.sampled_from([1420, 60, 0, -1]),
    st.sampled_from([1, 3]),
)
def test_all_seal_the_same(
    batch: list[bytes], head: bytes, counter: int, pad: int, limit: int, threads: int
) -> None:
    def seal(name: str) -> Any:
        return outcome(sealer(name, threads=threads).seal_frames, batch, head, counter, pad, limit)

    first = seal("python")
    assert all(seal(name) == first for name in IMPLEMENTATIONS)
    if isinstance(first, tuple):
        trains, count = first
        sealed = messages_of(trains)
        contents = [packet for frame in batch for packet in gso_split(frame)]
        assert sealed == sealer("python").seal(contents, head, counter, pad, limit)
        assert count == len(sealed)
        for data, segment in trains:
            many = len(cut(data, segment))
            assert many == 1 or (many <= SEGMENTS_MAX and len(data) <= SIZE_MAX)


# Opening.


def seal_messages(contents: list[bytes], counter: int = 0) -> list[bytes]:
    return python.Sealer(KEY).seal(contents, HEAD, counter, PAD, MTU)


def as_train(messages: list[bytes]) -> Train:
    return b"".join(messages), len(messages[0])


def test_a_train_is_one_super_packet(name: str) -> None:
    segments = flow(40)
    window = WINDOWS[name](LIMIT)
    opened = opener(name).open_frames([as_train(seal_messages(segments))], HEAD, window)
    frames, strays, accepted, size, *dropped = opened
    assert frames == GROTable().coalesce(segments)
    assert (len(frames), strays, accepted, size, dropped) == (1, [], 40, 40 * 1408, [0, 0, 0])
    again = opener(name).open_frames([as_train(seal_messages(segments))], HEAD, window)
    assert tuple(again) == ([], [], 0, 0, 0, 40, 0)


@pytest.mark.parametrize("asked", [False, True])
def test_udp_without_checksums_is_coalesced_on_request(name: str, asked: bool) -> None:
    datagrams = [packets.unsummed(packets.udp(4, bytes([n]) * 100)) for n in range(5)]
    train = as_train(seal_messages(datagrams))
    opened = opener(name).open_frames([train], HEAD, WINDOWS[name](LIMIT), udp_zero_checksum=asked)
    assert opened[0] == GROTable(udp_zero_checksum=asked).coalesce(datagrams)


@pytest.mark.parametrize(("tcp", "udp"), [(True, False), (False, True), (False, False)])
def test_what_the_device_does_not_take_is_not_coalesced(name: str, tcp: bool, udp: bool) -> None:
    contents = [*flow(5, 64), *(packets.udp(payload=bytes(84), identification=n) for n in range(5))]
    opened = opener(name).open_frames(
        [as_train(seal_messages(contents))], HEAD, WINDOWS[name](LIMIT), tcp, udp
    )
    assert len(opened[0]) == (1 if tcp else 5) + (1 if udp else 5)
    assert [packet for frame in opened[0] for packet in gso_split(frame)] == contents


def test_everything_that_is_not_plain(name: str) -> None:
    """Each is left out and counted, and costs the others nothing."""
    good = flow(3, 64)
    contents = [good[0], b"", bytes(112), good[1][:60], good[1], good[2]]
    messages = seal_messages(contents)
    forged = messages[0][:-1] + bytes([messages[0][-1] ^ 1])
    stray = b"another:" + messages[1][8:]
    arrived = [messages[0], forged, *messages[1:], stray, messages[4], messages[0][:23], b"x"]
    window = WINDOWS[name](LIMIT)
    opened = opener(name).open_frames([(each, 0) for each in arrived], HEAD, window)
    assert tuple(opened) == (
        GROTable().coalesce(good),
        [stray, b"x"],
        6,
        4 * 112 + 64,
        2,
        1,
        2,
    )


class Fickle:
    """A size that is another one each time it is asked for."""

    def __init__(self) -> None:
        self._sizes = itertools.cycle([0, len(HEAD) + 8 + 16])

    def __index__(self) -> int:
        return next(self._sizes)


@pytest.mark.parametrize("size", [Fickle(), 1.0, None])
def test_a_size_is_an_int(name: str, size: Any) -> None:
    """There is room for what was counted first: more of it would be written elsewhere."""
    train: Any = (HEAD + bytes(24)) * 1000, size
    with pytest.raises(TypeError):
        opener(name).open_frames([train], HEAD, WINDOWS[name](LIMIT))


@pytest.mark.parametrize(
    ("content", "length"),
    [
        (b"\x45\0\0\x14" + bytes(28), 20),
        (b"\x45\0\0\x20" + bytes(28), 32),
        (b"\x45\0\0\x21" + bytes(28), None),
        (b"\x45\0\0\x13" + bytes(28), None),
        (b"\x44\0\0\x14" + bytes(28), None),
        (b"\x4f\0\0\x3c" + bytes(60), 60),
        (b"\x4f\0\0\x3b" + bytes(60), None),
        (b"\x60\0\0\0\0\0" + bytes(42), 40),
        (b"\x6f\0\0\0\0\x08" + bytes(42), 48),
        (b"\x60\0\0\0\0\x09" + bytes(42), None),
        (b"\x60\0\0\0\0\0" + bytes(26), None),
        (b"\x50\0\0\x14" + bytes(28), None),
    ],
)
def test_where_a_packet_ends(name: str, content: bytes, length: int | None) -> None:
    opened = opener(name).open_frames(
        [as_train(seal_messages([content]))], HEAD, WINDOWS[name](LIMIT)
    )
    assert opened[0] == ([] if length is None else [NO_OFFLOAD + content[:length]])
    assert opened[2:] == (1, opened[3], 0, 0, int(length is None))


def test_a_head_of_another_size(name: str) -> None:
    with pytest.raises(ValueError, match="the head has 8 bytes, not 3"):
        opener(name).open_frames([], b"abc", WINDOWS[name](LIMIT))


def test_a_closed_key(name: str) -> None:
    sealing, opening = sealer(name), opener(name)
    train = as_train(seal_messages([b"x"]))
    for key in (sealing, opening):
        key.close()
    with pytest.raises(ValueError, match="closed"):
        sealing.seal_frames([NO_OFFLOAD], HEAD, 0)
    with pytest.raises(ValueError, match="closed"):
        opening.open_frames([train], HEAD, WINDOWS[name](LIMIT))


@pytest.mark.parametrize(
    "train", ["text", b"bytes", ("text", 1), (b"x",), (b"x", "1"), (bytearray(b"x"), 1)]
)
def test_what_is_no_train(train: Any) -> None:
    for name in set(IMPLEMENTATIONS) - {"python"}:
        with pytest.raises(TypeError):
            opener(name).open_frames([train], HEAD, WINDOWS[name](LIMIT))
        with pytest.raises(TypeError, match="a window is a ReplayWindow of this module"):
            opener(name).open_frames([], HEAD, replay.ReplayWindow(LIMIT))


@st.composite
def arriving(draw: st.DrawFn) -> list[Train]:
    """Messages of a session, most of them in order, in trains of any cut."""
    contents = draw(traffic(hostile=True))
    messages = seal_messages(contents, draw(st.sampled_from([0, 50, LIMIT - 5])))
    change: dict[str, Callable[[bytes], bytes]] = {
        "none": lambda message: message,
        "flip": lambda message: message[:20] + bytes([message[20] ^ 1]) + message[21:],
        "cut": lambda message: message[: draw(st.integers(0, len(message)))],
        "stray": lambda message: b"another:" + message[8:],
    }
    kinds = st.sampled_from(["none"] * 20 + list(change))
    messages = [change[draw(kinds)](message) for message in messages]
    if draw(st.booleans()):
        messages += draw(st.permutations(messages))[:5]
    data = b"".join(messages)
    if draw(st.booleans()):
        return [(message, draw(st.sampled_from([0, -1, 1000]))) for message in messages]
    return [(data, len(messages[0])), (data[:200], draw(st.integers(-1, 210)))]


@given(arriving(), st.tuples(*[st.booleans()] * 3), st.sampled_from([1, 3]))
def test_all_open_the_same(trains: list[Train], coalesced: tuple[bool, ...], threads: int) -> None:
    opened = {}
    for name in IMPLEMENTATIONS:
        window = WINDOWS[name](LIMIT)
        opening = opener(name, threads=threads)
        first, second = (
            tuple(opening.open_frames(trains[start:], HEAD, window, *coalesced)) for start in (0, 1)
        )
        opened[name] = first, second
    assert all(each == opened["python"] for each in opened.values())


@given(st.lists(super_frames(), min_size=1, max_size=3))
def test_there_and_back(batch: list[bytes]) -> None:
    """The packets that the frames stand for come out, in their order."""
    contents = [packet for frame in batch for packet in gso_split(frame)]
    for name in IMPLEMENTATIONS:
        trains, count = sealer(name).seal_frames(batch, HEAD, 0, PAD, MTU)
        opened = opener(name).open_frames(trains, HEAD, WINDOWS[name](LIMIT), False, False)
        assert opened[0] == [NO_OFFLOAD + packet for packet in contents]
        assert opened[2] == count
