"""Each program of the tutorial, the how-tos and the like runs as it stands, to its end."""

from __future__ import annotations

import re
import select
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import aiotun
from aiotun.testing import Namespace

UDP_SEGMENT = 103  # linux/udp.h

ROOT = Path(__file__).parents[1]

PROGRAMS = {
    f"{path.stem}-{number}": program
    for path in sorted(
        [
            ROOT / "docs" / "tutorial.md",
            *(ROOT / "docs" / "how-to").glob("*.md"),
            *(ROOT / "docs" / "coming-from").glob("*.md"),
        ]
    )
    for number, program in enumerate(
        re.findall(r"^```python\n(.*?)^```", path.read_text(), re.M | re.S)
    )
}


@pytest.mark.requires("tun", "netns", "ip")
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program(namespace: Namespace, tmp_path: Path, name: str) -> None:
    namespace.sysctl("net.ipv6.conf.default.disable_ipv6", 1)
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAMS[name]]
    done = namespace.run(
        subprocess.run, command, cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr


@pytest.mark.requires("uso")
def test_a_readiness_that_stands_for_many_packets(namespace: Namespace) -> None:
    """What select-loop.md says of offload: the descriptor tells of none that were split."""

    def is_readable() -> bool:
        return bool(select.select([device], [], [], 0)[0])

    namespace.sysctl("net.ipv6.conf.default.disable_ipv6", 1)
    with (
        namespace.run(aiotun.Device, addresses="10.9.0.1/24") as device,
        namespace.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as udp,
    ):
        udp.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
        udp.sendto(bytes(8000), ("10.9.0.2", 9))
        assert is_readable()
        device.recv(timeout=0)
        assert not is_readable()
        assert device.wait_readable(0)
        assert len(device.recv_many(timeout=0)) == 7
        assert not device.wait_readable(0)
        with pytest.raises(TimeoutError):
            device.recv_many(timeout=0)
