"""MACs, cookies and shares."""

from __future__ import annotations

from unittest import mock

import pytest

from aiotun.wireguard.core import cookie
from aiotun.wireguard.core.cookie import (
    COOKIE_RATE,
    COOKIE_REST,
    SOURCE_BURST,
    CookieChecker,
    CookieJar,
    CookieRation,
    SourceLimiter,
    TokenBucket,
)
from aiotun.wireguard.core.messages import CookieReply, Initiation

KEY = bytes(range(32))
SOURCE = b"192.0.2.1 51820"
MESSAGE = Initiation(7, bytes(108)).pack()


@pytest.fixture
def checker() -> CookieChecker:
    return CookieChecker(KEY)


@pytest.fixture
def jar() -> CookieJar:
    return CookieJar(KEY)


def ask(checker: CookieChecker, jar: CookieJar, now: float = 0.0) -> CookieReply:
    """Send a message and get a cookie for it."""
    return CookieReply.unpack(checker.reply(jar.stamp(MESSAGE, now), SOURCE, now))


def test_mac1(checker: CookieChecker, jar: CookieJar) -> None:
    stamped = jar.stamp(MESSAGE, 0.0)
    assert len(stamped) == 148
    assert checker.has_mac1(stamped)
    assert not CookieChecker(bytes(32)).has_mac1(stamped)
    for place in range(len(stamped) - 16):
        damaged = bytearray(stamped)
        damaged[place] ^= 1
        assert not checker.has_mac1(bytes(damaged))


def test_mac2_after_a_reply(checker: CookieChecker, jar: CookieJar) -> None:
    assert not checker.has_mac2(jar.stamp(MESSAGE, 0.0), SOURCE, 0.0)
    reply = ask(checker, jar)
    assert reply.receiver == 7
    assert jar.consume(reply, 0.0)
    stamped = jar.stamp(MESSAGE, 1.0)
    assert checker.has_mac1(stamped)
    assert checker.has_mac2(stamped, SOURCE, 1.0)
    assert not checker.has_mac2(stamped, b"192.0.2.1 51821", 1.0)


def test_a_cookie_ages(checker: CookieChecker, jar: CookieJar) -> None:
    jar.consume(ask(checker, jar), 0.0)
    stamped = jar.stamp(MESSAGE, 114.0)
    assert checker.has_mac2(stamped, SOURCE, 119.9)
    assert not checker.has_mac2(stamped, SOURCE, 120.0)
    assert jar.stamp(MESSAGE, 115.0).endswith(bytes(16))


def test_a_reply_is_for_what_was_sent_last_and_once(checker: CookieChecker, jar: CookieJar) -> None:
    late = ask(checker, jar)
    jar.stamp(Initiation(8, bytes(108)).pack(), 0.0)
    assert not jar.consume(late, 0.0)
    reply = ask(checker, jar)
    assert jar.consume(reply, 0.0)
    assert not jar.consume(reply, 0.0)


def test_a_reply_by_another(checker: CookieChecker, jar: CookieJar) -> None:
    assert not jar.consume(ask(CookieChecker(bytes(32)), jar), 0.0)
    reply = ask(checker, jar)
    assert not jar.consume(reply._replace(cookie=bytes(32)), 0.0)
    assert not CookieJar(KEY).consume(reply, 0.0)


def test_bucket() -> None:
    bucket = TokenBucket(rate=10, burst=3)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(0.1), bucket.take(0.1)] == [True, False]
    assert [bucket.take(9.0) for _ in range(4)] == [True, True, True, False]


def test_cookies_are_rationed() -> None:
    ration = CookieRation()
    flood = [ration.take("192.0.2.1", 0.0) for _ in range(2 * COOKIE_REST)]
    assert flood.count(True) == SOURCE_BURST + COOKIE_REST
    assert ration.take("192.0.2.2", 0.0)  # another's flood
    assert not ration.take("192.0.2.1", 0.0)
    assert ration.take("192.0.2.1", 0.01)  # of the rest: in its name others may send, too
    forged = [ration.take(f"10.0.{n >> 8}.{n & 255}", 0.01) for n in range(COOKIE_RATE)]
    assert flood.count(True) + 2 + forged.count(True) <= COOKIE_RATE * 1.01


def test_each_source_has_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    limiter = SourceLimiter()
    assert [limiter.take("192.0.2.1", 0.0) for _ in range(6)] == 5 * [True] + [False]
    assert limiter.take("192.0.2.2", 0.0)
    # A /64 is one source: whoever has one has all of its addresses.
    assert [limiter.take(f"2001:db8::{n:x}", 0.0) for n in range(6)] == 5 * [True] + [False]
    assert limiter.take("2001:db8:0:1::", 0.0)
    assert limiter.take("fe80::1%eth0", 0.0)
    monkeypatch.setattr(cookie, "SOURCES_MAX", 6)
    assert limiter.take("192.0.2.3", 0.0)
    assert not limiter.take("192.0.2.4", 0.0)  # no room, and none of them has recovered
    assert limiter.take("192.0.2.4", 1.0)
    assert len(limiter._buckets) <= 6


def test_a_full_limiter_is_not_swept_for_each_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cookie, "SOURCES_MAX", 3)
    limiter = SourceLimiter()
    with mock.patch.object(TokenBucket, "is_full", return_value=False) as is_full:
        assert sum(limiter.take(f"192.0.2.{n}", n / 1000) for n in range(9)) == 3
    assert is_full.call_count == 3
