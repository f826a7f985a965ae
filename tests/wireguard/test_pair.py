"""A pair of configurations, and what a phone's camera sees of it."""

from __future__ import annotations

import argparse
import io
import os
import sys
from dataclasses import replace
from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest
import segno

from aiotun.wireguard.cli import pair
from aiotun.wireguard.cli.pair import (
    add_arguments,
    add_client,
    main,
    make_pair,
    new_server,
    qr_code,
)
from aiotun.wireguard.config_file import parse_config
from aiotun.wireguard.keys import public_key_of

ENDPOINT = ("vpn.example.com", 51821)


def test_the_two_belong_together(tmp_path: Path) -> None:
    text = make_pair(tmp_path / "wg0.conf", tmp_path / "phone.conf", ENDPOINT, [])
    server = parse_config((tmp_path / "wg0.conf").read_text())
    phone = parse_config((tmp_path / "phone.conf").read_text())
    assert parse_config(text) == phone
    ours, theirs = server.peers[0], phone.peers[0]
    assert ours.public_key == public_key_of(phone.private_key)
    assert theirs.public_key == public_key_of(server.private_key)
    assert ours.preshared_key == theirs.preshared_key != bytes(32)
    assert theirs.endpoint == ENDPOINT
    assert server.listen_port == ENDPOINT[1]
    assert [address.ip for address in phone.addresses] == [
        network.network_address for network in ours.allowed_ips
    ]
    assert theirs.allowed_ips == tuple(address.network for address in server.addresses)
    assert {address.ip.is_private for address in server.addresses} == {True}
    for name in ("wg0.conf", "phone.conf"):
        if sys.platform != "win32":  # where platforms/windows/test_security.py looks
            assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_a_further_client_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    server = tmp_path / "wg0.conf"
    make_pair(server, tmp_path / "phone.conf", ENDPOINT, ["10.7.0.0/29"])
    known = server.read_text() + "# a remark"
    server.write_text(known)
    text = make_pair(server, tmp_path / "laptop.conf", ENDPOINT, [])
    assert server.read_text().startswith(known + "\n\n# laptop\n[Peer]\n")
    laptop = parse_config(text)
    assert laptop.addresses == (ip_interface("10.7.0.3/29"),)
    config = parse_config(server.read_text())
    assert [str(peer.allowed_ips[0]) for peer in config.peers] == ["10.7.0.2/32", "10.7.0.3/32"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "phone.conf").write_text("precious")
    with pytest.raises(FileExistsError):
        make_pair(tmp_path / "wg0.conf", tmp_path / "phone.conf", ENDPOINT, [])
    assert os.listdir(tmp_path) == ["phone.conf"]


@pytest.mark.parametrize("name", ["a\n[Peer]", "phone;x", "pho%ne", "the phone", "a" * 33])
@pytest.mark.parametrize("side", ["server", "client"])
def test_a_name_that_no_interface_can_have(tmp_path: Path, name: str, side: str) -> None:
    """It would stand in the server's file, and be the interface's name on the client."""
    files = {"server": tmp_path / "wg0.conf", "client": tmp_path / "phone.conf"}
    files[side] = tmp_path / f"{name}.conf"
    with pytest.raises(ValueError, match="is no name of an interface"):
        make_pair(files["server"], files["client"], ENDPOINT, [])
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_both_files_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = tmp_path / "wg0.conf"
    make_pair(server, tmp_path / "phone.conf", ENDPOINT, [])
    known = server.read_text()

    def full(path: Path, data: bytes) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(pair, "replace_file", full)
    with pytest.raises(OSError, match="No space left"):
        make_pair(server, tmp_path / "laptop.conf", ENDPOINT, [])
    assert server.read_text() == known
    assert sorted(os.listdir(tmp_path)) == ["phone.conf", "wg0.conf"]


@pytest.mark.skipif(sys.platform == "win32", reason="wine makes no such links")
def test_a_server_behind_a_link_stays_there(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    link = tmp_path / "wg0.conf"
    link.symlink_to("etc/wg0.conf")
    for name in ("phone.conf", "laptop.conf"):
        make_pair(link, tmp_path / name, ENDPOINT, [])
    assert link.is_symlink()
    assert len(parse_config((tmp_path / "etc/wg0.conf").read_text()).peers) == 2


def test_until_no_address_is_left() -> None:
    server = new_server(["10.7.0.0/30"])
    peer, _ = add_client(server, ENDPOINT)
    with pytest.raises(ValueError, match=r"all addresses of 10.7.0.0/30 are taken"):
        add_client(replace(server, peers=(peer,)), ENDPOINT)
    with pytest.raises(ValueError, match="too small"):
        new_server(["10.7.0.0/31"])
    with pytest.raises(ValueError, match="has no Address"):
        add_client(replace(server, addresses=()), ENDPOINT)
    with pytest.raises(ValueError, match="has no PrivateKey"):  # a command sets it
        add_client(replace(server, private_key=bytes(32)), ENDPOINT)


def test_all_of_a_clients_traffic() -> None:
    everything = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    _, client = add_client(new_server([]), ENDPOINT, everything, ("10.9.0.1",))
    assert client.peers[0].allowed_ips == everything
    assert client.dns == ("10.9.0.1",)


def run_main(folder: Path, *words: str) -> Path:
    """Pair, and return the client's file."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    client = folder / "phone.conf"
    server = ("--endpoint", "a:1", "--server", str(folder / "wg0.conf"))
    main(parser.parse_args([*server, *words, str(client)]))
    return client


@pytest.mark.parametrize("terminal", [True, False])
def test_the_qr_code_is_for_a_terminal(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    terminal: bool,
) -> None:
    """The private key is in it, which is to stay in no file and no log."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    client = run_main(tmp_path)
    printed = capsys.readouterr().out
    assert (qr_code(client.read_text()) in printed) is terminal
    assert ("\x1b" in printed) is terminal
    assert ("on a terminal alone" in printed) is not terminal
    assert f"{client} is for the client" in printed


def test_what_no_qr_code_has_room_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files are made, and that is said."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    networks = ",".join(f"10.{n}.0.0/16" for n in range(250))
    client = run_main(tmp_path, "--allowed-ips", networks)
    assert "too long for a QR code" in capsys.readouterr().out
    assert len(parse_config(client.read_text()).peers[0].allowed_ips) == 250


def test_a_terminal_without_its_characters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stdout = io.TextIOWrapper(io.BytesIO(), "latin-1")
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(stdout, "isatty", lambda: True)
    client = run_main(tmp_path)
    stdout.seek(0)
    assert "no characters for a QR code" in stdout.read()
    assert client.exists()


def test_the_qr_code_is_drawn_as_it_is() -> None:
    """Light and dark as segno has them, whatever the colours of the terminal."""
    text = "[Interface]\nPrivateKey = x\n" * 5
    lines = qr_code(text).splitlines()
    assert all(line.startswith("\x1b[97;40m") and line.endswith("\x1b[0m") for line in lines)
    light = []
    for line in lines:
        blocks = line.removeprefix("\x1b[97;40m").removesuffix("\x1b[0m")
        light += [[block in "█▀" for block in blocks], [block in "█▄" for block in blocks]]
    expected = io.StringIO()
    segno.make(text, error="l", micro=False).save(expected, kind="txt", border=4)
    rows = [[module == "0" for module in line] for line in expected.getvalue().splitlines()]
    assert light[: len(rows)] == rows
