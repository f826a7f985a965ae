"""Transport messages: two sessions with each other's keys."""

from __future__ import annotations

import pytest

from aiotun.wireguard.core.counters import Counters
from aiotun.wireguard.core.messages import TRANSPORT
from aiotun.wireguard.core.noise import Keys
from aiotun.wireguard.core.session import REJECT_AFTER_MESSAGES, REJECT_AFTER_TIME, Session

MTU = 1420


@pytest.fixture
def pair() -> tuple[Session, Session]:
    keys = Keys(b"\x01" * 32, b"\x02" * 32)
    return (
        Session(1, 2, keys, 0.0, initiator=True),
        Session(2, 1, Keys(keys.receive, keys.send), 0.0, initiator=False),
    )


def test_message(pair: tuple[Session, Session]) -> None:
    ours, theirs = pair
    first, second = ours.seal([b"", bytes(16)], MTU)
    assert first[:16] == TRANSPORT + b"\x02\0\0\0" + bytes(8)
    assert second[:16] == TRANSPORT + b"\x02\0\0\0" + b"\x01" + bytes(7)
    assert (len(first), len(second)) == (32, 48)
    assert first[:8] == theirs.head
    counters = Counters()
    assert theirs.open([first, second], counters) == [b"", bytes(16)]
    assert counters == Counters()


def test_what_comes_again_or_is_forged(pair: tuple[Session, Session]) -> None:
    ours, theirs = pair
    packets = [bytes([number]) * 16 for number in range(5)]
    sealed = ours.seal(packets, MTU)
    forged = sealed[1][:-1] + bytes([sealed[1][-1] ^ 1])
    counters = Counters()
    mixed = [sealed[0], forged, sealed[3], sealed[0], sealed[1], sealed[1], sealed[2][:12], b""]
    assert theirs.open(mixed, counters) == [packets[0], packets[3], packets[1]]
    assert (counters.forged, counters.replayed) == (3, 2)
    assert theirs.open([], counters) == []


def test_the_end_of_a_session(pair: tuple[Session, Session]) -> None:
    ours, theirs = pair
    ours.sent = REJECT_AFTER_MESSAGES - 1
    last, beyond = ours.seal([b"", b""], MTU)
    counters = Counters()
    assert theirs.open([last, beyond], counters) == [b""]
    assert counters.replayed == 1
    assert theirs.expires == REJECT_AFTER_TIME
