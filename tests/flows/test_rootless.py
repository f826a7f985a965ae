"""A device in namespaces of its own, made and served by a process without any capability."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from machine import Program
from unprivileged import Unprivileged

import aiotun
from aiotun.flows import open_rootless, rootless
from aiotun.testing import Namespace
from tests.examples.test_flows import HOST, PORT, upstream

pytestmark = pytest.mark.requires("tun", "netns", "mountns")

CLIENT = f"""
import socket
for _ in range(3):
    with socket.create_connection(("{HOST}", {PORT})) as sock:
        sock.sendall(b"hello")
        print("tcp:", sock.recv(100))
try:
    socket.create_connection(("{HOST}", {PORT + 1}))
except OSError as exc:
    print("nobody:", type(exc).__name__)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(5)
    sock.connect(("{HOST}", {PORT}))
    sock.send(b"hello")
    print("udp:", sock.recv(100))
"""

PROGRAM = """
import asyncio, sys, aiotun
from pathlib import Path
from aiotun.flows import open_rootless, onward

async def main():
    status = Path("/proc/self/status").read_text()
    print("capabilities:", status.split("CapEff:")[1].split()[0], flush=True)
    rootless = await open_rootless(command=sys.argv[1:])
    async with aiotun.start_flow_server(
        onward.pass_connection,
        datagrams=onward.pass_conversation,
        accept=onward.connect,
        device=rootless.device,
        listeners=rootless.listeners,
    ) as server:
        print("status:", await asyncio.to_thread(rootless.command.wait))
        print(server.counters)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def somebody() -> Iterator[Unprivileged]:
    with Unprivileged() as somebody:
        yield somebody


def run(somebody: Unprivileged, namespace: Namespace, *command: str) -> str:
    """What the program printed."""
    with Program.running(somebody.start(namespace, "-X", "dev", "-c", *command)) as program:
        assert program.ended() == 0, program.output
    return program.output


def test_a_command_behind_a_program_without_capabilities(
    somebody: Unprivileged, namespace: Namespace
) -> None:
    with upstream(namespace):
        output = run(somebody, namespace, PROGRAM, somebody.python, "-c", CLIENT)
    assert "capabilities: 0000000000000000" in output
    assert output.count("tcp: b'HELLO'") == 3
    assert "nobody: ConnectionRefusedError" in output
    assert "udp: b'HELLO'" in output
    assert "status: 0" in output
    assert "connections=4, established=3" in output


def test_a_command_that_is_not_there(somebody: Unprivileged, namespace: Namespace) -> None:
    output = run(somebody, namespace, PROGRAM, "/no/such/program")
    assert "/no/such/program: No such file or directory" in output
    assert "status: 127" in output


async def test_nothing_is_left_of_it(no_leaks: None) -> None:
    opened = await open_rootless(addresses=["10.8.0.1/24"], routes=["10.0.0.0/8"], mtu=1400)
    assert opened.command is None
    assert opened.device.mtu == 1400
    assert [each.version for each in opened.listeners] == [4]
    async with aiotun.start_flow_server(
        None, device=opened.device, listeners=opened.listeners
    ) as server:
        assert server.flows == []


async def test_nothing_is_left_when_cancelled(
    no_leaks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[rootless.Rootless] = []
    open_it = rootless._open

    def opening(*args: Any) -> rootless.Rootless:
        opened.append(open_it(*args))
        return opened[-1]

    monkeypatch.setattr(rootless, "_open", opening)
    task = asyncio.ensure_future(open_rootless(command=["sleep", "60"]))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (left,) = opened
    assert left.command is not None
    assert left.command.poll() == -signal.SIGKILL
    assert [each.socket.fileno() for each in left.listeners] == [-1, -1]


async def test_a_command_is_a_list_of_words() -> None:
    with pytest.raises(TypeError, match="a list of words"):
        await open_rootless(command="ip address")


@pytest.mark.parametrize("wrong", [{"addresses": ["10.8.0.1/32"]}, {"routes": ["nowhere"]}])
async def test_what_cannot_be(no_leaks: None, wrong: dict[str, list[str]]) -> None:
    with pytest.raises(aiotun.TunError, match=r"others in its network|is not a route"):
        await open_rootless(**wrong)  # type: ignore[arg-type]


def test_where_user_namespaces_are_forbidden(somebody: Unprivileged, namespace: Namespace) -> None:
    program = (
        "import asyncio; from pathlib import Path\n"
        "from aiotun.testing.namespace import become_root; become_root()\n"
        "Path('/proc/sys/user/max_user_namespaces').write_text('0')\n"
        "from aiotun.flows import open_rootless\n"
        "try: asyncio.run(open_rootless())\n"
        "except PermissionError as exc: print('refused:', exc)"
    )
    assert "refused: [Errno 28] no device without privileges" in run(somebody, namespace, program)
