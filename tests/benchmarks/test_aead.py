from __future__ import annotations

import subprocess

import pytest

from benchmarks.aead import PACKETS, by_packet, openssl


@pytest.mark.interop
def test_openssl_with_a_nonce_and_a_tag_for_each_packet() -> None:
    PACKETS.prepare()
    for taken in by_packet("aes-256-gcm"):
        assert 1e-8 < taken < 1e-3
    with pytest.raises(subprocess.CalledProcessError):  # it has no tag
        by_packet("aes-256-ctr")


@pytest.mark.interop
def test_the_word_of_openssl() -> None:
    assert 1e-8 < openssl("aes-256-gcm") < 1e-3
