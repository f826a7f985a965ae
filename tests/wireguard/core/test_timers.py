"""Timers, against a list that is searched through."""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from aiotun.wireguard.core.timers import STALE_MIN, Timers


class Owner:
    """Wants to be visited at one time or another."""

    def __init__(self) -> None:
        self.visit = inf
        self.wanted: set[float] = set()


def test_in_their_order_and_once() -> None:
    timers: Timers[Owner] = Timers()
    a, b = Owner(), Owner()
    for owner, due in ((a, 5.0), (b, 3.0), (a, 2.0), (a, 9.0), (b, 3.0)):
        timers.begin(owner, due)
    assert timers.deadline == 2.0
    assert list(timers.due(1.9)) == []
    assert list(timers.due(4.0)) == [a, b]
    assert list(timers.due(100.0)) == []
    assert timers.deadline == inf


def test_what_a_visit_begins() -> None:
    timers: Timers[Owner] = Timers()
    owner = Owner()
    timers.begin(owner, 1.0)
    for visited in timers.due(2.0):
        timers.begin(visited, 7.0)
    assert timers.deadline == 7.0


def test_nobody_who_was_forgotten_is_visited() -> None:
    timers: Timers[Owner] = Timers()
    owner = Owner()
    timers.begin(owner, 1.0)
    timers.forget(owner)
    assert list(timers.due(1.0)) == []
    timers.begin(owner, 2.0)
    assert list(timers.due(2.0)) == [owner]


def test_what_is_stale_is_bounded() -> None:
    """Each visit leaves a later time behind, as timers do that every packet moves forward."""
    timers: Timers[Owner] = Timers()
    owners = [Owner() for _ in range(10 * STALE_MIN)]
    for step in range(50):
        for owner in owners:
            timers.begin(owner, step + 500.0)
            timers.begin(owner, step + 1.0)
        assert len(list(timers.due(step + 1.0))) == len(owners)
        assert len(timers._heap) <= 3 * len(owners)


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from(["begin", "forget", "wait"]), st.floats(0, 9)),
        max_size=60,
    )
)
def test_like_a_search(script: list[tuple[int, str, float]]) -> None:
    timers: Timers[Owner] = Timers()
    timers._max = 3  # stale ones are dropped often
    owners = [Owner() for _ in range(5)]
    now = 0.0
    for number, what, value in script:
        owner = owners[number]
        if what == "begin":
            owner.wanted.add(now + value)
            timers.begin(owner, now + value)
        elif what == "forget":
            owner.wanted.clear()
            timers.forget(owner)
        else:
            now += value
            expected = {each for each in owners if any(due <= now for due in each.wanted)}
            visited = list(timers.due(now))
            assert len(visited) == len(set(visited))
            assert set(visited) == expected
            for each in visited:
                each.wanted = {due for due in each.wanted if due > now}
                timers.begin(each, min(each.wanted, default=inf))
        soonest = min((due for each in owners for due in each.wanted), default=inf)
        assert timers.deadline <= soonest
