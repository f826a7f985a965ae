"""Each program of the tutorial, the how-tos and the like runs as it stands, to its end."""

from __future__ import annotations

import re
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dpkt
import pytest
from waiting import wait_until

import aiotun
from aiotun.testing import Namespace

UDP_SEGMENT = 103  # linux/udp.h

MESSAGE_TYPE, SERVER, MASK, LEASE = 53, 54, 1, 51
DISCOVER, OFFER, REQUEST = b"\1", b"\2", b"\3"
"""DHCP's options and types of messages (RFC 2132, sections 3.3 and 9)."""

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
        subprocess.run, command, cwd=tmp_path, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr


@pytest.mark.requires("tun", "netns", "ping")
def test_the_test_of_a_program(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "how-to" / "tests.md").read_text()
    switch = re.findall(r"^    (pytest_plugins = .*)$", text, re.M)
    (tmp_path / "conftest.py").write_text("\n".join(switch))
    (tmp_path / "test_it.py").write_text(PROGRAMS["tests-0"])
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error::pytest.PytestUnknownMarkWarning"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=50)
    assert "1 passed" in done.stdout, done.stdout


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


@contextmanager
def running(namespace: Namespace, *command: str) -> Iterator[None]:
    process = namespace.run(subprocess.Popen, command, stderr=subprocess.DEVNULL)
    try:
        yield
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


@pytest.mark.interop
@pytest.mark.timeout(150)
@pytest.mark.requires("tun", "netns", "ip", "qemu")
def test_a_virtual_machine_asks_for_an_address_and_gets_it(
    namespace: Namespace, tmp_path: Path
) -> None:
    """It boots from the network, by its card's own program (iPXE)."""
    path = tmp_path / "machine"
    machine = "-nodefaults -display none -m 32 -boot n -device virtio-net-pci,netdev=n -netdev"
    stream = f"stream,id=n,server=off,addr.type=unix,addr.path={path}"
    with (
        running(namespace, sys.executable, "-c", PROGRAMS["qemu-0"], str(path)),
        namespace.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as server,
    ):
        wait_until(path.exists)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"tap0\0")
        server.bind(("", 67))
        server.settimeout(100)
        with running(namespace, "qemu-system-x86_64", *machine.split(), stream):
            asked = dpkt.dhcp.DHCP(server.recv(2000))
            assert dict(asked.opts)[MESSAGE_TYPE] == DISCOVER
            offer = dpkt.dhcp.DHCP(
                op=dpkt.dhcp.DHCP_OP_REPLY,
                xid=asked.xid,
                chaddr=asked.chaddr,
                yiaddr=int.from_bytes(socket.inet_aton("10.9.0.2"), "big"),
                opts=(
                    (MESSAGE_TYPE, OFFER),
                    (SERVER, socket.inet_aton("10.9.0.1")),
                    (MASK, socket.inet_aton("255.255.255.0")),
                    (LEASE, (3600).to_bytes(4, "big")),
                ),
            )
            while dict(asked.opts)[MESSAGE_TYPE] == DISCOVER:
                server.sendto(bytes(offer), ("255.255.255.255", 68))
                asked = dpkt.dhcp.DHCP(server.recv(2000))
            assert dict(asked.opts)[MESSAGE_TYPE] == REQUEST


@pytest.mark.interop
@pytest.mark.timeout(150)
@pytest.mark.requires("tun", "netns", "ip", "passt")
def test_a_namespace_reaches_its_host_by_passt(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)  # passt run by root becomes nobody
    for parent in (tmp_path.parent, tmp_path.parent.parent):
        parent.chmod(parent.stat().st_mode | 0o011)
    path = tmp_path / "passt"
    with Namespace() as host, Namespace() as inside:
        # What passt takes for the host's way out; nothing goes there.
        host.command("ip", "tuntap", "add", "out", "mode", "tap")
        host.command("ip", "address", "add", "192.0.2.2/24", "dev", "out")
        host.command("ip", "link", "set", "out", "up")
        host.command("ip", "route", "add", "default", "via", "192.0.2.1")
        program = (sys.executable, "-c", PROGRAMS["qemu-1"], str(path), "192.0.2.2/24")
        with (
            host.run(socket.create_server, ("127.0.0.1", 8080)) as server,
            running(host, "passt", "--foreground", "--ipv4-only", "--socket", str(path)),
        ):
            wait_until(path.exists)
            with running(inside, *program):
                wait_until(lambda: "dev tap0" in inside.command("ip", "route"))
                server.settimeout(30)
                with inside.run(socket.create_connection, ("192.0.2.1", 8080), 30) as client:
                    accepted, _ = server.accept()
                    with accepted:
                        accepted.sendall(b"hello")
                        assert client.recv(5) == b"hello"
