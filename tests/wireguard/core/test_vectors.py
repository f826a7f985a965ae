"""The handshake against published vectors of its Noise pattern: both sides, then the keys."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from aiotun.wireguard.core.noise import HandshakeError, Initiator, Responder

VECTORS = json.loads(Path(__file__).with_name("noise_vectors.json").read_text())["vectors"]


@pytest.fixture(params=VECTORS, ids=lambda vector: vector["protocol_name"])
def vector(request: pytest.FixtureRequest) -> dict[str, Any]:
    return dict(request.param)


def private(vector: dict[str, Any], name: str) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(bytes.fromhex(vector[name]))


def initiator(vector: dict[str, Any]) -> Initiator:
    return Initiator(
        private(vector, "init_static"),
        bytes.fromhex(vector["init_remote_static"]),
        ephemeral=private(vector, "init_ephemeral"),
        prologue=bytes.fromhex(vector["init_prologue"]),
    )


def responder(vector: dict[str, Any]) -> Responder:
    return Responder(
        private(vector, "resp_static"),
        ephemeral=private(vector, "resp_ephemeral"),
        prologue=bytes.fromhex(vector["resp_prologue"]),
    )


def texts(vector: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    """Payload and ciphertext of the messages; the sides take turns."""
    return [
        (bytes.fromhex(message["payload"]), bytes.fromhex(message["ciphertext"]))
        for message in vector["messages"]
    ]


def test_all_messages(vector: dict[str, Any]) -> None:
    (hello, initiation), (answer, response), *transport = texts(vector)
    psk = bytes.fromhex(vector["init_psks"][0])
    first, second = initiator(vector), responder(vector)

    assert first.initiation(hello) == initiation
    public = private(vector, "init_static").public_key().public_bytes_raw()
    assert second.read_static(initiation) == public
    assert second.read_payload(initiation) == hello
    written, theirs = second.response(answer, psk)
    assert written == response
    read, ours = first.read_response(response, psk)
    assert read == answer
    assert (ours.send, ours.receive) == (theirs.receive, theirs.send)

    for number, (payload, ciphertext) in enumerate(transport):
        key = ours.send if number % 2 == 0 else theirs.send
        nonce = struct.pack("<4xQ", number // 2)
        assert ChaCha20Poly1305(key).encrypt(nonce, payload, None) == ciphertext


def test_another_psk_is_refused(vector: dict[str, Any]) -> None:
    (hello, _), (_, response), *_ = texts(vector)
    side = initiator(vector)
    side.initiation(hello)
    with pytest.raises(HandshakeError):
        side.read_response(response, bytes(32))
    side.read_response(response, bytes.fromhex(vector["init_psks"][0]))  # and spoils nothing


@pytest.mark.parametrize("message", [0, 1], ids=["initiation", "response"])
def test_each_byte_counts(vector: dict[str, Any], message: int) -> None:
    psk = bytes.fromhex(vector["init_psks"][0])
    (hello, initiation), (_, response), *_ = texts(vector)
    for place in range(len((initiation, response)[message])):
        damaged = bytearray((initiation, response)[message])
        damaged[place] ^= 1
        with pytest.raises(HandshakeError):  # noqa: PT012
            if message == 0:
                second = responder(vector)
                second.read_static(bytes(damaged))
                second.read_payload(bytes(damaged))
            else:
                first = initiator(vector)
                first.initiation(hello)
                first.read_response(bytes(damaged), psk)
