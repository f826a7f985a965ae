"""Random scripts on the rings: read and written in C, and by ctypes, all comes out the same.

What the driver puts there is arbitrary. The positions and sizes in the rings themselves
wintun.dll alone reads: what it finds broken it tells by an error, as the stand-in does.
"""

from __future__ import annotations

import sys

assert sys.platform == "win32"

from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from standin import Far, StandIn, configured, open_standin

import aiotun

RING = 0x20000

ENDING = (5, 13, 38, 0xDEAD)
"""ERROR_ACCESS_DENIED, ERROR_INVALID_DATA (a ring is broken), ERROR_HANDLE_EOF (the adapter is
gone), and one that no page names."""

FAILING = {
    "nothing comes": "WintunReceivePacket",
    "nothing is taken": "WintunAllocateSendPacket",
}

SIZES = st.sampled_from([0, 1, 19, 20, 40, 1500, 9000, 0xFFFF]) | st.integers(0, 2000)

STEP = st.one_of(
    st.tuples(st.just("arrive"), st.lists(st.tuples(st.binary(max_size=2), SIZES), max_size=8)),
    st.tuples(st.just("send"), st.lists(st.tuples(st.sampled_from([b"\x45", b"\x60"]), SIZES))),
    st.tuples(st.sampled_from(["recv", "recv many", "wait", "down", "up"])),
    st.tuples(st.just("nothing comes"), st.sampled_from([*ENDING, 259])),
    st.tuples(st.just("nothing is taken"), st.sampled_from([*ENDING, 111])),
    st.tuples(st.sampled_from(["works again", "Corrupt", "Remove"])),
)


def packet(start: bytes, size: int) -> bytes:
    return (start + bytes([size & 0xFF]) * size)[:size]


class Play:
    """A device with what a script does to it, and what came of each step."""

    def __init__(self, standin: StandIn, device: aiotun.Device) -> None:
        self.standin = standin
        self.device = device
        self.far = Far(standin, device.name)

    def step(self, step: tuple[Any, ...]) -> object:
        try:
            return self._step(*step)
        except (OSError, ValueError) as exc:
            return type(exc)

    def _step(self, name: str, *given: Any) -> object:
        device = self.device
        if name == "arrive":
            return [self.far.push(packet(*each)) for each in given[0]]
        if name == "send":
            device.send_many([packet(*each) for each in given[0]], timeout=0)
            return None
        if name == "recv":
            return device.recv(timeout=0)
        if name == "recv many":
            return device.recv_many(timeout=0)
        if name == "wait":
            return device.wait_readable(timeout=0)
        if name in ("down", "up"):
            return getattr(device, name)()
        if name in FAILING:
            self.standin.fail(FAILING[name], given[0], 1 << 30)
            return None
        if name == "works again":
            self.standin.fail("", 0, 0)
            return None
        return device.is_up and self.far.call(name)

    def sent(self) -> list[bytes]:
        """What went out, and its counters."""
        found = []
        while True:
            try:
                found.append(self.far.pull())
            except TimeoutError:
                return found


def play(standin: StandIn, script: list[tuple[Any, ...]], native: bool) -> list[object]:
    with ExitStack() as stack:
        stack.callback(standin.fail, "", 0, 0)
        if not native:
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            patch.setattr("aiotun.packetio.native", None)
        settings = configured(windows={"ring_capacity": RING})
        play = Play(standin, stack.enter_context(aiotun.Device(**settings)))
        return [*map(play.step, script), play.sent(), play.device.counters]


@example([("arrive", [(b"", 0)]), ("nothing is taken", 5), ("send", [(b"E", 20)]), ("recv",)])
@given(st.lists(STEP, max_size=12))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_in_c_and_by_ctypes(script: list[tuple[Any, ...]]) -> None:
    with open_standin() as standin:
        assert play(standin, script, native=True) == play(standin, script, native=False)


def test_the_errors_that_end_it() -> None:
    """So that the scripts above compare something."""
    with open_standin() as standin:
        for error in ENDING:
            script = [("arrive", [(b"\x45", 20)]), ("nothing comes", error), ("recv",), ("recv",)]
            for native in (True, False):
                assert play(standin, script, native)[2:4] == [aiotun.errors.InterfaceGoneError] * 2
