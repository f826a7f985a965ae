"""What C writes of packets in the kernel's memory, in blocks made up here: the same as Python."""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from capture_files import Contents, read
from hypothesis import given
from hypothesis import strategies as st

import aiotun
from aiotun.capturing import Ring, files, linux, recording
from aiotun.capturing.linux import Captured, Take
from aiotun.codecs import LINKTYPE_RAW
from aiotun.native import native

assert sys.platform == "linux"

pytestmark = pytest.mark.requires("native")

BLOCK_HEAD = 48

HEAD = 96
"""Bytes of a packet's header and the address behind it, here: the kernel's are as many or more."""

FIRST_SECOND = 1_700_000_000


@dataclass
class Made:
    """A packet as the kernel shows it."""

    header: bytes
    data: bytes
    missing: int
    outgoing: bool
    tagged: bool
    seconds: int

    def bytes(self, last: bool) -> bytearray:
        size = HEAD + 10 + len(self.data)
        size += -size % 8
        status = linux.TP_STATUS_VLAN_VALID if self.tagged else 0
        made = bytearray(size)
        linux.PACKET.pack_into(
            made,
            0,
            0 if last else size,
            FIRST_SECOND + self.seconds,
            7,
            len(self.data),
            len(self.data) + self.missing,
            status,
            HEAD + 10,
            HEAD + 10,
            0,
            5,
            0,
        )
        made[linux.PACKET_TYPE_OFFSET] = 4 if self.outgoing else 0
        made[HEAD : HEAD + 10 + len(self.data)] = self.header + self.data
        return made


def block(packets: list[Made]) -> bytearray:
    head = bytearray(BLOCK_HEAD)
    linux.BLOCK.pack_into(head, linux.STATUS_OFFSET, 1, len(packets), len(head))
    made = [each.bytes(last=False) for each in packets[:-1]] + [packets[-1].bytes(last=True)]
    return head + b"".join(made)


@pytest.mark.parametrize("order", ["<", ">"], ids=["little-endian", "big-endian"])
def test_a_block_is_ready_by_its_whole_status(monkeypatch: pytest.MonkeyPatch, order: str) -> None:
    """Its first byte says nothing where numbers begin with their greatest."""
    monkeypatch.setattr(linux, "STATUS", struct.Struct(f"{order}I"))
    memory = bytearray(linux.STATUS_OFFSET + linux.STATUS.size)
    assert not linux.is_ready(memory, 0)
    linux.STATUS.pack_into(memory, linux.STATUS_OFFSET, linux.TP_STATUS_USER)
    assert linux.is_ready(memory, 0)


HEADERS = st.builds(
    partial(struct.pack, "=BBHHHH"),
    st.sampled_from([0, 1, 2]),
    st.sampled_from([0, 0, 0, 1, 4, 5, 0x81]),
    st.just(40),
    st.integers(0, 3000),
    st.integers(0, 80),
    st.sampled_from([6, 16, 0xFFFF]),
)

PACKETS = st.lists(
    st.builds(
        Made,
        HEADERS,
        st.binary(max_size=120),
        st.sampled_from([0, 0, 0, 1, 70_000]),
        st.booleans(),
        st.sampled_from([False, False, False, True]),
        st.integers(0, 30),
    ),
    min_size=1,
    max_size=12,
)

BLOCKS = st.lists(PACKETS.map(block), min_size=1, max_size=3)

SPOILED = st.lists(
    st.tuples(st.integers(0, 2), st.integers(BLOCK_HEAD, 600), st.integers(0, 255)), max_size=3
)
"""Which block, where, and the byte that comes there."""

BOUNDS = st.fixed_dictionaries(
    {},
    optional={
        "count": st.integers(1, 20),
        "ring": st.builds(Ring, size=st.integers(150, 900), seconds=st.sampled_from([None, 9.5])),
    },
)


class Blocks:
    """In the place of a PacketRing: a block each five seconds."""

    clock = 0.0

    def __init__(self, blocks: list[bytearray]) -> None:
        self._blocks = iter(blocks)

    def __enter__(self) -> Blocks:
        return self

    def __exit__(self, *exc_info: object) -> None: ...

    def stop(self) -> None: ...

    def read(self, *waits: object, take: Take | None) -> Iterator[Captured]:
        self.clock += 5
        memory = next(self._blocks, None)
        return iter(()) if memory is None else linux.packets_in(memory, 0, take)


def recorded(
    blocks: list[bytearray], natively: bool, **bounds: Any
) -> tuple[list[Contents], str, int]:
    """What is in the files then, how it ended, and how many packets were written by C."""
    taken = 0

    class File(files.CaptureFile):
        def write_captured(self, *place: Any) -> tuple[int, int]:
            nonlocal taken
            before = self.written
            try:
                return super().write_captured(*place)
            finally:
                taken += self.written - before

    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        patch.setattr(recording, "link_type_of", lambda name: LINKTYPE_RAW)
        made_ring = Blocks(blocks)
        patch.setattr(recording, "PacketRing", lambda *args, **options: made_ring)
        patch.setattr(files, "monotonic", lambda: made_ring.clock)
        patch.setattr(recording, "CaptureFile", File)
        patch.setattr(time, "time_ns", lambda: FIRST_SECOND * 1_000_000_000)
        if not natively:
            patch.setattr(files, "native", None)
        path = Path(folder, "x.pcapng")
        end = "as it should"
        with (
            recording.Recording("made0", path, buffer=0, **bounds) as made,
            aiotun.Interrupt() as interrupt,
        ):
            interrupt.set()  # then it ends once nothing waits
            try:
                made.run(interrupt)
            except Exception as exc:
                end = f"{type(exc).__name__}: {exc}"
        return [read(each) for each in sorted(Path(folder).iterdir())], end, taken


@given(BLOCKS, SPOILED, BOUNDS)
def test_the_same_as_python(
    blocks: list[bytearray], spoiled: list[tuple[int, int, int]], bounds: dict[str, Any]
) -> None:
    for number, at, value in spoiled:
        if number < len(blocks) and at < len(blocks[number]):
            blocks[number][at] = value
    natively = recorded(blocks, True, **bounds)
    assert natively[:2] == recorded(blocks, False, **bounds)[:2]


@pytest.mark.parametrize(
    "ring", [Ring(size=1 << 70), Ring(seconds=float("inf")), Ring(seconds=1e12)], ids=str
)
def test_a_ring_without_an_end(ring: Ring) -> None:
    made = block([Made(bytes(10), b"plain", 0, True, False, 0)])
    (contents,), end, taken = recorded([made], True, ring=ring)
    assert (len(contents.packets), end, taken) == (1, "as it should", 1)


def test_what_is_plain_is_written_by_c() -> None:
    plain = Made(bytes(10), b"plain", 3, True, False, 0)
    super_packet = Made(
        struct.pack("=BBHHHH", 1, 1, 40, 1400, 20, 16), bytes(3000), 0, False, False, 0
    )
    tagged = Made(bytes(10), bytes(20), 0, False, True, 0)
    ((contents,), _, taken) = recorded([block([plain, super_packet, tagged, plain])], True)
    assert taken == 3
    assert [len(data) for data, _, _ in contents.packets] == [5, 3000, 24, 5]
    assert contents.sizes == [8, 3000, 24, 8]


@pytest.mark.parametrize("wrong", [(-1, 1, 1), (0, -1, 1), (0, 1, -1)], ids=str)
def test_places_and_bounds_that_cannot_be(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="below 0"):
        native.captured_packets(bytearray(100), *wrong)


def test_a_place_beyond_the_memory() -> None:
    assert native.captured_packets(bytearray(100), 101, 5, 999) == (b"", 0, 101)
