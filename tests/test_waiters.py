from __future__ import annotations

import errno
import itertools
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from lines import AtLine

from aiotun.waiters import Waiters


@pytest.fixture
def waiters() -> Iterator[Waiters]:
    waiters = Waiters()
    yield waiters
    waiters.close()


def test_woken_until_sleep(waiters: Waiters) -> None:
    waiters.wake()  # nobody is there to be woken
    interrupt = waiters.join()
    assert waiters.join() is interrupt
    assert waiters.threads == {threading.get_ident(): 2}
    assert not interrupt.is_set()
    waiters.sleep()
    for _ in range(2):
        waiters.wake()
        waiters.wake()
        assert interrupt.is_set()
        waiters.sleep()
        assert not interrupt.is_set()


def test_nobody_waits_after_the_end(waiters: Waiters) -> None:
    waiters.end()
    interrupt = waiters.join()
    assert interrupt.is_set()
    waiters.wake()
    waiters.sleep()
    assert interrupt.is_set()


def test_an_end_behind_the_close(waiters: Waiters) -> None:
    waiters.join()
    waiters.close()
    waiters.end()


STEPS = [("join",), ("join", "wake"), ("join", "wake", "sleep")]


def nothing() -> None: ...


@pytest.mark.parametrize("steps", STEPS, ids=" ".join)
def test_an_end_at_any_line_is_heard(steps: tuple[str, ...]) -> None:
    for line in itertools.count():
        waiters = Waiters()
        with AtLine(line, waiters.end, nothing.__code__) as end:
            for step in steps:
                getattr(waiters, step)()
        assert not end.early or waiters.join().is_set()
        waiters.close()
        if not end.early:
            assert line > 3
            return


def test_who_cannot_wait_is_not_counted(waiters: Waiters, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_descriptors() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as limited:
        limited.setattr("aiotun.waiters.Interrupt", no_descriptors)
        with pytest.raises(OSError, match="Too many open files"):
            waiters.join()
    assert not waiters.threads
    waiters.join()
    assert waiters.threads


def test_others(waiters: Waiters) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(waiters.join).result()
        assert waiters.others
        assert not pool.submit(lambda: waiters.others).result()
