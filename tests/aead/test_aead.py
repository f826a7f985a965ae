"""Sealing and opening: both implementations by the published vectors, and held equal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from aiotun import aead
from aiotun.aead import python

VECTORS = json.loads(Path(__file__).with_name("vectors.json").read_text())["vectors"]

IMPLEMENTATIONS: dict[str, Any] = {"python": python}
if aead.implementation == "native":
    from aiotun.native import _aead

    IMPLEMENTATIONS["native"] = _aead

KEY = bytes(range(32))
HEAD = b"\4\0\0\0abcd"
ALGORITHMS = ["chacha20-poly1305", "aes-256-gcm"]
THREADS_BATCH = [bytes([n % 251]) * 1420 for n in range(300)]  # large enough to be shared

packets = st.lists(st.binary(max_size=100), max_size=20)


@pytest.fixture(params=IMPLEMENTATIONS)
def impl(request: pytest.FixtureRequest) -> Any:
    return IMPLEMENTATIONS[request.param]


@pytest.mark.requires("aead")
@pytest.mark.skipif(os.environ.get("AIOTUN_PURE") == "1", reason="AIOTUN_PURE=1 is set")
def test_the_native_implementation_is_tested_too() -> None:
    assert "native" in IMPLEMENTATIONS


def outcome(function: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
    """What it returns, or the type of what it raises."""
    try:
        return function(*args, **keywords)
    except Exception as exc:
        return type(exc)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["source"])
def test_published_vectors(impl: Any, vector: dict[str, str]) -> None:
    algorithm = vector["algorithm"]
    key, nonce, data, packet, sealed = (
        bytes.fromhex(vector[name])
        for name in ("key", "nonce", "associated_data", "packet", "sealed")
    )
    fixed = {"nonce_head": nonce[:4], "associated_data": data}
    counter = int.from_bytes(nonce[4:], "little")
    messages = impl.Sealer(key, algorithm, **fixed).seal([packet], HEAD, counter)
    assert messages == [HEAD + nonce[4:] + sealed]
    opener = impl.Opener(key, len(HEAD), algorithm, **fixed)
    assert opener.open(messages) == ([packet], [counter])


def test_messages_as_wireguard_has_them(impl: Any) -> None:
    messages = impl.Sealer(KEY).seal([b"", b"x" * 20, b"y" * 1419], HEAD, 7, 16, 1420)
    decrypt = ChaCha20Poly1305(KEY).decrypt
    expected = [b"", b"x" * 20 + bytes(12), b"y" * 1419 + bytes(1)]
    for counter, (message, packet) in enumerate(zip(messages, expected, strict=True), 7):
        assert message[:8] == HEAD
        assert message[8:16] == counter.to_bytes(8, "little")
        assert decrypt(bytes(4) + message[8:16], message[16:], None) == packet


@pytest.mark.parametrize(
    ("size", "pad", "limit", "padded"),
    [
        (0, 16, 100, 0),
        (1, 16, 100, 16),
        (16, 16, 100, 16),
        (17, 16, 100, 32),
        (97, 16, 100, 100),  # no further than the limit
        (100, 16, 100, 100),
        (101, 16, 100, 101),  # beyond it already
        (5, 1, 100, 5),
        (5, 16, -1, 5),
    ],
)
def test_padding(impl: Any, size: int, pad: int, limit: int, padded: int) -> None:
    (message,) = impl.Sealer(KEY).seal([b"x" * size], b"", 0, pad, limit)
    assert impl.Opener(KEY, 0).open([message])[0] == [b"x" * size + bytes(padded - size)]


@given(
    packets,
    st.sampled_from(ALGORITHMS),
    st.binary(max_size=12),
    st.one_of(st.integers(-2, 3), st.integers(2**64 - 25, 2**64 + 1)),
    st.integers(-1, 20),
    st.integers(-1, 120),
    st.sampled_from([1, 2]),
)
def test_both_seal_the_same(
    batch: list[bytes],
    algorithm: Any,
    head: bytes,
    counter: int,
    pad: int,
    limit: int,
    threads: int,
) -> None:
    sealed = {
        name: outcome(
            impl.Sealer(KEY, algorithm, threads=threads).seal, batch, head, counter, pad, limit
        )
        for name, impl in IMPLEMENTATIONS.items()
    }
    first = sealed["python"]
    assert all(each == first for each in sealed.values())
    if isinstance(first, list):
        for impl in IMPLEMENTATIONS.values():
            opened, counters = impl.Opener(KEY, len(head), algorithm).open(first)
            assert counters == list(range(counter, counter + len(batch)))
            assert [packet[: len(old)] for packet, old in zip(opened, batch, strict=True)] == batch


@given(st.data(), packets, st.sampled_from(ALGORITHMS))
def test_both_leave_out_what_is_forged(
    data: st.DataObject, batch: list[bytes], algorithm: Any
) -> None:
    messages = python.Sealer(KEY, algorithm).seal(batch, HEAD, 40)
    good = []
    for index, message in enumerate(messages):
        change = data.draw(st.sampled_from(["none", "flip", "cut", "extend"]))
        if change == "flip":
            place = data.draw(st.integers(len(HEAD), len(message) - 1))
            flipped = message[place] ^ 1 << data.draw(st.integers(0, 7))
            messages[index] = message[:place] + bytes([flipped]) + message[place + 1 :]
        elif change == "cut":
            messages[index] = message[: data.draw(st.integers(0, len(message) - 1))]
        elif change == "extend":
            messages[index] = message + b"\0"
        else:
            good.append(index)
    for impl in IMPLEMENTATIONS.values():
        assert impl.Opener(KEY, len(HEAD), algorithm).open(messages) == (
            [batch[index] for index in good],
            [40 + index for index in good],
        )


def test_another_key_nonce_or_associated_data_opens_nothing(impl: Any) -> None:
    messages = impl.Sealer(KEY).seal([b"packet"], HEAD, 0)
    for opener in (
        impl.Opener(bytes(32), len(HEAD)),
        impl.Opener(KEY, len(HEAD), nonce_head=b"1234"),
        impl.Opener(KEY, len(HEAD), associated_data=b"x"),
        impl.Opener(KEY, len(HEAD), "aes-256-gcm"),
    ):
        assert opener.open(messages) == ([], [])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_threads_share_a_batch_and_keep_its_order(impl: Any, algorithm: Any) -> None:
    alone = impl.Sealer(KEY, algorithm).seal(THREADS_BATCH, HEAD, 9)
    for threads in (2, 3, 64):
        assert impl.Sealer(KEY, algorithm, threads=threads).seal(THREADS_BATCH, HEAD, 9) == alone
        opened, counters = impl.Opener(KEY, len(HEAD), algorithm, threads=threads).open(alone)
        assert opened == THREADS_BATCH
        assert counters == list(range(9, 309))


def test_several_threads_use_one_key_at_a_time(impl: Any) -> None:
    sealer, opener = impl.Sealer(KEY, threads=2), impl.Opener(KEY, len(HEAD), threads=2)
    results: list[list[bytes]] = []

    def work() -> None:
        for _ in range(10):
            results.append(opener.open(sealer.seal(THREADS_BATCH, HEAD, 0))[0])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [THREADS_BATCH] * 40


@pytest.mark.requires("aead")
def test_memory_that_ends_while_threads_are_at_work() -> None:
    """What was made is let go when no thread uses it any more, and all goes on."""
    testcapi: Any = pytest.importorskip("_testcapi")
    impl = IMPLEMENTATIONS["native"]
    sealer, opener = impl.Sealer(KEY, threads=2), impl.Opener(KEY, len(HEAD), threads=2)
    sealed = sealer.seal(THREADS_BATCH, HEAD, 0)
    calls = [
        (partial(sealer.seal, THREADS_BATCH, HEAD, 0), sealed),
        (partial(opener.open, sealed), (THREADS_BATCH, list(range(300)))),
    ]
    for call, result in calls:
        for before in (50, 100, 200, 280):
            failed = False
            testcapi.set_nomemory(before, before + 1)
            try:
                call()
            except MemoryError:
                failed = True
            finally:
                testcapi.remove_mem_hooks()
            assert failed
            assert call() == result


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
@given(turns=st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.booleans()), max_size=20))
def test_keys_take_turns(name: str, turns: list[tuple[int, bool, bool]]) -> None:
    """Each uses its own, whichever were used, closed and made anew before."""
    impl = IMPLEMENTATIONS[name]
    arguments = [(bytes([n]) * 32, algorithm) for n in (1, 2) for algorithm in ALGORITHMS]
    messages = [
        python.Sealer(*each).seal([b"packet"], b"", 7)  # type: ignore[arg-type]
        for each in arguments
    ]

    def ends(number: int) -> tuple[Any, Any]:
        key, algorithm = arguments[number]
        return impl.Sealer(key, algorithm), impl.Opener(key, 0, algorithm)

    pairs = [ends(number) for number in range(4)]
    for number, opening, closing in turns:
        sealer, opener = pairs[number]
        if opening:
            assert opener.open(messages[number]) == ([b"packet"], [7])
        else:
            assert sealer.seal([b"packet"], b"", 7) == messages[number]
        if closing:
            sealer.close()
            opener.close()
            pairs[number] = ends(number)


def test_a_closed_key_does_nothing_more(impl: Any) -> None:
    sealer, opener = impl.Sealer(KEY), impl.Opener(KEY, 0)
    (message,) = sealer.seal([b"packet"], b"", 0)
    for key in (sealer, opener):
        key.close()
        key.close()
    with pytest.raises(ValueError, match="closed"):
        sealer.seal([b"packet"], b"", 0)
    with pytest.raises(ValueError, match="closed"):
        opener.open([message])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda impl: impl.Sealer(bytes(31)), "a key has 32 bytes, not 31"),
        (lambda impl: impl.Sealer(KEY, "rot13"), "chacha20-poly1305 or aes-256-gcm, not rot13"),
        (lambda impl: impl.Sealer(KEY, nonce_head=b"123"), "a nonce's head has 4 bytes, not 3"),
        (lambda impl: impl.Sealer(KEY, threads=0), "threads are 1 to 64, not 0"),
        (lambda impl: impl.Sealer(KEY, threads=65), "threads are 1 to 64, not 65"),
        (lambda impl: impl.Sealer(KEY, threads=2**70), "threads are 1 to 64, not"),
        (lambda impl: impl.Sealer(memoryview(KEY * 2)[::2]), "one behind the other"),
        (lambda impl: impl.Opener(memoryview(KEY)[::-1], 0), "one behind the other"),
        (lambda impl: impl.Sealer(KEY, nonce_head=memoryview(KEY)[::8]), "one behind the other"),
        (lambda impl: impl.Opener(KEY, 2**70), "a head has 0 to 16777216 bytes, not"),
        (lambda impl: impl.Sealer(KEY).seal([b""], b"", 0, 2**70), "pad is 1 to 65536 bytes, not"),
        (lambda impl: impl.Opener(KEY, -1), "a head has 0 to 16777216 bytes, not -1"),
        (lambda impl: impl.Sealer(KEY).seal([b""], b"", 0, 0), "pad is 1 to 65536 bytes, not 0"),
        (lambda impl: impl.Sealer(KEY).seal([bytes((1 << 24) + 1)], b"", 0), "at most 16777216"),
        (lambda impl: impl.Opener(KEY, 0).open([bytes((1 << 24) + 1)]), "at most 16777216"),
    ],
)
def test_wrong_values(impl: Any, make: Callable[[Any], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(impl)


@pytest.mark.parametrize(
    "make",
    [
        lambda impl: impl.Sealer("k" * 32),
        lambda impl: impl.Sealer([0] * 32),
        lambda impl: impl.Sealer(KEY, nonce_head="head"),
        lambda impl: impl.Sealer(KEY, associated_data=bytearray(4)),
        lambda impl: impl.Sealer(KEY, threads=1.0),
        lambda impl: impl.Opener(KEY, 1.0),
        lambda impl: impl.Sealer(KEY, 5),
        lambda impl: impl.Sealer(KEY).seal([], bytearray(8), 0),
        lambda impl: impl.Opener(KEY, 1).open_frames([(5, 0)], b"h", impl.ReplayWindow(9)),
        lambda impl: impl.Opener(KEY, 1).open_frames([(b"x", 1.0)], b"h", impl.ReplayWindow(9)),
        lambda impl: impl.Opener(KEY, 1).open_frames([], "h", impl.ReplayWindow(9)),
    ],
)
def test_wrong_types(impl: Any, make: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError):
        make(impl)


def test_a_train_with_a_segment_beyond_it(impl: Any) -> None:
    for segment in (2**70, -(2**70)):
        opened = impl.Opener(KEY, 1).open_frames([(b"xy", segment)], b"h", impl.ReplayWindow(9))
        assert tuple(opened) == ([], [b"xy"], 0, 0, 0, 0, 0)


def test_a_key_of_another_format(impl: Any) -> None:
    (message,) = impl.Sealer(KEY).seal([b"x"], b"", 0)
    sealer = impl.Sealer(memoryview(KEY).cast("I"), nonce_head=memoryview(bytes(4)).cast("I"))
    assert sealer.seal([b"x"], b"", 0, 1, 2**70) == [message]
    nonce_head = bytearray(4)
    sealer = impl.Sealer(KEY, nonce_head=nonce_head)
    nonce_head[:] = b"head"
    assert sealer.seal([b"x"], b"", 0) == [message]


@pytest.mark.parametrize("wrong", ["text", 5, None, bytearray(b"x"), memoryview(b"x")])
def test_a_packet_is_bytes(impl: Any, wrong: Any) -> None:
    with pytest.raises(TypeError, match="a packet is bytes, not"):
        impl.Sealer(KEY).seal([b"good", wrong], b"", 0)
    with pytest.raises(TypeError, match="a packet is bytes, not"):
        impl.Opener(KEY, 0).open([wrong])


def test_a_counter_has_64_bits(impl: Any) -> None:
    sealer = impl.Sealer(KEY)
    assert len(sealer.seal([b"a", b"b"], b"", 2**64 - 2)) == 2
    for counter in (-1, 2**64 - 1, 2**64):
        with pytest.raises(OverflowError, match="64 bits"):
            sealer.seal([b"a", b"b"], b"", counter)


def test_a_key_may_be_wiped_by_its_owner(impl: Any) -> None:
    key = bytearray(KEY)
    sealer = impl.Sealer(key)
    key[:] = bytes(32)
    assert sealer.seal([b"x"], b"", 0) == impl.Sealer(KEY).seal([b"x"], b"", 0)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")
def test_threads_after_a_fork(impl: Any) -> None:
    """In a program of its own: a fork of this one would take pytest along."""
    script = (
        "import os, sys\n"
        f"from {impl.__name__} import Opener, Sealer\n"
        "batch = [bytes(1420)] * 100\n"
        "def sealed(): return Sealer(bytes(32), threads=3).seal(batch, b'', 0)\n"
        "before = sealed()\n"
        "child = os.fork()\n"
        "if not child: os._exit(sealed() != before)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) or sealed() != before)\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], timeout=30)
    assert done.returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_threads_take_no_signals(impl: Any) -> None:
    """A program may wait for a signal in one of its own threads, and block it in all of them."""
    script = (
        "import os, signal\n"
        f"from {impl.__name__} import Sealer\n"
        "Sealer(bytes(32), threads=3).seal([bytes(1400)] * 200, b'', 0)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\n"
        "signal.sigwait([signal.SIGUSR1])\n"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=30).returncode == 0
