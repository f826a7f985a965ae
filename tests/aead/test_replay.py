"""The replay window, against a set that remembers everything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotun import aead
from aiotun.aead.replay import WINDOW, ReplayWindow

LIMIT = 2**64 - 2**13 - 1

IMPLEMENTATIONS: list[type[ReplayWindow | aead.ReplayWindow]] = list(
    dict.fromkeys([ReplayWindow, aead.ReplayWindow])
)


@pytest.mark.parametrize("kind", IMPLEMENTATIONS)
@pytest.mark.parametrize(
    ("counters", "accepted"),
    [
        ([0, 0], [True, False]),
        ([0, 1, 2, 1], [True, True, True, False]),
        ([5, 3, 4, 3], [True, True, True, False]),
        ([WINDOW, 0, 0], [True, True, False]),
        ([WINDOW + 1, 0, 1], [True, False, True]),
        ([0, 2**40, 0, 2**40 - 1], [True, True, False, True]),
        ([LIMIT - 1, LIMIT, LIMIT - 2, 0], [True, False, True, False]),
        ([LIMIT - 2, LIMIT - 1, LIMIT], [True, True, False]),
        ([2**64 - 1, 0], [False, True]),
        ([63, 64, 63, 64, 65], [True, True, False, False, True]),
        ([0, 8192, 8192 - 64], [True, True, True]),
        ([0, 2, 1, 3], [True, True, True, True]),
    ],
)
def test_cases(
    kind: type[ReplayWindow | aead.ReplayWindow], counters: list[int], accepted: list[bool]
) -> None:
    window = kind(LIMIT)
    assert [window.accept(counter) for counter in counters] == accepted


@pytest.mark.parametrize("kind", IMPLEMENTATIONS)
@pytest.mark.parametrize("wrong", [-1, -(2**70), 2**64])
def test_a_counter_has_64_bits(kind: type[ReplayWindow | aead.ReplayWindow], wrong: int) -> None:
    with pytest.raises(OverflowError, match="a counter has 64 bits"):
        kind(wrong)
    window = kind(LIMIT)
    for _ in range(2):
        with pytest.raises(OverflowError, match="a counter has 64 bits"):
            window.accept(wrong)
        window.accept(5)
    assert window.accept(2**64 - 1 - 2**13 - 1)


steps = st.one_of(
    st.integers(-5, 5),
    st.integers(-WINDOW - 3, WINDOW + 3),
    st.sampled_from([-WINDOW, -WINDOW - 1, 64, 8192, 10**6]),
)
runs = st.one_of(st.integers(1, 3), st.integers(1, 200), st.integers(8000, 8500))


@given(st.lists(st.tuples(steps, runs), min_size=1, max_size=50))
def test_like_a_set(batches: list[tuple[int, int]]) -> None:
    windows = [kind(LIMIT) for kind in IMPLEMENTATIONS]
    seen, newest = set[int](), -1
    for step, length in batches:
        first = max(0, newest + step)
        for counter in range(first, first + length):
            new = counter not in seen and newest - counter <= WINDOW
            assert [window.accept(counter) for window in windows] == [new] * len(windows)
            seen.add(counter)
            newest = max(newest, counter)
