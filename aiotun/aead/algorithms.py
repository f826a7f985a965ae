"""What messages are sealed with."""

from typing import Literal

__all__ = ["COUNTER_MAX", "COUNTER_SIZE", "KEY_SIZE", "NONCE_HEAD_SIZE", "TAG_SIZE", "Algorithm"]

Algorithm = Literal["chacha20-poly1305", "aes-256-gcm"]
"""RFC 8439; NIST SP 800-38D with a key of 256 bits. Sizes are the same for both, in bytes."""

KEY_SIZE = 32
NONCE_HEAD_SIZE = 4
COUNTER_SIZE = 8
COUNTER_MAX = (1 << 8 * COUNTER_SIZE) - 1
TAG_SIZE = 16
