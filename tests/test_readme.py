"""README's programs: they pass the strict type checker, and the first does what is said of it."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from machine import ROOT, Program, settings

from aiotun.testing import Namespace
from aiotun.testing.ping import echo_reply, echo_request

BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)


def as_module(block: str) -> str:
    """A program as it is; what stands in a coroutine, in one that knows the names before it."""
    if "asyncio.run(" in block:
        return block
    body = textwrap.indent(block, "    ")
    known = "tun: aiotun.PacketStream, context: ssl.SSLContext"
    return (
        f"import asyncio\nimport ssl\nimport aiotun\n\nasync def example({known}) -> None:\n{body}"
    )


def test_examples_pass_the_strict_type_checker(tmp_path: Path) -> None:
    assert len(BLOCKS) >= 5
    for number, block in enumerate(BLOCKS):
        (tmp_path / f"example_{number}.py").write_text(as_module(block))
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "pyproject.toml"]
    done = subprocess.run(
        [*command, "--cache-dir", str(tmp_path / "cache"), str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.requires("tun", "netns")
def test_first_program_answers_pings(namespace: Namespace, tmp_path: Path) -> None:
    program = tmp_path / "mirror.py"
    program.write_text(BLOCKS[0])
    command = [sys.executable, "-X", "dev", str(program)]
    request = echo_request("10.9.0.1", "10.9.0.2", 1, 1, b"hello")
    with (
        Program.running(namespace.run(subprocess.Popen, command, **settings())) as mirror,
        namespace.run(socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as ping,
    ):
        mirror.wait_for("^6")  # IPv6, which the kernel speaks first on an interface that is up
        ping.sendto(request[20:], ("10.9.0.2", 0))
        mirrored, answer = (ping.recv(100)[20:] for _ in range(2))
    assert mirrored == request[20:]
    reply = echo_reply(request)
    assert reply is not None
    assert answer == reply[20:]
