"""aiotun demo on Windows: on an adapter, whose rings are those of the stand-in, and without."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import argparse
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from standin import LIBRARY, Far, StandIn

from aiotun import probes
from aiotun.cli import demo
from aiotun.platforms.windows import echo, wintun
from aiotun.testing.ping import echo_reply, echo_request

ARGUMENTS = argparse.Namespace(memory=False, seconds=0.3)


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    probes.probe.cache_clear()
    yield
    probes.probe.cache_clear()


@pytest.fixture
def adapter(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Wintun is there, and what Windows pings comes out of its rings."""
    load: Any = wintun.load

    def ping(host: str, data: bytes, timeout: float) -> bool:
        far = Far(standin, "tun0")
        request = echo_request("10.9.0.1", host, 1, 1, data)
        assert far.push(request)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if far.pull(timeout) == echo_reply(request):
                return True
        return False

    monkeypatch.setattr(wintun, "load", lambda path: load(path or LIBRARY))
    monkeypatch.setattr(echo, "ping", ping)
    return standin


def test_on_an_adapter(adapter: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(ARGUMENTS) == 0
    said = capsys.readouterr().out
    assert "On an adapter of Wintun" in said
    found = re.search(r"(\d+) sent, (\d+) answered; round trip", said)
    assert found, said
    assert found[1] == found[2] != "0"
    assert adapter.call("Find", "tun0") is None  # nothing is left behind


def test_without_rights(adapter: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    adapter.fail("WintunCreateAdapter", 5)
    assert demo.main(ARGUMENTS) == 0
    said = capsys.readouterr().out
    assert "run as administrator" in said
    assert "a device in memory takes its place" in said


def test_nobody_answers(
    adapter: StandIn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(echo, "ping", lambda host, data, timeout: False)
    assert demo.main(ARGUMENTS) == 1
    assert re.search(r"[1-9]\d* sent, 0 answered", capsys.readouterr().out)


def test_the_systems_own_ping() -> None:
    assert echo.ping("127.0.0.1", bytes(range(56)), 5)
    assert not echo.ping("192.0.2.1", b"", 0.05)  # TEST-NET-1: nobody has it
