"""Each example as a program of its own, with real traffic, ended by a signal."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import outside
import pytest
from machine import ROOT, Program, settings

from aiotun.testing import Namespace
from aiotun.testing.ping import echo_reply, echo_request
from aiotun.testing.pytest_plugin import require

assert sys.platform == "linux"

pytestmark = pytest.mark.requires("tun", "netns")

EXAMPLES = ROOT / "examples"

ON_UVLOOP = (
    "import asyncio, runpy, sys, uvloop; del sys.argv[0];"
    " asyncio.events.new_event_loop = uvloop.new_event_loop;"
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)
"""Runs the program that its arguments name."""

UDP_SEGMENT = 103  # linux/udp.h


@contextmanager
def running(
    namespace: Namespace, loop: str, name: str, *arguments: str, node: bool = False
) -> Iterator[Program]:
    """With `node` the program has a /dev/net/tun that every user may open, as most systems do."""
    options: tuple[str, ...] = ("-X", "dev")
    if loop == "uvloop":
        require("uvloop")
        options += ("-c", ON_UVLOOP)

    def start() -> subprocess.Popen[str]:
        if node:
            outside.replace_node(lambda path: outside.make_node(path, 10, 200))
        command = [sys.executable, *options, str(EXAMPLES / name), *arguments]
        return subprocess.Popen(command, **settings())

    with Program.running(namespace.run(start)) as program:
        yield program


def ping(namespace: Namespace, source: str, target: str, count: int = 3) -> None:
    """Ping from the namespace; every reply must come, and be the right one."""
    family, protocol = socket.AF_INET, socket.IPPROTO_ICMP
    headers = 20
    if ":" in target:
        family, protocol = socket.AF_INET6, socket.IPPROTO_ICMPV6
        headers = 40
    with namespace.run(socket.socket, family, socket.SOCK_RAW, protocol) as raw:
        raw.settimeout(20)
        raw.bind((source, 0))
        raw.connect((target, 0))
        for sequence in range(count):
            request = echo_request(source, target, 4242, sequence, b"some data")
            reply = echo_reply(request)
            assert reply is not None
            raw.send(request[headers:])
            while not raw.recv(1000).endswith(reply[headers:]):
                pass


def interfaces(namespace: Namespace) -> list[str]:
    return [name for _, name in namespace.run(socket.if_nameindex)]


loops = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
signals = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@loops
@signals
def test_ping_protocol(namespace: Namespace, loop: str, number: int) -> None:
    with running(namespace, loop, "ping_protocol.py") as example:
        example.wait_for("answers pings around 10.9.0.1/24, fd09::1/64")
        ping(namespace, "10.9.0.1", "10.9.0.42")
        ping(namespace, "10.9.0.1", "10.9.0.254")
        example.end(number)
    assert "6 pings were answered" in example.output
    assert interfaces(namespace) == ["lo"]


@pytest.mark.requires("ipv6")
def test_ping_protocol_over_ipv6(namespace: Namespace) -> None:
    with running(namespace, "asyncio", "ping_protocol.py", "fd01:2::1/64") as example:
        example.wait_for("around fd01:2::1/64")
        ping(namespace, "fd01:2::1", "fd01:2::abcd")
        example.end(signal.SIGINT)
    assert "3 pings were answered" in example.output


def test_the_first_program_of_readme_says_that_its_interface_was_deleted(
    namespace: Namespace, tmp_path: Path
) -> None:
    program = tmp_path / "first.py"
    program.write_text((ROOT / "README.md").read_text().split("```python\n")[1].split("```")[0])
    process = namespace.run(subprocess.Popen, [sys.executable, str(program)], **settings())
    with (
        Program.running(process) as first,
        namespace.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        while process.poll() is None:
            try:
                sock.sendto(b"data", ("10.9.0.2", 9))
                break
            except OSError:  # not up yet
                time.sleep(0.01)
        first.wait_for(r"\w")
        namespace.run(outside.delete, "vpn0")
        output, _ = process.communicate(timeout=50)
    assert process.returncode == 1
    assert "InterfaceGoneError: " in output


@loops
@signals
def test_ping_stream(namespace: Namespace, loop: str, number: int) -> None:
    with running(namespace, loop, "ping_stream.py", "192.0.2.1/24") as example:
        example.wait_for("answers pings around 192.0.2.1/24")
        ping(namespace, "192.0.2.1", "192.0.2.99")
        example.end(number)
    assert example.output.count("answered a ping from 192.0.2.1") == 3
    assert interfaces(namespace) == ["lo"]


@loops
@signals
def test_tap_arp_ping(namespace: Namespace, loop: str, number: int) -> None:
    with running(namespace, loop, "tap_arp_ping.py", "--mac", "02:00:00:00:be:ef") as example:
        example.wait_for("10.9.0.2 is at 02:00:00:00:be:ef on ")
        ping(namespace, "10.9.0.1", "10.9.0.2")
        known = namespace.run(Path("/proc/thread-self/net/arp").read_text)
        example.end(number)
    assert re.search(r"10\.9\.0\.2 .* 02:00:00:00:be:ef ", known)
    assert "answered who has 10.9.0.2" in example.output
    assert example.output.count("answered a ping from 10.9.0.1") == 3
    assert interfaces(namespace) == ["lo"]


CLIENT = """
import socket
with socket.create_connection(("10.9.0.1", 7777), 10) as tcp:
    tcp.sendall(bytes(range(256)) * 4000)
    tcp.shutdown(socket.SHUT_WR)
    print(tcp.recv(100))
"""


@loops
def test_forwarder(namespace: Namespace, loop: str) -> None:
    with namespace.run(socket.create_server, ("0.0.0.0", 7777)) as listener:
        listener.settimeout(20)
        with running(namespace, loop, "forwarder.py", sys.executable, "-c", CLIENT) as example:
            tcp, _ = listener.accept()
            tcp.settimeout(20)
            with tcp, tcp.makefile("rb") as stream:
                assert stream.read() == bytes(range(256)) * 4000
                tcp.sendall(b"all of it")
            example.wait_for("all of it")
            example.output += example.process.communicate(timeout=50)[0]
    assert example.process.returncode == 0, example.output
    assert re.search(r"\d+ packets to it, \d+ from it", example.output)
    assert interfaces(namespace) == ["lo"]


SERVER = """
import signal, socket, sys
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: sys.exit(0))
with socket.create_server(("10.9.0.2", 7777)):
    print("listening", flush=True)
    signal.pause()
"""


@loops
@signals
def test_forwarder_ends_with_its_command(namespace: Namespace, loop: str, number: int) -> None:
    with running(namespace, loop, "forwarder.py", sys.executable, "-c", SERVER) as example:
        example.wait_for("listening")
        namespace.run(socket.create_connection, ("10.9.0.2", 7777), 5).close()
        example.end(number)
    assert interfaces(namespace) == ["lo"]


def test_forwarder_hands_on_the_exit_status(namespace: Namespace) -> None:
    exits = (sys.executable, "-c", "raise SystemExit(7)")
    with running(namespace, "asyncio", "forwarder.py", *exits) as example:
        example.process.communicate(timeout=50)
    assert example.process.returncode == 7


@pytest.mark.requires("uso")
@loops
@signals
def test_offload_batches(namespace: Namespace, loop: str, number: int) -> None:
    data = bytes(range(250)) * 32
    with running(namespace, loop, "offload_batches.py") as example:
        example.wait_for("reflects UDP around 10.9.0.1/24")
        with namespace.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(20)
            udp.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
            udp.sendto(data, ("10.9.0.2", 7))
            answers = [udp.recvfrom(2000) for _ in range(8)]
        example.end(number)
    assert b"".join(answer for answer, _ in answers) == data
    assert {address for _, address in answers} == {("10.9.0.2", 7)}
    described = "UDP super-packet of 8028 bytes, 1000 in each segment"
    assert f"   in: {described} -> 8 packets\n  out: {described}\n" in example.output
    assert interfaces(namespace) == ["lo"]


@signals
def test_blocking(namespace: Namespace, number: int) -> None:
    with running(namespace, "asyncio", "blocking.py", "--timeout", "0.2") as example:
        example.wait_for("answers pings around 10.9.0.1/24")
        ping(namespace, "10.9.0.1", "10.9.0.42")
        example.wait_for("nothing came for 0.2 s")
        example.end(number)
    assert f"{signal.Signals(number).name} ended it after" in example.output
    assert interfaces(namespace) == ["lo"]


@pytest.mark.requires("multi-queue")
@loops
@signals
def test_multi_queue(namespace: Namespace, loop: str, number: int) -> None:
    with running(namespace, loop, "multi_queue.py", "--queues", "3") as example:
        example.wait_for("on 3 queues")
        for last in range(2, 12):
            ping(namespace, "10.9.0.1", f"10.9.0.{last}", 1)
        example.end(number)
    counts = re.findall(r"queue (\d) answered (\d+) pings", example.output)
    assert sorted(queue for queue, _ in counts) == ["0", "1", "2"]
    assert sum(int(count) for _, count in counts) == 10
    assert interfaces(namespace) == ["lo"]


@pytest.mark.requires("mountns")
@signals
def test_unprivileged(namespace: Namespace, number: int) -> None:
    outside.require_other_users()
    with running(namespace, "asyncio", "unprivileged.py", "vpn0", "--make", node=True) as example:
        example.wait_for(r"user \d+ answers pings on vpn0 around 10.9.0.1/24, fd09::1/64")
        ping(namespace, "10.9.0.1", "10.9.0.42")
        example.end(number)
    assert "3 pings were answered; vpn0 stays" in example.output
    assert interfaces(namespace) == ["lo", "vpn0"]


@signals
def test_hand_over(namespace: Namespace, number: int) -> None:
    """As root again, since others may not reach the interpreter of the tests."""
    outside.require_other_users()
    arguments = ("10.9.0.1/24", "--user", "root")
    with running(namespace, "asyncio", "hand_over.py", *arguments) as example:
        example.wait_for("user 0 answers pings on tun0")
        ping(namespace, "10.9.0.1", "10.9.0.42")
        example.end(number)
    assert "3 pings were answered" in example.output
    assert interfaces(namespace) == ["lo"]


@loops
def test_namespace_events(namespace: Namespace, loop: str) -> None:
    """The program itself is in a namespace, too: the tests' own, which has no vpn0."""
    with Namespace() as blue:
        path = f"/proc/{os.getpid()}/fd/{blue.fileno()}"
        with running(namespace, loop, "namespace_events.py", path) as example:
            example.wait_for("vpn0 is in namespace")
            example.wait_for("10.10.0.0/16")
            example.wait_for("10.11.0.0/16 via 10.9.0.2")
            assert interfaces(blue) == ["lo", "vpn0"]
            assert interfaces(namespace) == ["lo"]
            blue.run(outside.set_mtu, "vpn0", 1400)
            example.wait_for(r"LinkChanged\(name='vpn0', mtu=1400, up=True")
            blue.run(outside.delete, "vpn0")
            example.output += example.process.communicate(timeout=50)[0]
    assert "the end: " in example.output
    assert "was deleted" in example.output
    assert example.process.returncode == 1  # a service manager starts it again


def test_wireguard(namespace: Namespace, tmp_path: Path) -> None:
    """The client runs beside it, and shakes hands over the loopback interface."""
    client = tmp_path / "wg1.conf"
    with running(namespace, "asyncio", "wireguard.py", "127.0.0.1") as server:
        server.wait_for("^# This is for the client")
        client.write_text(server.output)
        client.chmod(0o600)
        command = [sys.executable, "-m", "aiotun", "wireguard", "serve", str(client), "--no-uapi"]
        with Program.running(
            namespace.run(subprocess.Popen, command, cwd=ROOT, **settings())
        ) as other:
            server.wait_for(r"at \('127.0.0.1', \d+\): \d+ bytes$")
            other.wait_for("wg1 is up")
            other.end(signal.SIGTERM)
        server.end(signal.SIGINT)
    assert interfaces(namespace) == ["lo"]


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_each_is_short_and_listed(name: str) -> None:
    text = (EXAMPLES / name).read_text()
    assert text.count("\n") < 100
    assert f"python examples/{name}" in text
    assert f"python examples/{name}" in (EXAMPLES / "README.md").read_text()
