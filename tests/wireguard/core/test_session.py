"""Transport messages: two sessions with each other's keys."""

from __future__ import annotations

import packets
import pytest

from aiotun.offload import NO_OFFLOAD, gso_split
from aiotun.trains import cut
from aiotun.wireguard.core.counters import Counters
from aiotun.wireguard.core.messages import TRANSPORT
from aiotun.wireguard.core.noise import Keys
from aiotun.wireguard.core.session import REJECT_AFTER_MESSAGES, REJECT_AFTER_TIME, Session

MTU = 1420

PACKETS = [packets.udp(payload=bytes(36), sport=number) for number in range(5)]
"""Of 64 bytes, so that no padding is needed, and of flows of their own."""


def sealed(session: Session, *contents: bytes) -> list[bytes]:
    """The messages, one by one."""
    trains, count = session.seal([NO_OFFLOAD + each for each in contents], MTU)
    messages = [message for train in trains for message in cut(*train)]
    assert len(messages) == count
    return messages


def opened(session: Session, messages: list[bytes], drops: Counters) -> tuple[list[bytes], int]:
    """The packets, and how many messages were taken."""
    frames, strays, accepted, _ = session.open([(each, 0) for each in messages], drops)
    assert strays == []
    return [packet for frame in frames for packet in gso_split(frame)], accepted


@pytest.fixture
def pair() -> tuple[Session, Session]:
    keys = Keys(b"\x01" * 32, b"\x02" * 32)
    return (
        Session(1, 2, keys, 0.0, initiator=True),
        Session(2, 1, Keys(keys.receive, keys.send), 0.0, initiator=False),
    )


def test_message(pair: tuple[Session, Session]) -> None:
    ours, theirs = pair
    first, second = sealed(ours, b"", PACKETS[0])
    assert first[:16] == TRANSPORT + b"\x02\0\0\0" + bytes(8)
    assert second[:16] == TRANSPORT + b"\x02\0\0\0" + b"\x01" + bytes(7)
    assert (len(first), len(second)) == (32, 96)
    assert first[:8] == theirs.head
    counters = Counters()
    assert opened(theirs, [first, second], counters) == ([PACKETS[0]], 2)
    assert counters == Counters()


def test_what_comes_again_or_is_forged(pair: tuple[Session, Session]) -> None:
    ours, theirs = pair
    messages = sealed(ours, *PACKETS)
    forged = messages[1][:-1] + bytes([messages[1][-1] ^ 1])
    counters = Counters()
    mixed = [messages[0], forged, messages[3], messages[0], messages[1], messages[1]]
    mixed.append(messages[2][:12])
    assert opened(theirs, mixed, counters) == ([PACKETS[0], PACKETS[3], PACKETS[1]], 3)
    assert (counters.forged, counters.replayed) == (2, 2)
    assert opened(theirs, [], counters) == ([], 0)


def test_messages_of_another_session(pair: tuple[Session, Session]) -> None:
    ours, theirs = pair
    message, other = sealed(ours, *PACKETS[:2])
    stray = TRANSPORT + b"\x09\0\0\0" + other[8:]
    frames, strays, accepted, size = theirs.open([(message + stray, len(message))], Counters())
    assert (len(frames), strays, accepted, size) == (1, [stray], 1, 64)


def test_the_end_of_a_session(pair: tuple[Session, Session]) -> None:
    ours, theirs = pair
    ours.sent = REJECT_AFTER_MESSAGES - 1
    last, beyond = sealed(ours, b"", b"")
    counters = Counters()
    assert opened(theirs, [last, beyond], counters) == ([], 1)
    assert counters.replayed == 1
    assert theirs.expires == REJECT_AFTER_TIME
