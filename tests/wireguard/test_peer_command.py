"""aiotun wireguard peer, and pair with a store."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest
from nats_servers import NatsServer, nats_server

from aiotun.cli import main
from aiotun.wireguard.config_file import parse_config
from aiotun.wireguard.keys import encode_key, public_key_of

__all__ = ["nats_server"]

ALICE, BOB, SECRET = (encode_key(bytes([n]) * 32) for n in (1, 2, 3))

SERVER = f"[Interface]\nPrivateKey = {SECRET}\nAddress = 10.9.0.1/24\nListenPort = 51820\n"


@pytest.fixture(params=["file", "nats"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    (tmp_path / "wg0.conf").write_text(SERVER)
    (tmp_path / "wg0.conf").chmod(0o600)
    if request.param == "file":
        return f"file:{tmp_path}/wg0.conf"
    server: NatsServer = request.getfixturevalue("nats_server")
    return f"nats://{server.address}/test-{os.urandom(4).hex()}"


def run(url: str, *arguments: str) -> int:
    return main(["wireguard", "peer", "--store", url, *arguments])


def listed(url: str, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    capsys.readouterr()
    assert run(url, "list", "--json") == 0
    return {peer["name"]: peer for peer in json.loads(capsys.readouterr().out)}


def test_a_peer_from_add_to_remove(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "psk").write_text(f"{SECRET}\n")
    options = ("--pool", "10.9.0.1/24", "--allowed-ips", "10.7.0.0/16", "--keepalive", "25")
    secret = ("--preshared-key", str(tmp_path / "psk"), "--endpoint", "vpn.example:1")
    assert run(url, "add", "alice", ALICE, *options, *secret) == 0
    assert capsys.readouterr().out == "10.9.0.2/32, 10.7.0.0/16\n"
    assert run(url, "add", "bob", BOB, "--pool", "10.9.0.1/24") == 0
    assert run(url, "disable", "alice") == 0
    peers = listed(url, capsys)
    assert peers["alice"] == {
        "name": "alice",
        "public_key": ALICE,
        "allowed_ips": ["10.9.0.2/32", "10.7.0.0/16"],
        "endpoint": "vpn.example:1",
        "persistent_keepalive": 25,
        "enabled": False,
    }
    assert run(url, "list") == 0
    shown = capsys.readouterr().out
    assert "disabled" in shown
    assert SECRET not in shown
    assert run(url, "enable", ALICE) == 0
    assert listed(url, capsys)["alice"]["enabled"] is True
    assert run(url, "remove", "alice") == 0
    assert list(listed(url, capsys)) == ["bob"]
    assert run(url, "remove", "alice") == 1
    assert "no peers are called 'alice'" in capsys.readouterr().err


@pytest.mark.parametrize("behind", [False, True])
def test_where_the_store_may_stand(
    url: str, behind: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("list", "--store", url) if behind else ("--store", url, "list")
    assert run(url, "add", "alice", ALICE) == 0
    assert main(["wireguard", "peer", *words]) == 0
    assert "alice" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("add", "bob", "nonsense"), "a key is 44 characters"),
        (("add", "a\nb", BOB), "a name is"),
        (("add", "bob", BOB, "--keepalive", "70000"), "0 to 65535"),
        (("add", "bob", ALICE), "there is a peer with this public key"),
        (("add", "alice", BOB), "there is a peer called alice"),
        (("add", "bob", BOB, "--allowed-ips", "10.7.0.1"), "10.7.0.1/32 belongs to alice"),
        (("add", "bob", BOB, "--pool", "x"), "'x'"),
    ],
)
def test_what_is_refused(
    url: str, arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(url, "add", "alice", ALICE, "--allowed-ips", "10.7.0.1/32") == 0
    assert run(url, *arguments) == 1
    assert message in capsys.readouterr().err
    assert list(listed(url, capsys)) == ["alice"]


def test_a_phone_is_paired_with_a_store(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIOTUN_STORE", url)
    files = [str(tmp_path / "phone.conf"), "--server", str(tmp_path / "wg0.conf")]
    assert main(["wireguard", "pair", *files, "--endpoint", "vpn.example.com"]) == 0
    phone = parse_config((tmp_path / "phone.conf").read_text())
    peers = listed(url, capsys)
    assert peers["phone"]["public_key"] == encode_key(public_key_of(phone.private_key))
    assert peers["phone"]["allowed_ips"] == [f"{phone.addresses[0].ip}/32"]
    assert main(["wireguard", "pair", *files, "--endpoint", "vpn.example.com"]) == 1
    assert list(listed(url, capsys)) == ["phone"]


@pytest.mark.skipif(sys.platform == "win32", reason="no pipe has a path there")
def test_a_preshared_key_out_of_a_pipe(tmp_path: Path) -> None:
    """`<(wg genpsk)`, say."""
    (tmp_path / "wg0.conf").write_text(SERVER)
    (tmp_path / "wg0.conf").chmod(0o600)
    reader, writer = os.pipe()
    os.write(writer, f"{SECRET}\n".encode())
    os.close(writer)
    add = ("add", "alice", ALICE, "--preshared-key", f"/dev/fd/{reader}")
    assert run(f"file:{tmp_path}/wg0.conf", *add) == 0
    os.close(reader)
    assert f"PresharedKey = {SECRET}" in (tmp_path / "wg0.conf").read_text()


def test_a_narrow_table_has_the_key_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wg0.conf").write_text(SERVER)
    (tmp_path / "wg0.conf").chmod(0o600)
    monkeypatch.setenv("COLUMNS", "80")
    url = f"file:{tmp_path}/wg0.conf"
    networks = "10.7.0.0/16,fd09:1:2:3::/64"
    assert run(url, "add", "alice", ALICE, "--allowed-ips", networks) == 0
    capsys.readouterr()
    assert run(url, "list") == 0
    rows = capsys.readouterr().out.splitlines()[3:-1]
    assert "".join(re.split("[│|]", row)[2].strip() for row in rows) == ALICE


def test_pair_writes_over_no_client(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    client = tmp_path / "phone.conf"
    client.write_text("mine")
    options = ["--server", str(tmp_path / "wg0.conf"), "--endpoint", "vpn.example"]
    assert main(["wireguard", "pair", str(client), *options]) == 1
    error = f"aiotun wireguard: {client} is there already: name another file, or remove it\n"
    assert capsys.readouterr().err == error
    assert (client.read_text(), [*tmp_path.iterdir()]) == ("mine", [client])
