"""The machine sleeps and wakes up. Who tells of it is a MODEL of powrprof.dll."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import threading

import pytest
from standin import LIBRARY, StandIn

from aiotun.platforms.windows import iphlpapi, power
from aiotun.platforms.windows.power import told_of_resumes
from aiotun.platforms.windows.routing import RouteChanges

SUSPEND, RESUME_SUSPEND, RESUME = 4, 7, 18
"""PBT_APMSUSPEND, PBT_APMRESUMESUSPEND, PBT_APMRESUMEAUTOMATIC (winuser.h): the last one comes at
each resume, the second after it if somebody is there."""


def test_each_resume_is_told_once(standin: StandIn) -> None:
    threads: list[int] = []

    def woke_up() -> None:
        threads.append(threading.get_ident())

    with told_of_resumes(woke_up), told_of_resumes(lambda: None):
        for kind in (SUSPEND, RESUME, RESUME_SUSPEND):
            assert standin.call("Power", kind) == 1  # a process asks once
        assert len(threads) == 1
        assert threads[0] != threading.get_ident()
    standin.call("Power", RESUME)
    assert len(threads) == 1


def test_routes_may_have_changed_meanwhile(standin: StandIn) -> None:
    changes = RouteChanges(iphlpapi.IpHelper(LIBRARY))
    assert not changes.happened()
    standin.call("Power", RESUME)
    assert changes.happened()
    assert not changes.happened()
    changes.close()
    standin.call("Power", RESUME)
    assert not changes.happened()


def test_one_that_does_not_tell(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    register = power._register
    monkeypatch.setattr(power, "_register", register.func.__wrapped__)  # type: ignore[attr-defined]
    standin.fail("PowerRegisterSuspendResumeNotification", 5)
    power._register(LIBRARY)
    assert "does not tell when it wakes up" in caplog.text


def test_the_systems_own() -> None:
    with told_of_resumes(lambda: None):  # wine has the function, and never tells
        pass
