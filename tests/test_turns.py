from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from aiotun import turns as module
from aiotun.turns import Call, Turns

AsThread = Callable[[int], None]


@pytest.fixture
def as_thread(monkeypatch: pytest.MonkeyPatch) -> AsThread:
    """Become the thread of that number."""
    return lambda number: monkeypatch.setattr(module, "get_ident", lambda: number)


@pytest.fixture
def calls(as_thread: AsThread) -> Iterator[list[Call]]:
    """What the threads 0 to 2, in a line, wait for."""
    calls = []
    for number in range(3):
        as_thread(number)
        calls.append(Call())
    yield calls
    for each in calls:
        each.close()


@pytest.fixture
def turns(calls: list[Call], as_thread: AsThread) -> Turns:
    """It is the turn of thread 9, and three wait."""
    turns = Turns()
    as_thread(9)
    assert turns.take()
    turns.line.extend(calls)
    return turns


def called(calls: list[Call]) -> list[bool]:
    return [each.is_set() for each in calls]


def test_it_is_handed_to_the_first(turns: Turns, calls: list[Call], as_thread: AsThread) -> None:
    for expected in (0, 1, 2):
        holder = turns.thread
        for number in range(expected, 3):
            as_thread(number)
            assert not turns.take_in_line(calls[number])
        assert holder is not None
        as_thread(holder)
        turns.give_back()
        assert not turns.take()
        assert called(calls) == [number <= expected for number in range(3)]
        as_thread(expected)
        assert turns.take_in_line(calls[expected])
        calls[expected].set()
        turns._handed = 0.0  # long ago
    turns.give_back()
    as_thread(9)
    assert turns.take()


def test_until_some_time_has_passed_any_may_take_it(
    turns: Turns, calls: list[Call], as_thread: AsThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLICE", float("inf"))
    for _ in range(2):
        turns.give_back()
        assert called(calls) == [True, False, False]  # or it might be nobody's for ever
        assert turns.take()
        as_thread(0)
        assert not turns.take_in_line(calls[0])
        assert called(calls) == [False] * 3
        as_thread(9)
    turns.give_back()
    as_thread(0)
    assert turns.take_in_line(calls[0])
    as_thread(9)
    assert not turns.take()
    as_thread(0)
    turns.give_back()
    assert called(calls[1:]) == [True, False]


def test_one_turn_is_handed_over_in_so_much_time(
    turns: Turns, as_thread: AsThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLICE", time.monotonic() / 2)
    turns.give_back()
    assert not turns.take()
    as_thread(0)
    turns.give_back()
    as_thread(9)
    assert turns.take()


def test_whoever_leaves_passes_the_call_on(
    turns: Turns, calls: list[Call], as_thread: AsThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLICE", float("inf"))
    turns.give_back()
    as_thread(0)
    turns.leave(calls[0])
    turns.give_back()
    assert called(calls[1:]) == [True, False]
    as_thread(1)
    assert turns.take_in_line(calls[1])
    as_thread(2)
    turns.leave(calls[2])
    turns.give_back()
    as_thread(1)
    turns.give_back()
    as_thread(9)
    assert turns.take()


def test_whoever_leaves_as_the_turn_comes_hands_it_on(
    turns: Turns, calls: list[Call], as_thread: AsThread
) -> None:
    turns.give_back()
    turns._handed = 0.0
    as_thread(0)
    turns.leave(calls[0])
    turns.give_back()
    as_thread(1)
    assert turns.take_in_line(calls[1])


def test_a_turn_that_was_not_given_back_is_its_threads(turns: Turns, as_thread: AsThread) -> None:
    assert turns.take()
    assert not turns.others
    as_thread(0)
    turns.give_back()
    assert turns.others
    assert not turns.take()


def test_the_end_wakes_all(turns: Turns, calls: list[Call]) -> None:
    turns.end()
    assert called(calls) == [True] * 3
