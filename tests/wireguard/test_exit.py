"""aiotun wireguard serve --exit flows: what goes on from a host, and what is kept from it."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import packets
import pytest
from machine import Machine, Program, program
from unprivileged import Unprivileged

import aiotun
from aiotun.testing import Namespace
from aiotun.wireguard.keys import encode_key, generate_private_key, public_key_of
from benchmarks.wireguard.nodes import OUTSIDE, PORT, Node, address_of, connect, give_address
from benchmarks.wireguard.programs import IMPLEMENTATIONS
from tests.examples.test_flows import HOST, upstream
from tests.examples.test_flows import PORT as SERVICE

assert sys.platform == "linux"

from aiotun.wireguard.exits import flows_exit

pytestmark = pytest.mark.requires("tun", "netns", "mountns")

LIBRARIES = (
    *("cryptography", "nacl", "_cffi_backend*", "cffi", "pycparser", "typing_extensions.py"),
    *("segno", "rich", "markdown_it", "mdurl", "pygments"),
)

CLIENT = "10.7.0.2"
SERVER = "10.7.0.1"

UPLINK = ("198.51.100.1", "198.51.100.2")
"""The exit's host and what is beyond it."""

METADATA = "169.254.169.254"
"""It is beyond the exit's host, which alone is to reach it."""

ALLOWED, FORBIDDEN = 5353, 8080
"""Ports of the host, where a service listens."""


@contextmanager
def exit_and_client() -> Iterator[tuple[Program, Namespace, Namespace, Node]]:
    """With wireguard-go, and as a user without any privilege. Beyond the exit is `upstream`."""
    IMPLEMENTATIONS["wireguard-go"].prepare()
    private_key = generate_private_key()
    with (
        Unprivileged(*LIBRARIES) as somebody,
        Namespace() as host,
        Namespace() as beyond,
        Node("wireguard-go", f"{CLIENT}/24") as client,
    ):
        connect(host, client.namespace)
        for namespace, address in zip((host, client.namespace), OUTSIDE[4], strict=True):
            give_address(namespace, "eth0", address)
        connect(host, beyond, ("eth1", "eth0"))
        give_address(host, "eth1", f"{UPLINK[0]}/24")
        give_address(beyond, "eth0", f"{UPLINK[1]}/24")
        for address in (HOST, METADATA):
            host.command("ip", "route", "add", address, "via", UPLINK[1])
        give_address(beyond, "eth0", f"{METADATA}/32")
        file = somebody.file(
            "wg0.conf",
            f"[Interface]\nPrivateKey = {encode_key(private_key)}\nListenPort = {PORT}\n"
            f"Address = {SERVER}/24\n"
            f"[Peer]\nPublicKey = {encode_key(client.public_key)}\nAllowedIPs = {CLIENT}/32\n",
        )
        command = ["-X", "dev", "-m", "aiotun", "wireguard", "serve", str(file), "--no-uapi"]
        command += ["--exit", "flows", "--exit-allow", f"{UPLINK[0]}:{ALLOWED}"]
        with upstream(beyond), Program.running(somebody.start(host, *command)) as server:
            server.wait_for("wg0 is up")
            client.add_peer(
                public_key_of(private_key), "0.0.0.0/0", endpoint=address_of(OUTSIDE[4][0])
            )
            client.start()
            client.namespace.command("ip", "route", "add", "default", "dev", "wg0")
            yield server, host, beyond, client


def tcp(client: Node, host: str, port: int) -> socket.socket:
    return client.namespace.run(socket.create_connection, (host, port), 5)


def udp(client: Node, host: str, port: int) -> socket.socket:
    sock = client.namespace.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(20)
    sock.connect((host, port))
    return sock


@pytest.mark.interop
@pytest.mark.requires("ip", "ping", "go")
@pytest.mark.timeout(300)  # it may build the peer
def test_peers_reach_the_internet_and_not_the_host() -> None:
    data = random.Random(1).randbytes(900)
    with exit_and_client() as (server, host, beyond, client):
        out = client.namespace.command("ping", "-c", "3", "-i", "0.2", "-W", "5", HOST)
        assert "3 received" in out
        for _ in range(20):
            with tcp(client, HOST, SERVICE) as sock:
                sock.sendall(data)
                answer = b"".join(iter(lambda: sock.recv(1 << 16), b""))
                assert answer == data.upper()
        with pytest.raises(ConnectionRefusedError):
            tcp(client, HOST, SERVICE + 1)
        with udp(client, HOST, SERVICE) as sock:
            sock.send(data)
            assert sock.recv(1000) == data.upper()
        kept_from_peers(host, beyond, client)
        client.stop()
        server.end(signal.SIGINT)


def kept_from_peers(host: Namespace, beyond: Namespace, client: Node) -> None:
    """The host's services, and what is beyond it for its sake alone, are there and hear nothing."""
    with ExitStack() as stack:
        services = []
        for namespace in (host, beyond):
            listener = namespace.run(socket.create_server, ("0.0.0.0", FORBIDDEN))
            heard = namespace.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
            heard.bind(("0.0.0.0", FORBIDDEN))
            services += [stack.enter_context(listener), stack.enter_context(heard)]
        for address in (UPLINK[0], METADATA):
            with host.run(socket.create_connection, (address, FORBIDDEN), 5):
                pass
        for address in (UPLINK[0], "198.51.100.255", METADATA, SERVER, "10.7.0.9"):
            with pytest.raises(ConnectionRefusedError):
                tcp(client, address, FORBIDDEN)
            with udp(client, address, FORBIDDEN) as sock:
                sock.send(b"anybody?")
                with pytest.raises(ConnectionRefusedError):
                    sock.recv(100)
        for listener, heard in (services[:2], services[2:]):
            listener.accept()[0].close()  # the host's own connection
            for sock in (listener, heard):
                sock.setblocking(False)
            with pytest.raises(BlockingIOError):
                listener.accept()
            with pytest.raises(BlockingIOError):
                heard.recv(100)
        allowed = host.run(socket.create_server, ("0.0.0.0", ALLOWED))
        with allowed, tcp(client, UPLINK[0], ALLOWED):
            allowed.settimeout(20)
            allowed.accept()[0].close()


INSIDE = {4: ("10.7.0.1", "10.7.0.2", "10.7.0.9"), 6: ("fd07::1", "fd07::2", "fd07::9")}
"""The interface's own address, a peer's, and one of nobody."""

REFUSALS = [
    *((4, each) for each in (*INSIDE[4], "169.254.169.254", "192.0.2.1", "192.0.2.255")),
    *((6, each) for each in (*INSIDE[6], "fe80::1", "2001:db8::1", "64:ff9b::c000:201")),
]


@pytest.mark.parametrize(("version", "destination"), REFUSALS)
async def test_what_a_refused_peer_gets(version: int, destination: str) -> None:
    ends: dict[str, Any] = {"source": INSIDE[version][1], "destination": destination}
    with aiotun.Device(addresses=["192.0.2.1/24", "2001:db8::1/64"], ipv6_quiet=True):
        async with flows_exit(1420, []) as (device, flows):
            device.set_addresses([f"{INSIDE[4][0]}/24", f"{INSIDE[6][0]}/64"])
            async with aiotun.open_device(device=device) as peers:
                await peers.send(packets.tcp(version, flags=packets.SYN, **ends))
                reset = await asyncio.wait_for(peers.recv(), 20)
                at, protocol = (33, reset[9]) if version == 4 else (53, reset[6])
                assert (protocol, reset[at]) == (packets.TCP, packets.RST | packets.ACK)
                await peers.send(packets.udp(version, b"anybody?", **ends))
                error = await asyncio.wait_for(peers.recv(), 20)
                unreachable = {4: (packets.ICMP, 3, 3), 6: (packets.ICMPV6, 1, 4)}
                at, protocol = (20, error[9]) if version == 4 else (40, error[6])
                assert (protocol, *error[at : at + 2]) == unreachable[version]
            assert flows.counters.forbidden == 2
            assert flows.counters.refused == 0


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--exit-allow", "192.0.2.1:53"], "--exit-allow is about --exit flows: say that too"),
        (["--exit", "flows", "--exit-allow", "127.0.0.1:53"], "127.0.0.1 is no address that"),
        (["--exit", "flows", "--exit-allow", "dns.example:53"], "'dns.example' does not appear"),
        (["--exit", "flows", "--exit-allow", "192.0.2.1"], "is not host:port"),
    ],
)
def test_services_that_cannot_be_allowed(
    machine: Machine, tmp_path: Path, options: list[str], why: str
) -> None:
    key = encode_key(generate_private_key())
    (tmp_path / "wg0.conf").write_text(f"[Interface]\nPrivateKey = {key}\n")
    (tmp_path / "wg0.conf").chmod(0o600)
    assert why in machine.run(*program("serve", *options), cwd=tmp_path, status=1)
