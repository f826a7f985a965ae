"""The handshake with itself; `test_vectors` has the vectors that others published."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from aiotun.wireguard.core.noise import HandshakeError, Initiator, Keys, Responder

LOW_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
]
"""Of those at https://cr.yp.to/ecdh.html#validate."""


@pytest.fixture
def static() -> X25519PrivateKey:
    return X25519PrivateKey.generate()


def test_keys_match(static: X25519PrivateKey) -> None:
    other = X25519PrivateKey.generate()
    initiator = Initiator(static, other.public_key().public_bytes_raw())
    responder = Responder(other)
    first = initiator.initiation(b"timestamp")
    assert responder.read_static(first) == static.public_key().public_bytes_raw()
    assert responder.read_payload(first) == b"timestamp"
    second, theirs = responder.response(b"", bytes(32))
    payload, ours = initiator.read_response(second, bytes(32))
    assert payload == b""
    assert ours == Keys(theirs.receive, theirs.send)


def test_for_somebody_else(static: X25519PrivateKey) -> None:
    meant = X25519PrivateKey.generate().public_key().public_bytes_raw()
    message = Initiator(static, meant).initiation(b"")
    with pytest.raises(HandshakeError):
        Responder(X25519PrivateKey.generate()).read_static(message)


def test_with_another_prologue(static: X25519PrivateKey) -> None:
    other = X25519PrivateKey.generate()
    message = Initiator(static, other.public_key().public_bytes_raw()).initiation(b"")
    with pytest.raises(HandshakeError):
        Responder(other, prologue=b"another").read_static(message)


@pytest.mark.parametrize("point", LOW_ORDER)
def test_no_shared_secret_of_zeros(static: X25519PrivateKey, point: bytes) -> None:
    with pytest.raises(HandshakeError):
        Initiator(static, point).initiation(b"")
    with pytest.raises(HandshakeError):
        Responder(static).read_static(point + bytes(76))


def test_a_claimed_key_is_proven(static: X25519PrivateKey) -> None:
    """Whoever knows both public keys gets as far as the claim, and no further."""
    other, liar = X25519PrivateKey.generate(), X25519PrivateKey.generate()
    forged = Initiator(liar, other.public_key().public_bytes_raw())
    forged._static = _claims(static)
    message = forged.initiation(b"")
    responder = Responder(other)
    assert responder.read_static(message) == static.public_key().public_bytes_raw()
    with pytest.raises(HandshakeError):
        responder.read_payload(message)


def _claims(static: X25519PrivateKey) -> X25519PrivateKey:
    """A private key of ours that says it had the public key of another."""

    class Claims:
        public_key = static.public_key
        exchange = X25519PrivateKey.generate().exchange

    return Claims()  # type: ignore[return-value]


def test_no_repr_shows_keys() -> None:
    assert repr(Keys(b"send", b"receive")) == "Keys()"
