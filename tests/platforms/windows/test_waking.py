"""What wakes loops and threads: sockets, and who is told that an interface changed."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import _overlapped  # type: ignore[import-not-found]
import _winapi
import socket
from concurrent.futures import ThreadPoolExecutor

from standin import LIBRARY, StandIn

import aiotun
from aiotun.interfaces import LinkChanged
from aiotun.platforms.windows import waits
from aiotun.platforms.windows.events import State, WindowsEvents
from aiotun.platforms.windows.iphlpapi import IpHelper


def test_what_several_threads_send_at_once_is_taken() -> None:
    """asyncio's loops are woken so, and never hear of a byte that was refused.

    Wine refuses some; tools/windows/startup goes round that.
    """
    near, far = socket.socketpair()
    near.setblocking(False)
    with near, far, ThreadPoolExecutor(2) as threads:
        sent = [threads.submit(lambda: [near.send(b"\0") for _ in range(500)]) for _ in range(2)]
        assert [each.result(30) for each in sent] == [[1] * 500] * 2


def test_several_threads_ask_for_one_interrupt() -> None:
    with aiotun.Interrupt() as interrupt, ThreadPoolExecutor(2) as threads:
        interrupt.set()
        asked = [threads.submit(lambda: [interrupt.is_set() for _ in range(500)]) for _ in range(2)]
        assert all(all(each.result(30)) for each in asked)


def test_a_wait_that_calls_when_it_is_closed() -> None:
    """As wine does at times."""
    calls: list[None] = []
    event = _overlapped.CreateEvent(None, True, False, None)
    wait = waits.RegisteredWait(event, lambda: calls.append(None))
    waits._called(wait._key, 0)
    wait.close()
    waits._called(wait._key, 0)
    assert len(calls) == 1
    _winapi.CloseHandle(event)


def test_what_changes_before_it_is_listened_to_is_told(standin: StandIn) -> None:
    states = [State("tun0", mtu, True, ()) for mtu in (1500, 1400)]
    events = WindowsEvents(IpHelper(LIBRARY), lambda: states.pop(0))
    try:
        assert events.read() == [LinkChanged("tun0", 1400, True, carrier=True)]
        assert events.read() == []
    finally:
        events.close()
