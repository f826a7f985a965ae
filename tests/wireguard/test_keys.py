"""Keys and how they are written; the vectors of the handshake are about what they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotun.wireguard.keys import clamp, decode_key, encode_key, generate_private_key, public_key_of

keys = st.binary(min_size=32, max_size=32)


@given(keys)
def test_clamping_changes_nothing_but_the_form(key: bytes) -> None:
    clamped = clamp(key)
    assert clamped[0] & 7 == 0
    assert clamped[31] & 0xC0 == 0x40
    assert clamped[1:31] == key[1:31]
    assert public_key_of(clamped) == public_key_of(key)


def test_generated() -> None:
    key = generate_private_key()
    assert key == clamp(key) != generate_private_key()


@given(keys)
def test_text(key: bytes) -> None:
    assert decode_key(encode_key(key)) == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A" * 44,
        "A" * 42 + "==",
        "A" * 43 + "= ",
        " " + "A" * 43 + "=",
        "A" * 42 + "B=",  # bits that mean nothing are set
        "A" * 86 + "==",
        "ä" * 43 + "=",
        "-_" * 21 + "A=",
    ],
)
def test_no_key(text: str) -> None:
    with pytest.raises(ValueError, match="44 characters of base64"):
        decode_key(text)
