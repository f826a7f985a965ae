"""Datagrams gathered by destination, and the messages in which they leave."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from implementations import Implementation

from aiotun.native import native
from aiotun.trains import SEGMENTS_MAX, SIZE_MAX
from aiotun.udp.messages import Message, Outbox, pack
from aiotun.udp.protocol import SocketAddress

A: SocketAddress = ("192.0.2.1", 1)
B: SocketAddress = ("2001:db8::1", 1, 0, 0)


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        pytest.param([5], [[5]], id="one"),
        pytest.param([5, 5, 5], [[5, 5, 5]], id="equal"),
        pytest.param([5, 5, 3], [[5, 5, 3]], id="a shorter one ends"),
        pytest.param([5, 3, 3], [[5, 3], [3]], id="nothing follows a shorter one"),
        pytest.param([5, 3, 5], [[5, 3], [5]], id="nor an equal one"),
        pytest.param([3, 5, 5], [[3], [5, 5]], id="a longer one begins"),
        pytest.param([0, 0, 5, 0], [[0], [0], [5], [0]], id="empty ones alone"),
        pytest.param([70_000], [[70_000]], id="too long for any: the kernel's to refuse"),
        pytest.param([1000] * 70, [[1000] * 64, [1000] * 6], id="segments at most"),
        pytest.param([20_000] * 4, [[20_000] * 3, [20_000]], id="bytes at most"),
        pytest.param([], [], id="none"),
    ],
)
def test_batches(
    offload_impl: Implementation, lengths: list[int], expected: list[list[int]]
) -> None:
    found = offload_impl.batches([bytes(n) for n in lengths])
    assert [list(map(len, batch)) for batch in found] == expected


@given(st.lists(st.sampled_from([0, 1, 2, 63, 64, 1000, 1452, 9000, SIZE_MAX, SIZE_MAX + 1])))
def test_every_batch_is_one_that_the_kernel_takes(
    offload_impl: Implementation, lengths: list[int]
) -> None:
    datagrams = [bytes([n & 255]) * length for n, length in enumerate(lengths)]
    found = offload_impl.batches(datagrams)
    assert list(chain(*found)) == datagrams
    for batch in found:
        *others, last = map(len, batch)
        assert len(set(others)) <= 1
        if others:
            assert 0 < last <= others[0]
            assert len(batch) <= SEGMENTS_MAX
            assert sum(map(len, batch)) <= SIZE_MAX


@pytest.mark.parametrize("wrong", [(b"1",), [b"1", "2"], None])
def test_the_native_one_takes_lists_of_bytes(wrong: Any) -> None:
    if native is not None:
        with pytest.raises(TypeError):
            native.batches(wrong)


def nothing(*way: Any) -> Any:
    return way


def test_order_is_kept_for_each_destination() -> None:
    outbox = Outbox(nothing)
    outbox.run(A, None, 0).append(b"1")
    outbox.run(B, None, 0).append(b"2")
    outbox.run(A, None, 0).append(b"3")
    outbox.run(A, None, 2).append(b"4")
    outbox.run(A, "192.0.2.7", 2).append(b"5")
    outbox.run(A, None, 0).append(b"6")
    assert pack(outbox.take(), True) == [
        Message(A, None, 0, [b"1", b"3"]),
        Message(B, None, 0, [b"2"]),
        Message(A, None, 2, [b"4"]),
        Message(A, "192.0.2.7", 2, [b"5"]),
        Message(A, None, 0, [b"6"]),
    ]
    assert pack(outbox.take(), True) == []


def test_a_train_keeps_its_place() -> None:
    outbox = Outbox(nothing)
    outbox.run(A, None, 0).append(b"1")
    outbox.train(A, None, 0, b"2233", 2)
    outbox.run(A, None, 0).append(b"4")
    outbox.train(B, None, 1, b"56", 1)
    messages = pack(outbox.take(), True)
    assert messages == [
        Message(A, None, 0, [b"1"]),
        Message(A, None, 0, [b"2233"], 2),
        Message(A, None, 0, [b"4"]),
        Message(B, None, 1, [b"56"], 1),
    ]
    assert [message.number for message in messages] == [1, 2, 1, 2]


def test_a_train_where_only_single_datagrams_can_be_sent() -> None:
    outbox = Outbox(nothing)
    outbox.train(A, None, 1, b"11222", 2)
    messages = pack(outbox.take(), False)
    assert messages == [Message(A, None, 1, [each]) for each in (b"11", b"22", b"2")]


def test_what_cannot_be_sent_leaves_nothing_behind() -> None:
    def refuse(*way: object) -> Any:
        raise ValueError("of the test")

    outbox = Outbox(refuse)
    with pytest.raises(ValueError, match="of the test"):
        outbox.run(A, "192.0.2.7", 3)
    assert pack(outbox.take(), True) == []
