"""The handshake: Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s (Noise specification, revision 34).

    <- s
    ...
    -> e, es, s, ss, payload
    <- e, ee, se, psk, payload

Nothing here is WireGuard's own but the default of the prologue, so that
published vectors can be run through it.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from hashlib import blake2s

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

__all__ = ["PROLOGUE", "HandshakeError", "Initiator", "Keys", "Responder"]

PROTOCOL = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
PROLOGUE = b"WireGuard v1 zx2c4 Jason@zx2c4.com"
"""What the paper calls identifier."""

KEY_SIZE = 32
SEALED_KEY_SIZE = KEY_SIZE + 16

NONCE = bytes(12)
"""Each key of the handshake seals one thing: the nonce never gets beyond zero."""


class HandshakeError(ValueError):
    """A message that is not what it should be: forged, damaged or for somebody else."""


@dataclass(frozen=True)
class Keys:
    """What the handshake is for."""

    send: bytes = field(repr=False)
    receive: bytes = field(repr=False)


class Initiator:
    """The side that begins, and knows the other's public key."""

    def __init__(
        self,
        static: X25519PrivateKey,
        remote: bytes,
        *,
        ephemeral: X25519PrivateKey | None = None,
        prologue: bytes = PROLOGUE,
    ) -> None:
        self._static = static
        self._remote = remote
        self.ephemeral = ephemeral or X25519PrivateKey.generate()
        self._state = _SymmetricState(prologue)
        self._state.mix_hash(remote)

    def initiation(self, payload: bytes) -> bytes:
        """The first message. Raises `HandshakeError` for a remote key of low order."""
        state = self._state
        public = self.ephemeral.public_key().public_bytes_raw()
        state.mix_ephemeral(public)
        state.mix_key(_dh(self.ephemeral, self._remote))
        static = state.seal(self._static.public_key().public_bytes_raw())
        state.mix_key(_dh(self._static, self._remote))
        return public + static + state.seal(payload)

    def read_response(self, message: bytes, psk: bytes) -> tuple[bytes, Keys]:
        """The payload of the second message, and the session's keys.

        Raises `HandshakeError`, and then another response may still be the right one.
        """
        state = self._state.copy()
        ephemeral, payload = message[:KEY_SIZE], message[KEY_SIZE:]
        state.mix_ephemeral(ephemeral)
        state.mix_key(_dh(self.ephemeral, ephemeral))
        state.mix_key(_dh(self._static, ephemeral))
        state.mix_key_and_hash(psk)
        opened = state.open(payload)
        return opened, Keys(*state.split())


class Responder:
    """The responder, which learns whose handshake it is. Call the three methods in order."""

    def __init__(
        self,
        static: X25519PrivateKey,
        *,
        ephemeral: X25519PrivateKey | None = None,
        prologue: bytes = PROLOGUE,
    ) -> None:
        self._static = static
        self.ephemeral = ephemeral
        self._state = _SymmetricState(prologue)
        self._state.mix_hash(static.public_key().public_bytes_raw())

    def read_static(self, message: bytes) -> bytes:
        """The public key of the peer that claims to have sent the first message.

        Raises `HandshakeError`.
        """
        state = self._state
        self._remote_ephemeral = message[:KEY_SIZE]
        state.mix_ephemeral(self._remote_ephemeral)
        state.mix_key(_dh(self._static, self._remote_ephemeral))
        self._remote = state.open(message[KEY_SIZE : KEY_SIZE + SEALED_KEY_SIZE])
        return self._remote

    def read_payload(self, message: bytes) -> bytes:
        """The payload of the first message. Raises `HandshakeError` when the claim was false."""
        self._state.mix_key(_dh(self._static, self._remote))
        return self._state.open(message[KEY_SIZE + SEALED_KEY_SIZE :])

    def response(self, payload: bytes, psk: bytes) -> tuple[bytes, Keys]:
        """The second message, and the session's keys."""
        state = self._state
        if self.ephemeral is None:
            self.ephemeral = X25519PrivateKey.generate()
        public = self.ephemeral.public_key().public_bytes_raw()
        state.mix_ephemeral(public)
        state.mix_key(_dh(self.ephemeral, self._remote_ephemeral))
        state.mix_key(_dh(self.ephemeral, self._remote))
        state.mix_key_and_hash(psk)
        sealed = state.seal(payload)
        receive, send = state.split()
        return public + sealed, Keys(send, receive)


class _SymmetricState:
    """Section 5.2 of the specification; names as there, `seal` and `open` also hash."""

    __slots__ = ("_chaining_key", "_hash", "_key")

    def __init__(self, prologue: bytes) -> None:
        self._hash = self._chaining_key = blake2s(PROTOCOL).digest()
        self._key = b""
        self.mix_hash(prologue)

    def copy(self) -> _SymmetricState:
        state = object.__new__(_SymmetricState)
        state._hash, state._chaining_key, state._key = self._hash, self._chaining_key, self._key
        return state

    def mix_hash(self, data: bytes) -> None:
        self._hash = blake2s(self._hash + data).digest()

    def mix_key(self, material: bytes) -> None:
        self._chaining_key, self._key, _ = _hkdf(self._chaining_key, material)

    def mix_key_and_hash(self, material: bytes) -> None:
        self._chaining_key, hashed, self._key = _hkdf(self._chaining_key, material)
        self.mix_hash(hashed)

    def mix_ephemeral(self, public: bytes) -> None:
        """Both, as the token "e" asks for in a pattern with a psk (section 9.2)."""
        self.mix_hash(public)
        self.mix_key(public)

    def seal(self, plaintext: bytes) -> bytes:
        sealed = ChaCha20Poly1305(self._key).encrypt(NONCE, plaintext, self._hash)
        self.mix_hash(sealed)
        return sealed

    def open(self, sealed: bytes) -> bytes:
        try:
            plaintext = ChaCha20Poly1305(self._key).decrypt(NONCE, sealed, self._hash)
        except InvalidTag:
            raise HandshakeError("a part of the handshake is not authentic") from None
        self.mix_hash(sealed)
        return plaintext

    def split(self) -> tuple[bytes, bytes]:
        """The initiator's key to send with, and the responder's."""
        return _hkdf(self._chaining_key, b"")[:2]


def _hkdf(key: bytes, material: bytes) -> tuple[bytes, bytes, bytes]:
    """Section 4.3, all three outputs: a caller that needs two ignores the third."""
    secret = hmac.digest(key, material, "blake2s")
    first = hmac.digest(secret, b"\x01", "blake2s")
    second = hmac.digest(secret, first + b"\x02", "blake2s")
    return first, second, hmac.digest(secret, second + b"\x03", "blake2s")


def _dh(private: X25519PrivateKey, public: bytes) -> bytes:
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:  # the result is all zero: the public key is one of low order
        raise HandshakeError("a public key of low order") from None
