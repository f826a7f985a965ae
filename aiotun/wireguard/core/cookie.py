"""What protects the handshake from floods (paper, sections 5.3 and 5.4.7).

MAC1 shows that the sender knows whom it talks to. Under load MAC2 shows that
it receives what is sent to its address: it is made with a cookie that was
sent there. And then each address gets its share and no more.
"""

from __future__ import annotations

import hmac
import math
import os
from hashlib import blake2s
from ipaddress import IPv6Address

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt as xchacha_open,
)
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_encrypt as xchacha_seal,
)
from nacl.exceptions import CryptoError

from .messages import MAC_SIZE, CookieReply

__all__ = ["CookieChecker", "CookieJar", "CookieRation", "SourceLimiter", "TokenBucket"]

COOKIE_TIME = 120.0
"""Seconds after which a secret, and the cookies made with it, are replaced."""

LATENCY = 5.0
"""Seconds before that in which a cookie is not used any more: it might arrive too late."""

NONCE_SIZE = 24

NO_MAC2 = bytes(MAC_SIZE)
"""In a message whose sender has no cookie."""

SOURCE_RATE, SOURCE_BURST = 20, 5
"""Handshake messages a second from one source under load, as in Linux (ratelimiter.c)."""

SOURCES_MAX = 4096
"""Sources that are remembered; when there are more, new ones are refused."""

COOKIE_RATE, COOKIE_REST = 3000, 500
"""Cookie replies a second, and those of them that are for sources which have had their share.

Each takes some 60 us, sending it included: 18 % of a core, and 3 %.
"""


def _mac1_key(public_key: bytes) -> bytes:
    return blake2s(b"mac1----" + public_key).digest()


def _cookie_key(public_key: bytes) -> bytes:
    return blake2s(b"cookie--" + public_key).digest()


def _mac(key: bytes, data: bytes) -> bytes:
    return blake2s(data, digest_size=MAC_SIZE, key=key).digest()


class CookieChecker:
    """Of the side that gets handshake messages: checks their MACs and makes cookies."""

    def __init__(self, public_key: bytes) -> None:
        self._mac1 = blake2s(digest_size=MAC_SIZE, key=_mac1_key(public_key))
        self._cookie_key = _cookie_key(public_key)
        self._secret_until = -math.inf

    def has_mac1(self, message: bytes) -> bool:
        mac1 = self._mac1.copy()
        mac1.update(message[: -2 * MAC_SIZE])
        return hmac.compare_digest(mac1.digest(), message[-2 * MAC_SIZE : -MAC_SIZE])

    def has_mac2(self, message: bytes, source: bytes, now: float) -> bool:
        """Whether it was made with the cookie for this source, which names address and port."""
        mac2 = message[-MAC_SIZE:]
        if mac2 == NO_MAC2:
            return False
        cookie = self._cookie(source, now)
        return hmac.compare_digest(mac2, _mac(cookie, message[:-MAC_SIZE]))

    def reply(self, message: bytes, source: bytes, now: float) -> bytes:
        """A cookie reply to a handshake message with a good MAC1."""
        sender = int.from_bytes(message[4:8], "little")
        mac1 = message[-2 * MAC_SIZE : -MAC_SIZE]
        nonce = os.urandom(NONCE_SIZE)
        cookie = xchacha_seal(self._cookie(source, now), mac1, nonce, self._cookie_key)
        return CookieReply(sender, nonce, cookie).pack()

    def _cookie(self, source: bytes, now: float) -> bytes:
        if now >= self._secret_until:
            self._secret = os.urandom(32)
            self._secret_until = now + COOKIE_TIME
        return _mac(self._secret, source)


class CookieJar:
    """Of the side that sends handshake messages to one peer: keeps its cookie and adds MACs."""

    __slots__ = ("_cookie", "_cookie_until", "_mac1", "_public_key")

    def __init__(self, public_key: bytes) -> None:
        self._public_key = public_key
        self._mac1: bytes | None = None
        self._cookie = b""
        self._cookie_until = -math.inf

    def stamp(self, message: bytes, now: float) -> bytes:
        """A handshake message with its MACs; MAC2 is zero while there is no cookie."""
        self._mac1 = _mac(_mac1_key(self._public_key), message)
        message += self._mac1
        if now >= self._cookie_until:
            return message + NO_MAC2
        return message + _mac(self._cookie, message)

    def consume(self, reply: CookieReply, now: float) -> bool:
        """Keep the cookie for what is sent next; False if it answers nothing that was sent."""
        if self._mac1 is None:
            return False
        try:
            cookie = xchacha_open(
                reply.cookie, self._mac1, reply.nonce, _cookie_key(self._public_key)
            )
        except CryptoError:
            return False
        self._cookie, self._cookie_until = cookie, now + COOKIE_TIME - LATENCY
        self._mac1 = None  # one reply to one message
        return True


class TokenBucket:
    """Lets through `rate` a second, and up to `burst` at once."""

    __slots__ = ("_burst", "_rate", "_tokens", "_updated")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens = burst
        self._updated = -math.inf

    def take(self, now: float) -> bool:
        self._tokens = min(self._burst, self._tokens + (now - self._updated) * self._rate)
        self._updated = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def is_full(self, now: float) -> bool:
        return self._tokens + (now - self._updated) * self._rate >= self._burst


class SourceLimiter:
    """A bucket for each IPv4 address and each /64 of IPv6."""

    def __init__(self) -> None:
        self._buckets: dict[bytes, TokenBucket] = {}
        self._swept = -math.inf

    def take(self, host: str, now: float) -> bool:
        source = host.encode()
        if ":" in host:
            source = IPv6Address(host.partition("%")[0]).packed[:8]
        bucket = self._buckets.get(source)
        if bucket is None:
            if len(self._buckets) >= SOURCES_MAX and now - self._swept > SOURCE_BURST / SOURCE_RATE:
                self._swept = now
                kept = {key: each for key, each in self._buckets.items() if not each.is_full(now)}
                self._buckets = kept
            if len(self._buckets) >= SOURCES_MAX:
                return False
            bucket = self._buckets[source] = TokenBucket(SOURCE_RATE, SOURCE_BURST)
        return bucket.take(now)


class CookieRation:
    """How many cookie replies there are.

    Each source has its share, so that a flood from one source keeps no other from its cookie.
    Beyond the shares there is a rest for all. So a flood in the name of a victim, which uses up
    the victim's share, does not lock the victim out.
    """

    def __init__(self) -> None:
        self._all = TokenBucket(COOKIE_RATE, COOKIE_RATE)
        self._rest = TokenBucket(COOKIE_REST, COOKIE_REST)
        self._shares = SourceLimiter()

    def take(self, host: str, now: float) -> bool:
        return (self._shares.take(host, now) or self._rest.take(now)) and self._all.take(now)
