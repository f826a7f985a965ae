"""tokio's LengthDelimitedCodec on the other end of a socket."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from decoding import decoded, encoded

from aiotun.codecs import LengthDelimited, LengthPrefixed

assert sys.platform != "win32"

pytestmark = [pytest.mark.interop, pytest.mark.requires("cargo"), pytest.mark.timeout(300)]

PEER = Path(__file__).parent / "tokio-peer"

CODECS = {
    "1 byte": LengthPrefixed(1),
    "2 bytes": LengthPrefixed(2),
    "2 bytes, little": LengthPrefixed(2, "little"),
    "3 bytes, little": LengthPrefixed(3, "little"),
    "4 bytes": LengthPrefixed(4),
    "8 bytes": LengthPrefixed(8),
    "8 bytes, little": LengthPrefixed(8, "little"),
    "behind an offset": LengthPrefixed(2, offset=5),
    "counts itself": LengthPrefixed(4, adjustment=-4),
    "without a trailer": LengthPrefixed(2, adjustment=4),
    "offset and header counted": LengthPrefixed(2, "little", offset=3, adjustment=-5),
    "header kept": LengthPrefixed(2, offset=1, keep_header=True),
    "header kept and counted": LengthPrefixed(3, adjustment=-3, keep_header=True),
}


@pytest.fixture(scope="module")
def peer() -> Path:
    command = ["cargo", "build", "--release", "--locked", "--quiet"]
    subprocess.run(command, cwd=PEER, check=True, timeout=280)
    return PEER / "target/release/tokio-peer"


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        listening.listen()
        listening.settimeout(10)
        yield listening


def received(connection: socket.socket) -> Iterator[bytes]:
    while data := connection.recv(1000):
        yield data


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_both_directions(codec: LengthPrefixed, peer: Path, listener: socket.socket) -> None:
    generator = random.Random(0)
    largest = 200 if codec.size == 1 else 3000
    payloads = [generator.randbytes(generator.randint(4, largest)) for _ in range(100)]
    items = payloads
    if codec.keep_header:
        whole = replace(codec, keep_header=False)
        items = [encoded(whole, [payload]) for payload in payloads]
    command = [peer, listener.getsockname(), codec.size, codec.byteorder, codec.offset]
    command += [codec.adjustment, "keep" if codec.keep_header else "strip"]
    process = subprocess.Popen(list(map(str, command)))
    try:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(10)
            connection.sendall(encoded(codec, items))
            connection.shutdown(socket.SHUT_WR)
            answers = b"".join(received(connection))
        plain = replace(codec, offset=0, keep_header=False)
        assert decoded(plain, [answers]) == [item[::-1] for item in items]
        # Its own bytes, and what it makes of ours.
        adjustment = codec.adjustment
        encoder = LengthDelimited(codec.size, codec.byteorder, length_adjustment=adjustment)
        assert encoded(encoder, [item[::-1] for item in items]) == answers
        decoder = LengthDelimited(
            codec.size,
            codec.byteorder,
            length_field_offset=codec.offset,
            length_adjustment=adjustment + codec.keep_header * codec.header_size,
            num_skip=0 if codec.keep_header else None,
        )
        assert decoded(decoder, [encoded(codec, items)]) == items
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
