"""Operating a server: metrics, reloading, what a service manager hears, logs, time stamps."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import re
import shutil
import signal
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from ipaddress import ip_network
from pathlib import Path

import aiohttp
import packets
import pytest
from machine import PYTHON, Machine, program
from prometheus_client.parser import text_string_to_metric_families
from rigs import until

from aiotun import Datagram
from aiotun.cancelling import end
from aiotun.metrics import WIREGUARD
from aiotun.testing import memory_devices
from aiotun.wireguard import timestamps as timestamps_module
from aiotun.wireguard.config import InterfaceConfig, PeerConfig
from aiotun.wireguard.core.tunnel import Tunnel
from aiotun.wireguard.endpoint import WireGuard
from aiotun.wireguard.keys import decode_key, encode_key, generate_private_key, public_key_of
from aiotun.wireguard.server import Server
from aiotun.wireguard.stores.base import Change, Decide, Store
from aiotun.wireguard.stores.file import ConfigFile
from aiotun.wireguard.timestamps import Timestamps
from aiotun.wireguard.web.listening import parse_place

pytestmark = pytest.mark.requires("tun", "netns", "mountns")

SERVER, PHONE = (encode_key(bytes([n]) * 32) for n in (8, 1))

TEXT = f"""\
[Interface]
PrivateKey = {SERVER}
ListenPort = 51820
Address = 10.9.0.1/24
DNS = 10.9.0.1, example.net

# phone "1"
[Peer]
PublicKey = {PHONE}
AllowedIPs = 10.9.0.2/32
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "wg0.conf").write_text(TEXT)
    (tmp_path / "wg0.conf").chmod(0o600)
    return tmp_path


def scraped(text: str) -> dict[tuple[str, ...], float]:
    """Values by the names of samples, and their labels, sorted, without the interface."""
    return {
        (
            sample.name,
            *(value for label, value in sample.labels.items() if label != "interface"),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.parametrize("options", [[], ["--exit", "flows"]], ids=["interface", "exit"])
def test_metrics_over_a_unix_socket(machine: Machine, folder: Path, options: list[str]) -> None:
    place = folder / "metrics.sock"
    command = program("serve", "--metrics", f"unix:{place}", *options)
    with machine.running(*command, cwd=folder) as server:
        server.wait_for("wg0 is up")

        async def scrape() -> str:
            connector = aiohttp.UnixConnector(str(place))
            async with aiohttp.ClientSession(connector=connector) as session:
                while True:
                    try:
                        async with session.get("http://wg0/metrics") as answer:
                            assert answer.status == 200
                            assert answer.headers["Content-Type"].startswith("text/plain")
                            text = await answer.text()
                    except aiohttp.ClientConnectorError:  # it is about to listen
                        await asyncio.sleep(0.02)
                        continue
                    if "loop_lag_seconds_count 0.0" not in text:
                        return text
                    await asyncio.sleep(0.1)

        text = asyncio.run(scrape())
        assert place.stat().st_mode & 0o777 == 0o600
        server.end(signal.SIGTERM)
    named = {each.name: each.kind for each in WIREGUARD}
    told = {family.name: family.type for family in text_string_to_metric_families(text)}
    del told["aiotun_wireguard_loop_lag_seconds_created"]  # it goes with each histogram
    cluster = {"servers", "held_peers", "forwarded_packets"}
    assert {name: kind for name, kind in told.items() if "_wireguard_" in name} == {
        name: kind
        for name, kind in named.items()
        if name.removeprefix("aiotun_wireguard_") not in cluster
    }
    values = scraped(text)
    assert values["aiotun_wireguard_peers",] == 1
    assert values["aiotun_wireguard_store_reachable",] == 1
    assert values["aiotun_wireguard_received_bytes_total", 'phone "1"', PHONE] == 0
    assert values["aiotun_wireguard_handshakes_total", "complete"] == 0
    assert values["aiotun_wireguard_handshakes_total", "bad_mac1"] == 0
    assert values["aiotun_wireguard_dropped_total", "replayed"] == 0
    assert values["aiotun_wireguard_loop_lag_seconds_count",] >= 1
    assert values["aiotun_udp_messages_total", "sent", "wg0"] == 0
    if options:
        assert values["aiotun_flow_events_total", "forbidden", "wg0"] == 0
    else:
        assert values["aiotun_device_frames_total", "wg0", "sent"] == 0
    assert SERVER not in text


@pytest.mark.parametrize("text", ["0.0.0.0:9586", "192.0.2.1:9586", "[::]:9586", "localhost:9586"])
def test_nothing_listens_where_others_reach_it(text: str) -> None:
    with pytest.raises(ValueError, match="is no loopback address: take 127"):
        parse_place(text)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("127.0.0.1:9586", ("127.0.0.1", 9586)),
        ("[::1]:9586", ("::1", 9586)),
        ("unix:/run/x.sock", "/run/x.sock"),
    ],
)
def test_where_it_may_listen(text: str, place: object) -> None:
    assert parse_place(text) == place


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """What systemd is to a unit."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(50)
        yield manager


def test_what_a_service_manager_hears(
    machine: Machine, folder: Path, manager: socket.socket
) -> None:
    """And a reload, which does not wait until the file was seen twice."""
    environment = ("env", f"NOTIFY_SOCKET={folder}/notify", "WATCHDOG_USEC=600000")
    with machine.running(*environment, *program("serve"), cwd=folder) as server:
        ready = manager.recv(1000).decode()
        assert ready.startswith("READY=1\nSTATUS=wg0 is up at UDP port 51820, peers: 1, ")
        assert manager.recv(1000) == b"WATCHDOG=1"
        server.rewrite(folder / "wg0.conf", TEXT.replace("51820", "51999"))
        heard = ""
        while "51999" not in heard:
            heard += manager.recv(1000).decode() + "\n"
        assert re.search(r"RELOADING=1\nMONOTONIC_USEC=\d+\n", heard)
        server.end(signal.SIGTERM)
        while manager.recv(1000) != b"STOPPING=1":
            pass
        assert server.output.count("wg0 is up at") == 1
        assert "wg0 has changed: UDP port 51999, peers: 1, " in server.output


def test_a_log_for_machines(machine: Machine, folder: Path) -> None:
    """DNS cannot be set here; who connects is named."""
    client = folder / "client"
    client.mkdir()
    (client / "wg1.conf").write_text(
        f"[Interface]\nPrivateKey = {PHONE}\n[Peer]\nPersistentKeepalive = 1\n"
        f"PublicKey = {encode_key(public_key_of(bytes([8]) * 32))}\nEndpoint = 127.0.0.1:51820\n"
    )
    (client / "wg1.conf").chmod(0o600)
    phone = encode_key(public_key_of(bytes([1]) * 32))
    (folder / "wg0.conf").write_text(TEXT.replace(PHONE, phone))
    with machine.running(*program("serve", "--log", "json"), cwd=folder) as server:
        server.wait_for("DNS is not set, for want of resolvectl or resolvconf: 10.9.0.1, exa")
        with machine.running(*program("serve", "wg1.conf"), cwd=client) as other:
            server.wait_for("is connected")
            line = json.loads(server.output.splitlines()[-1])
            other.end(signal.SIGTERM)
        server.end(signal.SIGTERM)
    assert line.pop("time").endswith("+00:00")
    assert line.pop("endpoint").startswith("127.0.0.1:")
    assert line.pop("message").startswith('phone "1" is connected, at 127.0.0.1:')
    assert line == {
        "level": "info",
        "logger": "aiotun.wireguard",
        "interface": "wg0",
        "peer": 'phone "1"',
        "public_key": phone,
    }


def test_status_as_json(machine: Machine, folder: Path) -> None:
    with machine.running(*program("serve"), cwd=folder) as server:
        server.wait_for("wg0 is up")
        status = json.loads(machine.run(*program("status", "--json", "--once")))
        (peer,) = status["peers"]
        assert (peer["name"], peer["public_key"]) == ('phone "1"', PHONE)
        assert (peer["last_handshake"], peer["sent_rate"]) == (None, 0.0)
        assert status["dropped"]["replayed"] == 0
        assert SERVER not in json.dumps(status)
        with machine.running(*program("status", "--json")) as live:
            live.wait_for("wg0")
            live.wait_for("wg0")
        server.end(signal.SIGTERM)


# DNS. The programs are models, which write down what they are asked.


@pytest.mark.parametrize(
    ("name", "up", "down"),
    [
        (
            "resolvectl",
            ["resolvectl dns wg0 10.9.0.1", "resolvectl domain wg0 example.net ~."],
            "resolvectl revert wg0",
        ),
        (
            "resolvconf",
            ["resolvconf -a tun.wg0 -m 0 -x", "nameserver 10.9.0.1", "search example.net"],
            "resolvconf -d tun.wg0",
        ),
    ],
)
def test_dns_is_set_and_undone(
    machine: Machine, folder: Path, name: str, up: list[str], down: str
) -> None:
    script = folder / name
    script.write_text(f'#!/bin/sh\necho "{name} $*" >>{folder}/asked\ncat >>{folder}/asked\n')
    script.chmod(0o755)
    machine.run("mkdir", "-p", "/run/systemd/resolve")
    path = f"PATH={folder}:{os.environ['PATH']}"
    with machine.running("env", path, *program("serve"), cwd=folder) as server:
        server.wait_for("wg0 is up")
        assert (folder / "asked").read_text().splitlines() == up
        server.rewrite(folder / "wg0.conf", TEXT.replace("DNS = ", "DNS = # "))
        server.wait_for("wg0 has changed")
        assert (folder / "asked").read_text().splitlines() == [*up, down]
        server.rewrite(folder / "wg0.conf", TEXT)
        server.wait_for("wg0 has changed")
        assert (folder / "asked").read_text().splitlines() == [*up, down, *up]
        server.end(signal.SIGTERM)
    assert (folder / "asked").read_text().splitlines() == [*up, down, *up, down]


def test_dns_that_is_refused(machine: Machine, folder: Path) -> None:
    (folder / "resolvconf").write_text("#!/bin/sh\necho no >&2\nexit 3\n")
    (folder / "resolvconf").chmod(0o755)
    path = f"PATH={folder}:{os.environ['PATH']}"
    output = machine.run("env", path, *program("serve"), cwd=folder, status=1)
    assert "resolvconf -a tun.wg0 -m 0 -x failed: no" in output
    assert "wg0" not in machine.run("ip", "link")


# The kill switch, by the real nft.

SEND = "import socket; socket.socket(2, 2).sendto(b'x', ('{}', 9))"


@pytest.mark.requires("nft")
def test_nothing_leaves_but_through_the_interface(machine: Machine, folder: Path) -> None:
    machine.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    machine.run("ip", "link", "set", "eth1", "up")
    machine.run("ip", "address", "add", "192.0.2.1/24", "dev", "eth0")
    machine.run("ip", "link", "set", "eth0", "up")

    def send(address: str, status: int) -> None:
        machine.run(*PYTHON, "-c", SEND.format(address), status=status)

    send("192.0.2.2", 0)
    marked = TEXT.replace("ListenPort", "FwMark = 7\nListenPort")
    (folder / "wg0.conf").write_text(marked)
    with machine.running(*program("serve", "--kill-switch"), cwd=folder) as server:
        server.wait_for("wg0 is up")
        send("192.0.2.2", 1)
        send("127.0.0.1", 0)
        send("10.9.0.2", 0)
        machine.run(
            *PYTHON,
            "-c",
            "import socket; s = socket.socket(2, 2); s.setsockopt(1, 36, 7); "
            "s.sendto(b'x', ('192.0.2.2', 9))",
        )
        server.process.kill()
        server.process.wait()
    send("192.0.2.2", 1)  # that is what it is for
    with machine.running(*program("serve", "--kill-switch"), cwd=folder) as server:
        server.wait_for("wg0 is up")
        server.end(signal.SIGTERM)
    send("192.0.2.2", 0)
    assert machine.run("nft", "list", "tables") == ""


@pytest.mark.requires("nft")
def test_a_kill_switch_without_a_mark(machine: Machine, folder: Path) -> None:
    output = machine.run(*program("serve", "--kill-switch"), cwd=folder, status=1)
    assert "set FwMark" in output
    assert machine.run("nft", "list", "tables") == ""


@pytest.mark.requires("nft")
def test_a_kill_switch_that_loses_its_mark(machine: Machine, folder: Path) -> None:
    """It keeps the mark, so that nothing else leaves all the same."""
    marked = TEXT.replace("ListenPort", "FwMark = 7\nListenPort")
    (folder / "wg0.conf").write_text(marked)
    with machine.running(*program("serve", "--kill-switch"), cwd=folder) as server:
        server.wait_for("wg0 is up")
        before = machine.run("nft", "list", "ruleset"), machine.run("wg", "show", "wg0", "fwmark")
        server.rewrite(folder / "wg0.conf", TEXT)
        server.wait_for("wg0 has changed")
        after = machine.run("nft", "list", "ruleset"), machine.run("wg", "show", "wg0", "fwmark")
        assert after == before
        server.rewrite(folder / "wg0.conf", marked.replace("FwMark = 7", "FwMark = 8"))
        server.wait_for("wg0 has changed")
        assert "meta mark 0x00000008 accept" in machine.run("nft", "list", "ruleset")
        server.end(signal.SIGTERM)
    assert machine.run("nft", "list", "tables") == ""


@pytest.mark.requires("nft")
def test_a_kill_switch_stays_when_no_peer_takes_everything(machine: Machine, folder: Path) -> None:
    """Its mark came with the peer's routes; the peer goes all the same."""
    everything = TEXT.replace("10.9.0.2/32", "0.0.0.0/0")
    (folder / "wg0.conf").write_text(everything)
    with machine.running(*program("serve", "--kill-switch"), cwd=folder) as server:
        server.wait_for("wg0 is up")
        rules = machine.run("nft", "list", "ruleset")
        assert "meta mark 0x0000ca6c accept" in rules
        server.rewrite(folder / "wg0.conf", everything.partition("# phone")[0])
        server.wait_for("wg0 has changed: .* peers: 0, ")
        assert machine.run("nft", "list", "ruleset") == rules
        server.end(signal.SIGTERM)


# A signal while the system is being changed: the change ends first, and is undone then.


AT_FIRST = "[ $(wc -l <log) -gt 1 ] || sleep 1"
"""A pause in the first call alone."""


def slow(folder: Path, program: str, then: str, pause: str = AT_FIRST) -> tuple[str, Path]:
    """A search path on which a program takes a while, and the log of its calls."""
    log = folder / "log"
    script = folder / program
    script.write_text(
        f"#!/bin/sh\necho begins $1 >> {log}\n{pause}\necho ends $1 >> {log}\n{then}\n"
    )
    script.chmod(0o755)
    log.touch()
    return f"PATH={folder}:{os.environ['PATH']}", log


def end_at_its_beginning(machine: Machine, folder: Path, log: Path, *command: str) -> None:
    with machine.running(*command, cwd=folder) as server:
        while not log.read_text():
            time.sleep(0.01)
        server.end(signal.SIGTERM)


@pytest.mark.requires("nft")
def test_a_signal_while_the_kill_switch_is_set(machine: Machine, folder: Path) -> None:
    text = TEXT.replace("ListenPort", "FwMark = 7\nListenPort")
    (folder / "wg0.conf").write_text(text)
    path, log = slow(folder, "nft", f'exec {shutil.which("nft")} "$@"')
    command = ("env", path, *program("serve", "--kill-switch"))
    end_at_its_beginning(machine, folder, log, *command)
    assert machine.run("nft", "list", "tables") == ""


@pytest.mark.requires("nft")
def test_a_reload_while_the_interface_comes_up_waits(
    machine: Machine, folder: Path, manager: socket.socket
) -> None:
    text = TEXT.replace("ListenPort", "FwMark = 7\nListenPort")
    (folder / "wg0.conf").write_text(text)
    pause = f"until [ -e {folder}/reload ]; do sleep 0.01; done"
    path, log = slow(folder, "nft", f'exec {shutil.which("nft")} "$@"', pause)
    environment = ("env", path, f"NOTIFY_SOCKET={folder}/notify")
    command = (*environment, *program("serve", "--kill-switch"))
    with machine.running(*command, cwd=folder) as server:
        while not log.read_text():
            time.sleep(0.01)
        server.rewrite(folder / "wg0.conf", text.replace("51820", "51999"))
        (folder / "reload").touch()
        assert manager.recv(1000).startswith(b"READY=1\nSTATUS=wg0 is up at UDP port 51820, ")
        assert manager.recv(1000).startswith(b"RELOADING=1\n")
        assert b"UDP port 51999" in manager.recv(1000)
        server.end(signal.SIGTERM)


def test_a_signal_while_dns_is_set(machine: Machine, folder: Path) -> None:
    path, log = slow(folder, "resolvconf", "")
    end_at_its_beginning(machine, folder, log, "env", path, *program("serve"))
    assert log.read_text().split("\n")[:-1] == ["begins -a", "ends -a", "begins -d", "ends -d"]


class Slow(Store[None]):
    """Peers that are read and then handed over, as slowly as one likes."""

    def __init__(self) -> None:
        self.now: dict[bytes, PeerConfig] = {}
        self.read, self.hand_over = asyncio.Event(), asyncio.Event()
        self.changed: asyncio.Queue[Change] = asyncio.Queue()

    async def peers(self) -> tuple[dict[bytes, PeerConfig], None]:
        peers = self.now.copy()
        self.read.set()
        await self.hand_over.wait()
        return peers, None

    async def watch(self, revision: None) -> AsyncGenerator[list[Change], None]:
        while True:
            yield [await self.changed.get()]

    async def _change(self, decide: Decide) -> Change:
        raise NotImplementedError


async def test_a_reload_undoes_no_later_change(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has read may be older than what was found meanwhile."""
    store = Slow()
    server = Server(ConfigFile(folder / "wg0.conf"), "wg0", store=store)
    server._peers, server._system = {}, None
    done: asyncio.Queue[int] = asyncio.Queue()

    async def change() -> None:
        done.put_nowait(len(server.peers))

    monkeypatch.setattr(server, "_change", change)
    monkeypatch.setattr(Server, "_status", "")
    parts = [server._follow_store(None), server._follow_reloads()]
    tasks = [asyncio.ensure_future(part) for part in parts]
    server.reload()
    await store.read.wait()
    key = decode_key(PHONE)
    store.now[key] = PeerConfig(key)
    store.changed.put_nowait(Change(key, store.now[key]))
    for _ in range(100):
        await asyncio.sleep(0.001)
    store.hand_over.set()
    for _ in range(2):
        await done.get()
    await end(tasks)
    assert server.peers == store.now


# Time stamps that outlive the program.


KEYS = [bytes([number]) * 32 for number in (8, 1)]

EVERYTHING = (ip_network("0.0.0.0/0"),)

CLIENT = PeerConfig(public_key_of(KEYS[1]), allowed_ips=EVERYTHING)


@contextlib.asynccontextmanager
async def remembering(file: Path) -> AsyncIterator[tuple[WireGuard, Timestamps]]:
    """A server that keeps time stamps there."""
    near, far = memory_devices()
    with far:
        async with WireGuard(InterfaceConfig(KEYS[0]), device=near) as wireguard:
            timestamps = Timestamps(file)
            timestamps.serve(wireguard)
            wireguard.set_peer(CLIENT)
            timestamps.place([CLIENT.public_key])
            task = asyncio.ensure_future(timestamps.run())
            await asyncio.sleep(0)
            yield wireguard, timestamps
            await end([task])


def initiation_at(now: float) -> bytes:
    """Of the client, by its clock."""
    client = Tunnel(KEYS[1], wall_clock=lambda: now)
    server = PeerConfig(public_key_of(KEYS[0]), allowed_ips=EVERYTHING)
    client.set_peer(server, 0, ("192.0.2.1", 1))
    client.packets_from_device([packets.udp(payload=b"x")], 0)
    ((_, _, _, (initiation,)),) = client.take_datagrams()
    return initiation


def answers(tunnel: Tunnel, initiation: bytes, now: float) -> bool:
    tunnel.datagrams_received([Datagram(initiation, ("192.0.2.2", 2), None, 0)], now)
    return bool(tunnel.take_datagrams())


async def test_an_initiation_is_a_replay_after_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "wg0.timestamps"
    initiation = initiation_at(1e9)
    for first in (True, False):
        async with remembering(file) as (wireguard, _):
            assert answers(wireguard.tunnel, initiation, 1000.0) is first
            assert wireguard.tunnel.counters.replayed_handshake == (not first)
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("restart", [False, True])
async def test_a_time_stamp_goes_with_its_peer(tmp_path: Path, restart: bool) -> None:
    """A client whose clock was ahead is let in again when it is removed and added."""
    file = tmp_path / "wg0.timestamps"
    async with remembering(file) as (wireguard, _):
        assert answers(wireguard.tunnel, initiation_at(4e9), 1000.0)
    async with remembering(file) as (wireguard, timestamps):
        assert not answers(wireguard.tunnel, initiation_at(1e9), 1000.0)
        wireguard.remove_peer(CLIENT.public_key)
        timestamps.place([CLIENT.public_key])
        if not restart:
            wireguard.set_peer(CLIENT)
            timestamps.place([CLIENT.public_key])
            assert answers(wireguard.tunnel, initiation_at(1e9), 1001.0)
    async with remembering(file) as (wireguard, _):
        assert answers(wireguard.tunnel, initiation_at(1e9), 1000.0) is restart
        assert answers(wireguard.tunnel, initiation_at(2e9), 1001.0)


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b'{"x": 1}', b'{"00": "00"}', b"\xff", b"[" * 100_000]
)
async def test_a_file_of_time_stamps_that_is_none(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "wg0.timestamps").write_bytes(content)
    near, far = memory_devices()
    with far:
        async with WireGuard(InterfaceConfig(generate_private_key()), device=near) as wireguard:
            Timestamps(tmp_path / "wg0.timestamps").serve(wireguard)
    assert "holds no time stamps" in caplog.text


async def test_time_stamps_that_cannot_be_written_for_a_while(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are tried again, which is told once."""
    tries = 0

    def full_disk(path: Path, data: bytes) -> None:
        nonlocal tries
        tries += 1
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(timestamps_module, "INTERVAL", 0.01)
    file = tmp_path / "wg0.timestamps"
    async with remembering(file) as (wireguard, _):
        with monkeypatch.context() as full:
            full.setattr(timestamps_module, "replace_file", full_disk)
            assert answers(wireguard.tunnel, initiation_at(1e9), 1000.0)
            await until(lambda: tries > 3)
        await until(file.exists)
    assert [record.getMessage() for record in caplog.records if "written" in record.msg] == [
        "time stamps cannot be written: [Errno 28] No space left on device"
    ]


async def test_time_stamps_without_a_directory(tmp_path: Path) -> None:
    near, far = memory_devices()
    with far:
        async with WireGuard(InterfaceConfig(generate_private_key()), device=near) as wireguard:
            with pytest.raises(NotADirectoryError, match="make it, or name another"):
                Timestamps(tmp_path / "none" / "wg0.timestamps").serve(wireguard)
