"""Who is connected, as the log tells it."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from aiotun.wireguard import logs


def test_a_peer_is_connected_once_whatever_becomes_of_the_clock(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    shake_hands: list[Any] = []
    connections = logs.Connections("wg0")
    tunnel = SimpleNamespace(on_handshake=shake_hands.append)
    connections.serve(SimpleNamespace(tunnel=tunnel))  # type: ignore[arg-type]
    peer = SimpleNamespace(public_key=bytes(32), name="phone", endpoint=("192.0.2.1", 9))
    told = []
    for now, peer.last_handshake in ((5.0, 9e8), (125.0, 1e9), (245.0, 0.0), (500.0, 100.0)):
        monkeypatch.setattr(logs, "clock", lambda now=now: now)
        shake_hands[0](peer)
        told.append(len(caplog.messages))
    assert told == [1, 1, 1, 2]
    assert caplog.messages[0] == "phone is connected, at 192.0.2.1:9"
