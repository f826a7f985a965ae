"""What a stream codec makes of bytes: items, and `Broken` for each error, in their order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from hypothesis import strategies as st

from aiotun.codecs import CodecError, StreamCodec, StreamDecoder

T = TypeVar("T")


class Broken(NamedTuple):
    """A `CodecError` that can be compared."""

    what: str
    offset: int
    recoverable: bool


def encoded(codec: StreamCodec[T], items: Iterable[T]) -> bytes:
    return b"".join(codec.preamble + [part for item in items for part in codec.encode(item)])


def drained(decoder: StreamDecoder[Any], data: bytes) -> list[Any]:
    """Feed as the contract says: until nothing waits. Ends at an error without recovery."""
    found: list[Any] = []
    while True:
        try:
            items = decoder.feed(data)
        except CodecError as error:
            found.append(Broken(error.what, error.offset, error.recoverable))
            if not error.recoverable:
                return found
        else:
            if not items and not data:
                return found
            found += items
        data = b""


def decoded(codec: StreamCodec[Any], chunks: Iterable[bytes]) -> list[Any]:
    """Items and errors of a whole stream, its end included."""
    decoder = codec.decoder()
    found: list[Any] = []
    for chunk in chunks:
        found += drained(decoder, chunk)
        if found and isinstance(found[-1], Broken) and not found[-1].recoverable:
            return found
    try:
        decoder.eof()
    except CodecError as error:
        found.append(Broken(error.what, error.offset, error.recoverable))
    return found


def chunks(data: bytes) -> st.SearchStrategy[list[bytes]]:
    """The bytes cut anywhere, or into single ones."""

    def cut(places: Sequence[int]) -> list[bytes]:
        ends = [*sorted(places), len(data)]
        return [data[a:b] for a, b in zip([0, *ends], ends, strict=False)]

    single = st.just([data[i : i + 1] for i in range(len(data))])
    return single | st.lists(st.integers(0, len(data)), max_size=20).map(cut)
