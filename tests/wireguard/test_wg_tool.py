"""The ordinary `wg` tool, which talks to the UAPI socket as to any WireGuard."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import PYTHON, Machine, Program, program

from aiotun.wireguard.config_file import ConfigFileError, parse_config
from aiotun.wireguard.keys import encode_key, generate_private_key, public_key_of

pytestmark = [
    pytest.mark.interop,
    pytest.mark.requires("tun", "netns", "mountns", "wg"),
    pytest.mark.timeout(30),
]

KEY = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
ALICE = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
BOB = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0="

CONFIG = f"""[Interface]
PrivateKey = {KEY}
ListenPort = 51820

[Peer]
PublicKey = {ALICE}
PresharedKey = {BOB}
AllowedIPs = 10.9.0.2/32, fd09::2/128
Endpoint = 192.0.2.1:51820
PersistentKeepalive = 25
"""


@pytest.fixture
def server(machine: Machine, tmp_path: Path) -> Iterator[Program]:
    path = tmp_path / "wg9.conf"
    path.write_text(CONFIG)
    path.chmod(0o600)
    command = program("serve", str(path))
    with machine.running(*command) as server:
        server.wait_for("wg9 is up")
        yield server
        server.end(signal.SIGTERM)


def test_it_shows(machine: Machine, server: Program) -> None:
    assert machine.run("wg", "show", "interfaces") == "wg9\n"
    shown = machine.run("wg", "show")
    assert shown.startswith("interface: wg9\n  public key: ")
    assert f"\npeer: {ALICE}\n  preshared key: (hidden)\n  endpoint: 192.0.2.1:51820\n" in shown
    assert "allowed ips: 10.9.0.2/32, fd09::2/128\n" in shown
    assert "persistent keepalive: every 25 seconds\n" in shown
    written = parse_config(machine.run("wg", "showconf", "wg9"))
    assert written == parse_config(CONFIG)


def test_it_changes(machine: Machine, server: Program, tmp_path: Path) -> None:
    def column(what: str) -> list[str]:
        lines = machine.run("wg", "show", "wg9", what).splitlines()
        return [line.split("\t")[-1].replace(" ", ",") for line in lines]

    peer = ("wg", "set", "wg9", "peer")
    machine.run(*peer, BOB, "allowed-ips", "10.9.0.3/32,10.20.0.0/16", "endpoint", "[::1]:7")
    assert column("endpoints") == ["192.0.2.1:51820", "[::1]:7"]
    machine.run(*peer, BOB, "allowed-ips", "10.9.0.2/32", "persistent-keepalive", "3")
    assert column("allowed-ips") == ["fd09::2/128", "10.9.0.2/32"]  # it has changed hands
    assert column("persistent-keepalive") == ["25", "3"]
    machine.run(*peer, BOB, "remove")
    assert column("peers") == [ALICE]
    machine.run("wg", "set", "wg9", "listen-port", "51999", "fwmark", "0x55")
    assert (column("listen-port"), column("fwmark")) == (["51999"], ["0x55"])
    key = generate_private_key()
    (tmp_path / "key").write_text(encode_key(key))
    machine.run("wg", "set", "wg9", "private-key", str(tmp_path / "key"))
    assert column("public-key") == [encode_key(public_key_of(key))]
    machine.run("wg", "set", "wg9", "private-key", "/dev/null")
    assert column("public-key") == ["(none)"]


def test_whole_configurations(machine: Machine, server: Program, tmp_path: Path) -> None:
    path = tmp_path / "other.conf"
    path.write_text(CONFIG.replace("192.0.2.1", "192.0.2.2") + f"\n[Peer]\nPublicKey = {BOB}\n")
    machine.run("wg", "syncconf", "wg9", str(path))
    assert parse_config(machine.run("wg", "showconf", "wg9")) == parse_config(path.read_text())
    path.write_text(f"[Interface]\nPrivateKey = {KEY}\nListenPort = 51821\n")
    machine.run("wg", "setconf", "wg9", str(path))
    assert machine.run("wg", "show", "wg9", "peers") == ""
    path.write_text(f"[Peer]\nPublicKey = {ALICE}\n")
    machine.run("wg", "addconf", "wg9", str(path))
    assert machine.run("wg", "show", "wg9", "peers") == f"{ALICE}\n"
    assert machine.run("wg", "show", "wg9", "listen-port") == "51821\n"


BLOCKER = """
import socket, time
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as blocker:
    blocker.bind(("::", 7777))
    print("bound")
    time.sleep(60)
"""


def test_it_tells_why_not(machine: Machine, server: Program) -> None:
    with machine.running(*PYTHON, "-c", BLOCKER) as other:
        other.wait_for("bound")
        output = machine.run("wg", "set", "wg9", "listen-port", "7777", status=1)
    assert "Address already in use" in output
    assert machine.run("wg", "show", "wg9", "listen-port") == "51820\n"


LINES = [
    "PrivateKey = yAnz5TF+lXX Jte14tji3zlMNq+hd2rYUIgJBgB3fBmk=",
    "listenport=0000051999#and a comment",
    "ListenPort = domain",
    "Listen Port = 51 999",
    "FwMark = 0x00000000000000cafe",
    "FwMark = 010",
    "FwMark = OFF",
    f"[ Peer ]\nPublicKey = {ALICE}",
    f"[PEER]\npublic key = {ALICE[:7]} {ALICE[7:]}\nPresharedKey={BOB}",
    *(
        f"[Peer]\nPublicKey = {ALICE}\n{line}"
        for line in (
            "AllowedIPs = 10.0.0.0 / 8, fd00 :: / 8,10.1.2.3",
            "AllowedIPs = 10.0.0.0/008\nAllowedIPs = ::/0",
            "AllowedIPs = 128.0.0.0/0, 10.9.8.7/16",
            "AllowedIPs = 10.0.0.0/8, 10.0.0.0/8",
            "AllowedIPs = ::ffff:1.2.3.4",
            "Endpoint = 192.0.2.1:domain",
            "Endpoint = 192.0.2.1:0",
            "Endpoint = 192.0.2.1 : 5 1",
            "Endpoint = 192.0.2.1:000000051820",
            "Endpoint = [192.0.2.1]:51820",
            "Endpoint = 2001:db8::1:51820",
            "Endpoint = [2001:db8::1]:51820",
            "Endpoint = [fe80::1%lo]:51820",
            "Endpoint = fe80::1%lo:51820",
            "PersistentKeepalive = 0000000000000000000000025",
            "Persistent Keepalive = 2 5",
            "PersistentKeepalive = OFF",
        )
    ),
]
"""What `wg` takes in a file, in each of the ways in which one can write it."""


def test_values_are_read_as_wg_reads_them(
    machine: Machine, server: Program, tmp_path: Path
) -> None:
    path = tmp_path / "lines.conf"
    for line in LINES:
        text = f"[Interface]\nPrivateKey = {KEY}\nListenPort = 51820\n{line}\n"
        path.write_text(text)
        machine.run("wg", "setconf", "wg9", str(path))
        found = parse_config(machine.run("wg", "showconf", "wg9"))
        assert found == parse_config(text), line


REFUSED = [
    "ListenPort =",
    "ListenPort = 0x50",
    "FwMark = 0x100000000",
    "FwMark = -1",
    "FwMark =",
    "PrivateKey = short",
    "[Peers]",
    "[Peer]",
    *(
        f"[Peer]\nPublicKey = {ALICE}\n{line}"
        for line in (
            "AllowedIPs = 10.0.0.1/0.0.0.0",
            "AllowedIPs = 10.0.0.0/255.0.0.0",
            "AllowedIPs = 10.0.0.0/33",
            "AllowedIPs = 10.0.0.0/8 10.1.0.0/16",
            "AllowedIPs = fe80::1%lo",
            "AllowedIPs = fe80::%lo/64",
            "AllowedIPs = everything",
            "Endpoint = 192.0.2.1",
            "Endpoint = 192.0.2.1:",
            "Endpoint = [2001:db8::1]",
            "Endpoint = [2001:db8::1",
            "Endpoint = :51820",
            "PersistentKeepalive = 0x19",
            "PersistentKeepalive = 65536",
            "PresharedKey =",
        )
    ),
]


def test_what_wg_refuses_is_refused(machine: Machine, server: Program, tmp_path: Path) -> None:
    path = tmp_path / "lines.conf"
    for line in REFUSED:
        text = f"[Interface]\nPrivateKey = {KEY}\n{line}\n"
        path.write_text(text)
        machine.run("wg", "setconf", "wg9", str(path), status=1)
        with pytest.raises(ConfigFileError):
            parse_config(text)
    assert parse_config(machine.run("wg", "showconf", "wg9")) == parse_config(CONFIG)


def test_a_zone_is_shown_and_kept(machine: Machine, server: Program) -> None:
    machine.run("wg", "set", "wg9", "peer", ALICE, "endpoint", "[fe80::7%lo]:7")
    assert machine.run("wg", "show", "wg9", "endpoints") == f"{ALICE}\t[fe80::7%lo]:7\n"
    assert "Endpoint = [fe80::7%lo]:7\n" in machine.run("wg", "showconf", "wg9")
    assert "endpoint: [fe80::7%lo]:7\n" in machine.run("wg", "show", "wg9")
