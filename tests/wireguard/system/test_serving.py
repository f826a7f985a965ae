"""`aiotun wireguard serve` on the MODELS of macOS and the BSDs, with a real peer."""

from __future__ import annotations

import sys

assert sys.platform == "linux"  # on which the models run

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from functools import partial
from ipaddress import ip_network
from pathlib import Path

import packets
import pytest
from models.kernel import ModelKernel
from rigs import until

import aiotun
from aiotun.platforms.bsd.interface import open_on
from aiotun.testing import memory_devices
from aiotun.wireguard.config import InterfaceConfig, PeerConfig
from aiotun.wireguard.endpoint import WireGuard
from aiotun.wireguard.keys import encode_key, generate_private_key, public_key_of
from aiotun.wireguard.server import Server
from aiotun.wireguard.stores.file import ConfigFile
from aiotun.wireguard.system.bsd import Bsd, numbered
from aiotun.wireguard.system.bsd_dns import BsdDNS
from aiotun.wireguard.uapi_client import read_status
from aiotun.wireguard.uapi_socket import socket_path

KEYS = [generate_private_key() for _ in range(3)]

FILE = """\
[Interface]
PrivateKey = {own}
Address = 10.9.0.1/24
DNS = 10.9.0.53
PostUp = echo %i >new; mv new up

[Peer]
PublicKey = {near}
Endpoint = 127.0.0.1:{port}
AllowedIPs = 10.9.0.2/32

[Peer]
PublicKey = {far}
Endpoint = 203.0.113.5:51820
AllowedIPs = 0.0.0.0/0
"""


@pytest.fixture(autouse=True)
def programs(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but what the command takes: no resolvconf of this machine."""
    folder = tmp_path_factory.mktemp("bin")
    for name in ("bash", "mv"):
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(folder))


NAMES = {"FreeBSD": "wg0", "NetBSD": "tun0", "OpenBSD": "tun0", "macOS": "utun0"}


class Peer:
    """Another implementation's place: an interface of ours whose device is in memory."""

    def __init__(self, wireguard: WireGuard, host: aiotun.PacketStream) -> None:
        self.wireguard, self.host = wireguard, host


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    near, far = memory_devices(mtu=1420, addresses=["10.9.0.2/24"])
    known = PeerConfig(public_key_of(KEYS[0]), allowed_ips=(ip_network("0.0.0.0/0"),))
    async with aiotun.open_device(device=far) as host:
        config = InterfaceConfig(KEYS[1], peers=(known,))
        async with WireGuard(config, device=near) as wireguard:
            yield Peer(wireguard, host)


async def test_an_interface_from_start_to_end(
    kernel: ModelKernel, peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, resolv = kernel.system(kernel), tmp_path / "resolv.conf"
    resolv.write_text("nameserver 192.0.2.53\n")
    before = sorted(map(str, kernel.routes))
    monkeypatch.setattr("aiotun.platforms.open_device", partial(open_on, system))
    monkeypatch.setattr("aiotun.wireguard.server.device_name", lambda name: numbered(name, system))
    monkeypatch.setattr(
        "aiotun.wireguard.server.open_system",
        lambda wireguard: Bsd(
            kernel.system(kernel),
            wireguard.device.index,
            BsdDNS(wireguard.device.name, resolv),
        ),
    )
    monkeypatch.chdir(tmp_path)
    keys = [encode_key(public_key_of(key)) for key in KEYS[1:]]
    text = FILE.format(
        own=encode_key(KEYS[0]), near=keys[0], far=keys[1], port=peer.wireguard.listen_port
    )
    (tmp_path / "wg0.conf").write_text(text)
    server = Server(ConfigFile(tmp_path / "wg0.conf", allow_commands=True), "wg0")
    running = asyncio.ensure_future(server.run(directory=tmp_path))
    up = tmp_path / "up"
    up.touch()
    await until(lambda: running.done() or up.read_text(), timeout=30)
    name = NAMES[system.name]
    assert up.read_text() == f"{name}\n"

    index = kernel.index(name)
    ours = {str(each.destination) for each in kernel.routes if each.index == index}
    assert {"0.0.0.0", "128.0.0.0"} <= ours
    outside = [each for each in kernel.routes if str(each.destination) == "203.0.113.5"]
    assert [(str(each.gateway), each.prefix) for each in outside] == [("192.0.2.1", 32)]
    assert resolv.read_text().splitlines()[1] == "nameserver 10.9.0.53"

    path = socket_path("wg0", tmp_path)
    assert path.name == f"{name}.sock"
    assert len((await read_status(path)).peers) == 2

    there = packets.udp(source="10.9.0.1", destination="10.9.0.2", payload=b"there")
    back = packets.udp(source="10.9.0.2", destination="10.9.0.1", payload=b"back")
    assert kernel.emit(name, there)
    assert await asyncio.wait_for(peer.host.recv(), 30) == there
    await peer.host.send(back)
    assert await asyncio.to_thread(kernel.taken, name, 30.0) == back

    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert sorted(map(str, kernel.routes)) == before
    assert name not in {each.name for each in kernel.interfaces.values()}
    assert resolv.read_text() == "nameserver 192.0.2.53\n"
    assert sorted(os.listdir(tmp_path)) == ["resolv.conf", "up", "wg0.conf"]
