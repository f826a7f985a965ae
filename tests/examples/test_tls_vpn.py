"""The TLS VPN: server and two clients as programs in three namespaces, and those it refuses."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import packets
import pytest
from outside import wait_for_listener
from rigs import until

import aiotun
from aiotun.files import create_file
from aiotun.testing import Namespace
from examples.tls_vpn import certificates
from examples.tls_vpn import server as tls_vpn_server
from examples.tls_vpn.certificates import SERVER, client_name, make_certificates, tls_context
from examples.tls_vpn.client import connect
from examples.tls_vpn.server import Server
from examples.tls_vpn.wire import CODEC, PORT, addresses_of, stay_alive

ROOT = Path(__file__).parents[2]

SERVER_SIDE = {"alice": "192.168.1.1", "bob": "192.168.2.1"}
CLIENT_SIDE = {"alice": "192.168.1.2", "bob": "192.168.2.2"}
INSIDE = {"server": "10.8.0.1", "alice": "10.8.0.2", "bob": "10.8.0.3"}


class VPN:
    """A cable from each client's namespace to the server's: two devices that we relay."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.namespaces = {who: Namespace() for who in INSIDE}
        self.programs: dict[str, subprocess.Popen[str]] = {}
        self.cables: list[aiotun.PacketStream] = []
        self.relays: list[asyncio.Future[None]] = []

    async def connect_namespaces(self) -> None:
        for who in CLIENT_SIDE:
            ends = []
            for namespace, address in (
                (self.namespaces["server"], SERVER_SIDE[who]),
                (self.namespaces[who], CLIENT_SIDE[who]),
            ):
                device = namespace.run(aiotun.Device, addresses=[f"{address}/24"])
                ends.append(await aiotun.open_device(device=device))
            self.cables += ends
            self.relays.append(asyncio.ensure_future(aiotun.relay(ends[0], ends[1])))

    async def start(self, who: str, *arguments: str) -> None:
        """Start the server or a client, and wait until it is ready."""
        command = [sys.executable, "-m", "examples.tls_vpn", "--directory", str(self.directory)]
        self.programs[who] = self.namespaces[who].run(
            subprocess.Popen,
            [*command, *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        await self.says(who, "vpn0 serves" if who == "server" else f"vpn0 is {INSIDE[who]}")

    async def says(self, who: str, words: str) -> None:
        """Read on until the program says that; the test's own timeout bounds it."""
        stdout = self.programs[who].stdout
        assert stdout is not None
        while True:
            line = await asyncio.to_thread(stdout.readline)
            assert line, f"{who} ended without saying {words!r}"
            if words in line:
                return

    async def start_all(self) -> None:
        await self.start("server", "server", "alice", "bob")
        for who in CLIENT_SIDE:
            await self.start(who, "client", who, SERVER_SIDE[who])

    async def stop(self, who: str) -> None:
        program = self.programs.pop(who)
        program.terminate()
        with program:
            assert await asyncio.to_thread(program.wait, 30) == 0

    async def run(self, who: str, *command: str) -> str:
        return await asyncio.to_thread(self.namespaces[who].command, *command)

    async def intruder(self, context: ssl.SSLContext) -> aiotun.Framed[bytes]:
        """A connection of our own from alice's namespace."""
        sock = await asyncio.to_thread(
            self.namespaces["alice"].run,
            socket.create_connection,
            (SERVER_SIDE["alice"], PORT),
            5,
        )
        sock.setblocking(False)
        return await aiotun.open_framed_connection(
            CODEC, ssl=context, server_hostname=SERVER, sock=sock
        )

    async def close(self) -> None:
        for program in self.programs.values():
            program.kill()
            with program:
                program.wait()
        for relaying in self.relays:
            relaying.cancel()
        for cable in self.cables:
            await cable.aclose()
        for namespace in self.namespaces.values():
            namespace.close()


@contextlib.asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[VPN]:
    vpn = VPN(directory)
    try:
        await vpn.connect_namespaces()
        yield vpn
    finally:
        await vpn.close()


needs_tun = pytest.mark.requires("tun", "netns")


@needs_tun
async def test_clients_reach_each_other_and_the_server(tmp_path: Path) -> None:
    async with opened(tmp_path) as vpn:
        await vpn.start_all()
        await transfer(vpn, "alice", "bob", 4 << 20)
        await transfer(vpn, "bob", "server", 1 << 20)
        await vpn.stop("server")
        await vpn.says("alice", "not connected")
        await vpn.start("server", "server")
        await vpn.says("alice", INSIDE["alice"])
        await vpn.says("bob", INSIDE["bob"])
        await transfer(vpn, "alice", "bob", 1 << 20)
        for who in ("alice", "bob", "server"):
            await vpn.stop(who)


async def transfer(vpn: VPN, sender: str, receiver: str, size: int) -> None:
    """Send random bytes over TCP; they arrive as they are."""
    data = os.urandom(size)
    server = vpn.namespaces[receiver].run(socket.create_server, (INSIDE[receiver], 0))

    def send() -> None:
        address = server.getsockname()
        with vpn.namespaces[sender].run(socket.create_connection, address, 10) as connection:
            connection.sendall(data)

    def receive() -> bytes:
        connection, _ = server.accept()
        with connection, connection.makefile("rb") as file:
            connection.settimeout(20)
            return file.read()

    with server:
        server.settimeout(20)
        _, received = await asyncio.gather(asyncio.to_thread(send), asyncio.to_thread(receive))
    same = received == data
    assert same


@needs_tun
async def test_who_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as vpn:
        await vpn.start("server", "server", "alice", "bob")
        alice = tls_context(tmp_path / "alice.pem", tmp_path / "ca.pem", server=False)

        framed = await vpn.intruder(alice)
        assert json.loads(await framed.recv())[0] == f"{INSIDE['alice']}/24"
        await framed.send(packets.udp(source=INSIDE["bob"], destination=INSIDE["server"]))
        await assert_closed(framed)

        framed = await vpn.intruder(alice)
        assert json.loads(await framed.recv())[0] == f"{INSIDE['alice']}/24"  # for good
        await framed._sink._stream.send(b"\xff\xff")  # type: ignore[attr-defined]
        await assert_closed(framed)

        make_certificates(tmp_path / "other", ["alice"])
        other = tls_context(tmp_path / "other/alice.pem", tmp_path / "ca.pem", server=False)
        with pytest.raises(OSError):  # noqa: PT011
            async with await vpn.intruder(other) as framed:
                await framed.recv()

        other = tls_context(tmp_path / "alice.pem", tmp_path / "other/ca.pem", server=False)
        with pytest.raises(ssl.SSLCertVerificationError):
            await vpn.intruder(other)

        await vpn.start("bob", "client", "bob", SERVER_SIDE["bob"])  # all that changed nothing
        await transfer(vpn, "bob", "server", 1 << 16)


async def assert_closed(framed: aiotun.Framed[bytes]) -> None:
    async def end() -> None:
        while True:
            await framed.recv()

    with pytest.raises((OSError, aiotun.CodecError)):
        await asyncio.wait_for(end(), 20)
    await framed.aclose()


@needs_tun
@pytest.mark.interop
@pytest.mark.requires("iperf3", "ping")
async def test_iperf3_and_ping_between_the_clients(tmp_path: Path) -> None:
    async with opened(tmp_path) as vpn:
        await vpn.start_all()
        out = await vpn.run("alice", "ping", "-c", "20", "-i", "0.01", "-W", "20", INSIDE["bob"])
        assert "20 packets transmitted, 20 received" in out
        out = await vpn.run("bob", "ping", "-6", "-c", "5", "-i", "0.01", "-W", "20", "fd08::2")
        assert "5 packets transmitted, 5 received" in out
        server = asyncio.ensure_future(vpn.run("bob", "iperf3", "-s", "-1"))
        await asyncio.to_thread(wait_for_listener, vpn.namespaces["bob"], 5201)
        out = await vpn.run("alice", "iperf3", "-c", INSIDE["bob"], "-J", "-n", "20M")
        await server
        assert json.loads(out)["end"]["sum_received"]["bytes"] > 4 << 20


async def test_a_silent_side_is_noticed_and_a_living_one_is_not() -> None:
    from framing import link

    async with link("tcp", CODEC) as (a, b):
        # Of three looks in a row that find nothing new a pause of the machine costs one.
        alive = asyncio.ensure_future(stay_alive(a, 0.05))
        other = asyncio.ensure_future(stay_alive(b, 0.05))
        receiving = [asyncio.ensure_future(drain(end)) for end in (a, b)]
        await until(lambda: b.counters.received == 5)
        assert not alive.done()
        other.cancel()
        with pytest.raises(TimeoutError, match="silent"):
            await asyncio.wait_for(alive, 20)
        for task in receiving:
            task.cancel()
        await asyncio.wait(receiving)


async def drain(end: aiotun.Framed[bytes]) -> None:
    async for _ in end:
        pass


@pytest.mark.parametrize(
    ("packet", "addresses"),
    [
        (b"", (b"", b"")),
        (b"\x45" + bytes(18), (b"", b"")),
        (b"\x60" + bytes(38), (b"", b"")),
        (b"\x45" + bytes(11) + b"abcdefgh", (b"abcd", b"efgh")),
        (b"\x60" + bytes(7) + bytes(range(32)), (bytes(range(16)), bytes(range(16, 32)))),
        (b"\x00" * 40, (b"", b"")),
    ],
    ids=["empty", "short IPv4", "short IPv6", "IPv4", "IPv6", "neither"],
)
def test_addresses(packet: bytes, addresses: Any) -> None:
    assert addresses_of(packet) == addresses


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    make_certificates(tmp_path, ["alice"])
    for name in ("ca.key", "alice.pem", f"{SERVER}.pem"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    before = (tmp_path / "alice.pem").read_bytes()
    make_certificates(tmp_path, ["alice", "bob"])
    assert (tmp_path / "alice.pem").read_bytes() == before


@pytest.mark.parametrize("name", ["alice", "A", "a-1", "x" * 63])
def test_names_of_clients(name: str) -> None:
    assert client_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "ca", "CA", SERVER, "../x", "/x", "x\n", "x\ny", "a b", "a.b", "-x", "x-", "é", "x" * 64],
)
async def test_what_is_no_name_of_a_client(name: str, tmp_path: Path) -> None:
    """Before anything is made, or read."""
    with pytest.raises(ValueError, match="is no name for a client"):
        make_certificates(tmp_path / "new", ["alice", name])
    assert os.listdir(tmp_path) == []
    with pytest.raises(ValueError, match="is no name for a client"):
        await connect(tmp_path, name, "127.0.0.1", 1, "vpn0")


def test_an_error_in_plain_words(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "examples.tls_vpn", "--directory", str(tmp_path / "new")]
    done = subprocess.run([*command, "server", "ca"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("'ca' is no name for a client: ")
    assert done.stderr.count("\n") == 1


def test_certificates_that_could_not_be_written_are_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full after each file in turn; none is left half written."""
    allowed = 0

    def full(path: Path, data: bytes) -> None:
        if len(os.listdir(tmp_path)) == allowed:
            raise OSError("No space left on device")
        create_file(path, data)

    monkeypatch.setattr(certificates, "create_file", full)
    for allowed in range(4):  # noqa: B007
        with pytest.raises(OSError, match="No space left"):
            make_certificates(tmp_path, ["alice"])
    monkeypatch.undo()
    make_certificates(tmp_path, ["alice"])
    tls_context(tmp_path / f"{SERVER}.pem", tmp_path / "ca.pem", server=True)
    tls_context(tmp_path / "alice.pem", tmp_path / "ca.pem", server=False)


def test_a_number_is_for_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = tmp_path / "numbers.json"
    network = [ipaddress.ip_network("10.8.0.0/29")]
    vpn = Server(None, network, numbers)  # type: ignore[arg-type]
    assert [str(vpn.assign(who)[0]) for who in ("a", "b", "a")] == [
        "10.8.0.2/29",
        "10.8.0.3/29",
        "10.8.0.2/29",
    ]
    known = numbers.read_text()

    def full(path: Path, data: bytes) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(tls_vpn_server, "replace_file", full)
    with pytest.raises(OSError, match="No space left"):
        vpn.assign("c")
    assert numbers.read_text() == known
    assert str(vpn.assign("b")[0]) == "10.8.0.3/29"  # which takes no writing
