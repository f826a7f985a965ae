"""aiotun watch: all devices of a namespace, their rates, who has them, and what programs count."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from machine import settings
from prometheus_client import CollectorRegistry, start_http_server
from rich.console import Console
from rigs import packet

import aiotun
from aiotun import cli
from aiotun.cli import watch
from aiotun.cli.watch import History, Sample
from aiotun.interfaces import InterfaceStatistics
from aiotun.metrics import Metrics
from aiotun.testing import Namespace

NOTHING = InterfaceStatistics(0, 0, 0, 0, 0, 0, 0)


def started(namespace: Namespace, *arguments: str, **changes: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "aiotun", "watch", "--interval", "0.2", *arguments]
    return namespace.run(subprocess.Popen, command, **{**settings(), **changes})


def output(namespace: Namespace, *arguments: str, status: int = 0) -> str:
    with started(namespace, *arguments) as process:
        found = process.communicate(timeout=50)[0]
    assert process.returncode == status, found
    return found


@pytest.fixture
def devices(namespace: Namespace) -> Iterator[tuple[aiotun.Device, aiotun.Device]]:
    def opened(name: str, layer: Any) -> aiotun.Device:
        return namespace.run(aiotun.Device, name=name, layer=layer, up=layer == "tun")

    with opened("w0", "tun") as tun, opened("w1", "tap") as tap:
        yield tun, tap


@pytest.mark.requires("tun", "netns")
def test_as_json(namespace: Namespace, devices: tuple[aiotun.Device, aiotun.Device]) -> None:
    with started(namespace, "--json") as process:
        assert process.stdout is not None
        process.stdout.readline()
        devices[0].send_many([packet(1), packet(2)])
        for line in process.stdout:
            tun, tap = json.loads(line)["devices"]
            if tun["statistics"]["packets_sent"] == 2:
                break
        process.terminate()
    assert (tun["name"], tun["layer"], tun["up"]) == ("w0", "tun", True)
    assert (tap["name"], tap["layer"], tap["up"]) == ("w1", "tap", False)
    assert tun["statistics"]["packets_sent"] == 2
    assert 0 < tun["rates"]["packets_sent"] <= 2 / 0.2
    assert tun["programs"] == [f"{Path('/proc/self/comm').read_text().strip()} ({os.getpid()})"]


@pytest.mark.requires("tun", "netns")
def test_a_picture_in_eighty_columns(
    namespace: Namespace, devices: tuple[aiotun.Device, aiotun.Device]
) -> None:
    shown = output(namespace, "--once")
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert "\33" not in shown
    assert re.search(r"^w0  tun, .*\(\d+\)$", shown, re.M)
    assert re.search(r"^w1  tap, down, ", shown, re.M)
    assert "w0" not in output(namespace, "--once", "w1")


@pytest.mark.requires("tun", "netns")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothere"], "no TUN or TAP is called nothere here; there are: w0, w1"),
        (["--metrics", "no url"], "'no url' is no URL"),
        (["--metrics", "http://127.0.0.1:1/metrics"], "refused"),
    ],
    ids=["name", "url", "connection"],
)
def test_what_goes_wrong(
    namespace: Namespace,
    devices: tuple[aiotun.Device, aiotun.Device],
    arguments: list[str],
    message: str,
) -> None:
    shown = output(namespace, "--once", *arguments, status=1)
    assert shown.startswith("aiotun watch: ")
    assert message in shown
    assert len(shown.splitlines()) == 1


@pytest.mark.requires("netns")
def test_no_device(namespace: Namespace) -> None:
    assert output(namespace, "--once") == "no TUN or TAP device here\n"


@pytest.mark.requires("netns")
def test_each_picture_goes_into_a_pipe(namespace: Namespace) -> None:
    with started(namespace) as process:
        assert process.stdout
        late = Timer(20, process.kill)
        late.start()
        shown = [process.stdout.readline() for _ in range(2)]
        process.send_signal(signal.SIGINT)
    late.cancel()
    assert shown == ["no TUN or TAP device here\n"] * 2
    assert process.returncode == 0


@pytest.mark.requires("tun", "netns")
def test_a_program_that_tells_prometheus(
    namespace: Namespace, devices: tuple[aiotun.Device, aiotun.Device]
) -> None:
    registry = CollectorRegistry()
    Metrics(registry).add(devices[0])
    server, thread = namespace.run(start_http_server, 0, "127.0.0.1", registry)
    try:
        devices[0].send_many([packet(1), packet(2)])
        url = f"http://127.0.0.1:{server.server_port}/metrics"
        (tun, _) = json.loads(output(namespace, "--once", "--json", "--metrics", url))["devices"]
        assert (tun["counters"]["packets_sent"], tun["counters"]["frames_sent"]) == (2, 2)
        assert "1.0 packets a frame, 0 super-packets" in output(
            namespace, "--once", "--metrics", url
        )
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.skipif(sys.platform == "linux", reason="Linux lists them")
def test_other_systems(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--json"], ["--once", "tun0"]):
        assert cli.main(["watch", *words]) == 1
        said = capsys.readouterr()
        assert said.err == "aiotun watch: only Linux lists the devices of other programs\n"
        assert said.out == ""


def test_rates() -> None:
    first = Sample("w0", "tun", True, NOTHING)
    history = History(first, 100.0)
    history.add(replace(first, statistics=replace(NOTHING, bytes_sent=1000, packets_sent=4)), 102.0)
    assert (history.sent[-1], history.received[-1]) == (4000, 0)
    assert history.rates["packets_sent"] == 2
    anew = replace(first, statistics=replace(NOTHING, bytes_sent=100))
    history.add(anew, 103.0)  # it was made anew: fewer bytes than before
    assert history.sent[-1] == 800


def test_curves_and_drops() -> None:
    first = Sample("w0", "tun", True, replace(NOTHING, dropped_received=7))
    history = History(first, 0.0)
    for second in range(1, 9):
        statistics = replace(first.statistics, bytes_received=second * (second + 1) * 500)
        history.add(replace(first, statistics=statistics), float(second))
    shown = io.StringIO()
    Console(width=80, file=shown).print(watch.render({"w0": history}))
    assert "▁▂▃▄▅▅▆▇█  7 dropped" in shown.getvalue()
    assert "64 kbit/s" in shown.getvalue()
