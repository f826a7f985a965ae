"""Other implementations as clients of two servers that share their peers by NATS.

Both servers have the address that clients know; it leads to one of them, as an anycast address
does.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
from nats_servers import PROGRAM
from waiting import wait_until

from aiotun.testing import Namespace
from aiotun.wireguard.keys import encode_key, generate_private_key, public_key_of
from benchmarks.processes import Process
from benchmarks.wireguard.nodes import PORT, Node, connect, give_address
from benchmarks.wireguard.programs import IMPLEMENTATIONS

pytestmark = [
    pytest.mark.interop,
    pytest.mark.requires("tun", "netns", "mountns", "ip", "ping", "go", "cargo"),
    pytest.mark.timeout(300),  # it may build the peers first
]

CLIENTS = {"wireguard-go": "10.9.0.2", "boringtun": "10.9.0.3"}
INSIDE = "10.9.0.1"
ANYCAST = "198.51.100.1"


class World:
    """A router with NATS, and behind it two servers and the clients."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._key = generate_private_key()
        self.public_key = public_key_of(self._key)
        self._router = stack.enter_context(Namespace())
        self._router.sysctl("net.ipv4.ip_forward", 1)
        stack.enter_context(Process(self._router, PROGRAM, "-js", "-sd", str(folder / "nats")))
        self._links = 0

    def attach(self, namespace: Namespace) -> tuple[str, str]:
        """Join it to the router: the addresses of both."""
        number = self._links = self._links + 1
        connect(self._router, namespace, (f"eth{number}", "eth0"))
        ends = f"192.0.{number}.1", f"192.0.{number}.2"
        give_address(self._router, f"eth{number}", f"{ends[0]}/24")
        give_address(namespace, "eth0", f"{ends[1]}/24")
        namespace.command("ip", "route", "add", "default", "via", ends[0])
        return ends

    def add_client(self, implementation: str) -> Node:
        address = CLIENTS[implementation]
        client = self._stack.enter_context(Node(implementation, f"{address}/24"))
        router, _ = self.attach(client.namespace)
        client.add_peer(self.public_key, "10.9.0.0/24", endpoint=ANYCAST)
        peer = ("add", implementation, encode_key(client.public_key), "--allowed-ips", address)
        command = [sys.executable, "-m", "aiotun", "wireguard", "peer"]
        store = ("--store", f"nats://{router}/peers")

        def add() -> bool:
            done = client.namespace.run(subprocess.run, [*command, *peer, *store], check=False)
            return done.returncode == 0

        wait_until(add)  # NATS may have just begun
        return client

    def start_server(self) -> tuple[Process, str]:
        """It is up; its address for the router."""
        namespace = self._stack.enter_context(Namespace())
        router, own = self.attach(namespace)
        namespace.sysctl("net.ipv4.ip_forward", 1)  # from one client to the other
        give_address(namespace, "lo", f"{ANYCAST}/32")
        file = self._folder / own / "wg0.conf"
        file.parent.mkdir()
        file.touch(0o600)
        file.write_text(
            f"[Interface]\nPrivateKey = {encode_key(self._key)}\n"
            f"Address = {INSIDE}/24\nListenPort = {PORT}\n"
        )
        command = (sys.executable, "-m", "aiotun", "wireguard", "serve", str(file), "--no-uapi")
        shared = ("--store", f"nats://{router}/peers", "--link", f"{own}:{PORT + 1}")
        server = self._stack.enter_context(Process(namespace, *command, *shared))
        server.wait_for("wg0 is up", 30)
        return server, own

    def lead_to(self, server: str) -> None:
        self._router.command("ip", "route", "replace", f"{ANYCAST}/32", "via", server)


@contextmanager
def world(folder: Path) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(folder, stack)


def reaches(client: Node, address: str) -> bool:
    try:
        client.namespace.command("ping", "-c", "1", "-W", "1", address)
    except subprocess.CalledProcessError:
        return False
    return True


@pytest.mark.parametrize("dies", [True, False], ids=["the server dies", "the address moves"])
def test_clients_fail_over(tmp_path: Path, dies: bool) -> None:
    for implementation in CLIENTS:
        IMPLEMENTATIONS[implementation].prepare()
    with world(tmp_path) as there:
        clients = [there.add_client(implementation) for implementation in CLIENTS]
        (first, at_first), (_, at_second) = there.start_server(), there.start_server()
        there.lead_to(at_first)
        for client in clients:
            client.start()
        for client in clients:
            # A client begins a handshake 15 s after a packet that nobody answered.
            wait_until(partial(reaches, client, INSIDE))
        if dies:
            first.close()
        there.lead_to(at_second)
        for client in clients:
            wait_until(partial(reaches, client, INSIDE))
        one, other = CLIENTS.values()
        wait_until(partial(reaches, clients[0], other))
        wait_until(partial(reaches, clients[1], one))
