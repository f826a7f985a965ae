"""The program that docs/flows.md begins with runs as it stands, and does what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from flow_rigs import FlowNet
from machine import ROOT, Program, settings
from rigs import until

PROGRAM = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "docs" / "flows.md").read_text(), re.M | re.S
)[0]


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "flows.py"
    path.write_text(PROGRAM)
    return path


def test_it_passes_the_strict_type_checker(program: Path) -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "pyproject.toml"]
    done = subprocess.run(
        [*command, "--cache-dir", str(program.parent / "cache"), str(program)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.requires("tun", "netns")
async def test_it_runs(flow_net: FlowNet, program: Path) -> None:
    command = [sys.executable, "-X", "dev", str(program)]
    run = flow_net.namespace.run

    def routed() -> bool:
        return "007100CB" in flow_net.proc_net("route")  # 203.0.113.0

    with Program.running(run(subprocess.Popen, command, **settings())):
        await until(routed, 10)
        reader, writer = await flow_net.connect("203.0.113.5", 80)
        assert await reader.read() == b"you wanted 203.0.113.5:80\n"
        writer.close()
        async with flow_net.udp("203.0.113.5", 53) as sock:
            sock.send(b"echo")
            sock.setblocking(True)
            sock.settimeout(20)
            assert sock.recv(100) == b"echo"
