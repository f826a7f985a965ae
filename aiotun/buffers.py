"""to_bytes: the one rule for which arguments are bytes."""

from __future__ import annotations

__all__ = ["to_bytes"]


def to_bytes(data: object, noun: str = "packet") -> bytes:
    """The bytes of a bytes-like object, copied if it is mutable.

    Raises `TypeError` for all else: `bytes` itself makes zeros of a number, and
    bytes of a list. `noun` says there what the data is.
    """
    if not isinstance(data, (bytes, bytearray, memoryview)):
        given = type(data).__name__
        raise TypeError(f"a {noun} is bytes, bytearray or memoryview, not {given}")
    return bytes(data)
