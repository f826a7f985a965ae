"""Keys: 32 bytes, written in base64, as the `wg` tool writes them."""

from __future__ import annotations

import base64
import os

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

__all__ = ["KEY_SIZE", "clamp", "decode_key", "encode_key", "generate_private_key", "public_key_of"]

KEY_SIZE = 32


def generate_private_key() -> bytes:
    return clamp(os.urandom(KEY_SIZE))


def clamp(key: bytes) -> bytes:
    """The form in which private keys are shown (RFC 7748, section 5); X25519 clamps anyway."""
    number = int.from_bytes(key, "little") & ~7
    return (number & ~(1 << 255) | 1 << 254).to_bytes(KEY_SIZE, "little")


def public_key_of(private_key: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()


def encode_key(key: bytes) -> str:
    return base64.b64encode(key).decode()


def decode_key(text: str) -> bytes:
    """Raises `ValueError` unless the text is a key."""
    try:
        key = base64.b64decode(text, validate=True)
    except ValueError:
        key = b""
    if len(key) != KEY_SIZE or encode_key(key) != text:  # one way to write each key
        raise ValueError("a key is 44 characters of base64, which stand for 32 bytes")
    return key
