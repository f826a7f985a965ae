"""aiotun wireguard serve --exit flows, by a user without any privilege; with wireguard-go."""

from __future__ import annotations

import random
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from machine import Program
from unprivileged import Unprivileged

from aiotun.testing import Namespace
from aiotun.wireguard.keys import encode_key, generate_private_key, public_key_of
from benchmarks.wireguard.nodes import OUTSIDE, PORT, Node, address_of, connect, give_address
from benchmarks.wireguard.programs import IMPLEMENTATIONS
from tests.examples.test_flows import HOST, upstream
from tests.examples.test_flows import PORT as SERVICE

assert sys.platform == "linux"

pytestmark = [
    pytest.mark.interop,
    pytest.mark.requires("tun", "netns", "mountns", "ip", "ping", "go"),
    pytest.mark.timeout(300),  # whichever comes first builds the peer
]

LIBRARIES = (
    *("cryptography", "nacl", "_cffi_backend*", "cffi", "pycparser", "typing_extensions.py"),
    *("segno", "rich", "markdown_it", "mdurl", "pygments"),
)

CLIENT = "10.7.0.2"


@contextmanager
def exit_and_client() -> Iterator[tuple[Program, Node]]:
    IMPLEMENTATIONS["wireguard-go"].prepare()
    private_key = generate_private_key()
    with (
        Unprivileged(*LIBRARIES) as somebody,
        Namespace() as outside,
        Node("wireguard-go", f"{CLIENT}/24") as client,
    ):
        connect(outside, client.namespace)
        for namespace, address in zip((outside, client.namespace), OUTSIDE[4], strict=True):
            give_address(namespace, "eth0", address)
        file = somebody.file(
            "wg0.conf",
            f"[Interface]\nPrivateKey = {encode_key(private_key)}\nListenPort = {PORT}\n"
            f"Address = 10.7.0.1/24\n"
            f"[Peer]\nPublicKey = {encode_key(client.public_key)}\nAllowedIPs = {CLIENT}/32\n",
        )
        command = ["-X", "dev", "-m", "aiotun", "wireguard", "serve", str(file)]
        server = somebody.start(outside, *command, "--exit", "flows", "--no-uapi")
        with upstream(outside), Program.running(server) as program:
            program.wait_for("wg0 is up")
            client.add_peer(
                public_key_of(private_key), "0.0.0.0/0", endpoint=address_of(OUTSIDE[4][0])
            )
            client.start()
            client.namespace.command("ip", "route", "add", f"{HOST}/32", "dev", "wg0")
            yield program, client


def test_peers_reach_the_internet() -> None:
    data = random.Random(1).randbytes(900)
    with exit_and_client() as (program, client):
        out = client.namespace.command("ping", "-c", "3", "-i", "0.2", "-W", "5", HOST)
        assert "3 received" in out
        for _ in range(20):
            with client.namespace.run(socket.create_connection, (HOST, SERVICE), 5) as sock:
                sock.sendall(data)
                answer = b"".join(iter(lambda: sock.recv(1 << 16), b""))
                assert answer == data.upper()
        with pytest.raises(ConnectionRefusedError):
            client.namespace.run(socket.create_connection, (HOST, SERVICE + 1), 5)
        with client.namespace.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            sock.connect((HOST, SERVICE))
            sock.send(data)
            assert sock.recv(1000) == data.upper()
        client.stop()
        program.end(signal.SIGINT)
