from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

import aiotun
from aiotun import turns as module
from aiotun.turns import Turns


@pytest.fixture
def calls() -> Iterator[list[aiotun.Interrupt]]:
    """What three threads in a line wait for."""
    calls = [aiotun.Interrupt() for _ in range(3)]
    yield calls
    for each in calls:
        each.close()


@pytest.fixture
def turns(calls: list[aiotun.Interrupt]) -> Turns:
    """It is some thread's turn, and three wait."""
    turns = Turns()
    assert turns.take()
    turns.line.extend(calls)
    return turns


def called(calls: list[aiotun.Interrupt]) -> list[bool]:
    return [each.is_set() for each in calls]


def test_it_is_handed_to_the_first(turns: Turns, calls: list[aiotun.Interrupt]) -> None:
    for expected in (0, 1, 2):
        assert not any(turns.take_in_line(each) for each in calls[expected:])
        turns.give_back()
        assert not turns.take()
        assert called(calls) == [number <= expected for number in range(3)]
        assert turns.take_in_line(calls[expected])
        turns._handed = 0.0  # long ago
    turns.give_back()
    assert turns.take()


def test_until_some_time_has_passed_any_may_take_it(
    turns: Turns, calls: list[aiotun.Interrupt], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLICE", float("inf"))
    for _ in range(2):
        turns.give_back()
        assert called(calls) == [True, False, False]  # or it might be nobody's for ever
        assert turns.take()
        assert not turns.take_in_line(calls[0])
        assert called(calls) == [False] * 3
    turns.give_back()
    assert turns.take_in_line(calls[0])
    assert not turns.take()
    turns.give_back()
    assert called(calls[1:]) == [True, False]


def test_one_turn_is_handed_over_in_so_much_time(
    turns: Turns, calls: list[aiotun.Interrupt], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLICE", time.monotonic() / 2)
    turns.give_back()
    assert not turns.take()
    turns.give_back()  # that of the first in the line
    assert turns.take()


def test_whoever_leaves_passes_the_call_on(
    turns: Turns, calls: list[aiotun.Interrupt], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLICE", float("inf"))
    turns.give_back()
    assert not turns.leave(calls[0])
    assert called(calls[1:]) == [True, False]
    assert turns.take_in_line(calls[1])
    assert not turns.leave(calls[2])
    turns.give_back()
    assert turns.take()


def test_whoever_leaves_with_a_turn_knows(turns: Turns, calls: list[aiotun.Interrupt]) -> None:
    turns.give_back()
    assert turns.leave(calls[0])
    assert not turns.take()


def test_the_end_wakes_all(turns: Turns, calls: list[aiotun.Interrupt]) -> None:
    turns.end()
    assert called(calls) == [True] * 3
