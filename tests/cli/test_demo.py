"""aiotun demo, whole: with devices and without, to its end and interrupted."""

from __future__ import annotations

import ctypes
import fcntl
import io
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from machine import PYTHON, complaints
from restricted import CAP_NET_ADMIN, CAP_SYS_ADMIN, drop, hide_node

from aiotun.cli.demo import ends
from aiotun.cli.demo.display import Display, amount
from aiotun.cli.demo.transfer import PATHS, TransferError, transfer
from aiotun.platforms.linux.threads import in_thread

assert sys.platform == "linux"

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h

STRICT = (*PYTHON, "-W", "error")
DEMO = (*STRICT, "-m", "aiotun", "demo")


@pytest.fixture(autouse=True)
def no_processes() -> Iterator[None]:
    """Fails the test if it leaves a process behind: an orphan becomes a child of ours."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    yield
    libc.prctl(PR_SET_CHILD_SUBREAPER, 0)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def run(
    *arguments: str, after: Callable[[], None] = lambda: None, env: Mapping[str, str] = {}
) -> subprocess.CompletedProcess[str]:
    """Run the demo in a process whose thread called the function before."""

    def call() -> subprocess.CompletedProcess[str]:
        after()
        return subprocess.run(
            [*DEMO, "--seconds", "0.3", *arguments],
            capture_output=True,
            text=True,
            timeout=50,
            env={**os.environ, **env},
        )

    return in_thread(call)


def assert_pings(output: str) -> None:
    found = re.search(r"(\d+) sent, (\d+) answered; round trip", output)
    assert found, output
    assert found[1] == found[2] != "0"


def assert_transfers(output: str) -> None:
    assert len(re.findall(r" MB intact, CPU \d+%", output)) == len(PATHS)
    assert len(re.findall(r"\d\.\d\d Gbit/s #|\d\.\d\d Gbit/s █", output)) == len(PATHS)
    assert re.search(r"[1-9]\S* super-packets split, [1-9]\S* merged", output)
    assert re.search(r"[1-9]\S* super-packets handed on", output)


@pytest.mark.requires("tun", "netns")
def test_with_devices() -> None:
    start = time.monotonic()
    done = run()
    assert (done.returncode, complaints(done.stderr)) == (0, "")
    assert time.monotonic() - start < 50
    assert "the network of this machine is not touched" in done.stdout
    assert_pings(done.stdout)
    assert_transfers(done.stdout)
    assert "\33" not in done.stdout
    assert "\r" not in done.stdout


def no_privileges() -> None:
    drop(CAP_NET_ADMIN)
    drop(CAP_SYS_ADMIN)


@pytest.mark.requires("tun-node", "userns")
def test_without_privileges_in_a_user_namespace() -> None:
    done = run(after=no_privileges)
    assert (done.returncode, complaints(done.stderr)) == (0, "")
    assert "as root of a user namespace" in done.stdout
    assert_pings(done.stdout)
    assert_transfers(done.stdout)


@pytest.mark.requires("mountns", "tun-node")
def test_without_tun_in_memory() -> None:
    done = run(after=hide_node)
    assert (done.returncode, complaints(done.stderr)) == (0, "")
    assert "tun: there is no TUN device node (No such file or directory)" in done.stdout
    assert "-> load the driver: modprobe tun" in done.stdout
    assert "device in memory takes its place" in done.stdout
    assert_pings(done.stdout)


def test_in_memory_on_request() -> None:
    done = run("--memory")
    assert (done.returncode, complaints(done.stderr)) == (0, "")
    assert "missing" not in done.stdout
    assert_pings(done.stdout)


@pytest.mark.requires("tun", "netns")
def test_without_uvloop() -> None:
    program = (
        "import sys; sys.modules['uvloop'] = None; from aiotun.cli import main;"
        "sys.exit(main(['demo', '--seconds', '0.2']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, complaints(done.stderr)) == (0, "")
    assert "asyncio's own loop" in done.stdout
    assert_transfers(done.stdout)


def on_terminal(
    *command: str, when: str = "Done", act: Callable[[int], None] = lambda pid: None
) -> tuple[int, str]:
    """Run the demo on a terminal, call `act` once it shows `when`; exit status and output."""
    controlling, terminal = pty.openpty()
    with subprocess.Popen(command, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        watchdog = threading.Timer(50, process.kill)
        watchdog.start()
        shown, acted = b"", False
        with suppress(OSError):  # EIO: nobody has the terminal open any more
            while data := os.read(controlling, 4096):
                shown += data
                if when.encode() in shown and not acted:
                    acted = True
                    act(process.pid)
        watchdog.cancel()
        watchdog.join()
    os.close(controlling)
    return process.returncode, shown.decode()


@pytest.mark.parametrize("no_color", ["", "1"])
def test_terminal(no_color: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", no_color)
    status, shown = on_terminal(*DEMO, "--memory", "--seconds", "0.3")
    assert status == 0
    sent = re.search(r"(\d+) sent", shown)
    assert sent
    assert shown.count("\r\33[K   10.9.0.42  ping ") == int(sent[1])
    assert ("\33[1mPing" in shown) == (not no_color)


WITHOUT_END = """
import sys
from aiotun.cli import demo, main

really = demo.transfer

def transfer(path, seconds, display):
    return really(path, 60 if path.name == sys.argv[1] else seconds, display)

demo.transfer = transfer
sys.exit(main(["demo", "--seconds", "0.1"]))
"""
"""The demo, one of whose transfers goes on until it is interrupted."""


@pytest.mark.requires("tun", "netns")
@pytest.mark.parametrize(
    ("command", "when"),
    [
        pytest.param([*DEMO, "--seconds", "60"], "  ping 3 ", id="ping"),
        pytest.param([*STRICT, "-c", WITHOUT_END, "no offload"], "no offload", id="first-transfer"),
        pytest.param([*STRICT, "-c", WITHOUT_END, "zero-split"], "zero-split", id="last-transfer"),
    ],
)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_interrupted(
    command: list[str], when: str, loop: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    if loop == "asyncio":
        (tmp_path / "uvloop.py").write_text("raise ImportError")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    interrupted: list[float] = []

    def interrupt(pid: int) -> None:
        interrupted.append(time.monotonic())
        os.kill(pid, signal.SIGINT)

    status, shown = on_terminal(*command, when=when, act=interrupt)
    assert time.monotonic() - interrupted[0] < 20
    assert status == 130
    assert shown.endswith("Interrupted.\r\n")
    assert "Traceback" not in shown
    assert "Error" not in shown


# The ends of a transfer.


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(ends.PATTERN + ends.PATTERN[:1000], 0, id="whole"),
        pytest.param(ends.PATTERN[:1000] + bytes(10), 1, id="damaged"),
        pytest.param(ends.PATTERN[1000:2000], 1, id="lost"),
        pytest.param(ends.PATTERN[:1000] * 2, 1, id="twice"),
    ],
)
def test_receiver_compares(data: bytes, status: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        receiver = subprocess.Popen(
            [sys.executable, ends.__file__, "receive"],
            stdin=listener.fileno(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with receiver, suppress(ConnectionError):
            with socket.create_connection(listener.getsockname()) as tcp:
                tcp.sendall(data)
            output, errors = receiver.communicate(timeout=50)
    assert receiver.returncode == status
    if status == 0:
        assert output.split()[0] == str(len(data))
    else:
        assert "is not what was sent" in errors


@pytest.mark.requires("tun", "netns")
@pytest.mark.parametrize(
    ("program", "message"),
    [
        pytest.param("import sys; sys.exit('no luck')", "the receiver failed: no luck", id="fails"),
        pytest.param(
            "import sys; print('10 0.1' if sys.argv[1] == 'receive' else '20')",
            "20 bytes were sent, 10 arrived",
            id="loses",
        ),
    ],
)
async def test_transfer_that_fails(
    program: str, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "ends.py"
    script.write_text(program)
    monkeypatch.setattr(ends, "__file__", str(script))
    with pytest.raises(TransferError, match=message):
        await transfer(PATHS[0], 0.1, Display(io.StringIO()))


# What is shown.


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (1000, "1k"), (12345, "12.3k"), (2.5e6, "2.5M"), (7e10, "70G")],
)
def test_amount(number: float, text: str) -> None:
    assert amount(number) == text


@pytest.mark.parametrize(
    ("encoding", "bar", "curve"), [("utf-8", "██  ", "▁▄█"), ("ascii", "##  ", "")]
)
def test_drawings(encoding: str, bar: str, curve: str) -> None:
    display = Display(io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    assert display.bar(0.5, 4) == bar
    assert display.curve([0.1, 5, 10]) == curve
    assert display.curve([]) == ""


@pytest.mark.parametrize("columns", [60, 80])
def test_lines_fit_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    controlling, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    with open(controlling, "rb", buffering=0) as shown, open(terminal, "w") as stream:
        display = Display(stream)
        display.line("word " * 30)
        display.heading("word " * 30)
        display.row("a way", "word " * 30)
        stream.write("end")
        stream.flush()
        text = b""
        while not text.endswith(b"end"):
            text += shown.read(4096)
    lines = text.decode().replace("\33[K", "").replace("\r", "").splitlines()[:-1]
    assert max(map(len, lines)) <= columns
    assert {line.index("word") for line in lines if line} == {0, 3, 14}


def test_lines_stay_whole_where_no_terminal_is() -> None:
    stream = io.StringIO()
    Display(stream).line("word " * 30)
    assert stream.getvalue() == "word " * 30 + "\n"
