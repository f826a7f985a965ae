from __future__ import annotations

import pytest

from aiotun.throttle import INTERVAL, KINDS_MAX, Throttle


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, as its only item."""
    now = [100.0]
    monkeypatch.setattr("aiotun.throttle.monotonic", lambda: now[0])
    return now


def test_one_of_a_kind_in_an_interval(clock: list[float]) -> None:
    throttle = Throttle()
    assert throttle.admit("a") == 0
    assert [throttle.admit("a") for _ in range(5)] == [None] * 5
    assert throttle.admit("b") == 0
    clock[0] += INTERVAL
    assert throttle.admit("a") == 5
    assert throttle.admit("b") == 0
    clock[0] += 100 * INTERVAL
    assert throttle.admit("a") == 0
    clock[0] += INTERVAL / 2
    assert throttle.admit("a") is None


def test_kinds_without_end_are_not_remembered(clock: list[float]) -> None:
    throttle = Throttle()
    for kind in range(10 * KINDS_MAX):
        assert throttle.admit(kind) == 0
        assert len(throttle._kinds) <= KINDS_MAX
