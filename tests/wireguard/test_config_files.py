"""The files of wg-quick: read, written, refused, and kept in a store."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import aclosing, suppress
from dataclasses import replace
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotun.wireguard.config import (
    ConfigFileError,
    InterfaceConfig,
    PeerConfig,
    format_config,
    parse_config,
    parse_endpoint,
)
from aiotun.wireguard.stores import file as store
from aiotun.wireguard.stores.file import FileStore

# Keys of `wg genkey` and `wg pubkey`.
KEY = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
PEER = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
OTHER = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0="

MANUAL = f"""
# What people have, in the ways in which they write it.
[Interface]
PrivateKey = {KEY}
ListenPort=51820
Address = 10.192.122.1/24, 10.10.0.1/16   # two
address = fd00::1
DNS = 1.1.1.1,2606:4700:4700::1111 home.example
MTU = 1380
FwMark = 0xCAFE
Table = off
SaveConfig = true

[PEER]
publickey = {PEER}
PresharedKey = {OTHER}
Endpoint = vpn.example.com:1
AllowedIPs = 10.192.122.3/32
AllowedIPs = 10.192.124.1/24, fd00::3/128,10.0.0.7
PersistentKeepalive = off

[Peer]
PublicKey={OTHER}
Endpoint = [2607:5300:60:6b0::c05f:543]:2468
PersistentKeepalive = 7
PersistentKeepalive = 25
"""


def test_what_people_have() -> None:
    config = parse_config(MANUAL)
    assert config.listen_port == 51820
    assert list(map(str, config.addresses)) == ["10.192.122.1/24", "10.10.0.1/16", "fd00::1/128"]
    assert config.dns == ("1.1.1.1", "2606:4700:4700::1111", "home.example")
    assert (config.mtu, config.fwmark, config.table) == (1380, 0xCAFE, "off")
    assert config.save_config
    first, second = config.peers
    assert first.endpoint == ("vpn.example.com", 1)
    assert list(map(str, first.allowed_ips)) == [
        "10.192.122.3/32",
        "10.192.124.0/24",
        "fd00::3/128",
        "10.0.0.7/32",
    ]
    assert first.persistent_keepalive == 0
    assert first.preshared_key == second.public_key
    assert second.endpoint == ("2607:5300:60:6b0::c05f:543", 2468)
    assert (second.persistent_keepalive, second.preshared_key) == (25, bytes(32))


def test_all_that_may_be_left_out() -> None:
    config = parse_config(f"[interface]\r\nprivatekey={KEY}\r\n")
    assert config == InterfaceConfig(config.private_key)
    assert format_config(config) == f"[Interface]\nPrivateKey = {KEY}\n"


def test_secrets_do_not_show_in_messages() -> None:
    config = parse_config(MANUAL)
    assert repr(config.private_key) not in repr(config)
    assert repr(config.peers[0].preshared_key) not in repr(config.peers[0])


@pytest.mark.parametrize(
    ("lines", "place", "words"),
    [
        ("Address = 10.0.0.1", 1, "before any section"),
        ("[Interface]\nPrivateKey = short", 2, "PrivateKey: a key is 44 characters of base64"),
        ("[Interface]\nListenPort = 1", 2, "no PrivateKey: `wg genkey` makes one"),
        ("[Interface]\n\nAddress = 10.0.0.256/24", 3, "Address: '10.0.0.256/24'"),
        ("[Interface]\nListenPort = 65536", 2, "'65536' is not a number from 0 to 65535"),
        ("[Interface]\nListenPort = 00000000000000000000099999", 2, "is not a number"),
        ("[Interface]\nListenPort = ٣", 2, "is not a number"),
        ("[Interface]\nMTU = 67", 2, "not a number from 68 to 65535"),
        ("[Interface]\nFwMark = 0x100000000", 2, "FwMark"),
        ("[Interface]\nTable = main", 2, "'main' is not a number"),
        ("[Interface]\nSaveConfig = yes", 2, "neither true nor false"),
        ("[Interface]\nPublicKey = x", 2, "'PublicKey' is not known in an [Interface]; these are:"),
        ("[Interface]\nAddress", 2, "'Address' is not known"),
        ("[Interfaces]", 1, "neither [Interface] nor [Peer]"),
        ("[Interface]\nPostUp = rm -r /", 2, "--allow-commands"),
        (f"[Interface]\nPrivateKey={KEY}\n[Peer]\nEndpoint = a:1", 3, "no PublicKey"),
        ("[Peer]\nEndpoint = 2001:db8::1:51820", 2, "is not host:port or [IPv6 address]:port"),
        ("[Peer]\nEndpoint = [vpn.example]:51820", 2, "does not appear to be an IPv4 or IPv6"),
        ("[Peer]\nEndpoint = vpn.example", 2, "is not host:port"),
        ("[Peer]\nEndpoint = vpn.example:0", 2, "'0' is not a number from 1 to 65535"),
        ("[Peer]\nAllowedIPs = 10.0.0.0/33", 2, "AllowedIPs"),
        ("[Peer]\nPersistentKeepalive = often", 2, "'often' is not a number"),
        (
            f"[Interface]\nPrivateKey={KEY}\n[Peer]\nPublicKey={PEER}\n\n[Peer]\nPublicKey={PEER}",
            6,
            "stands at line 3 already",
        ),
    ],
)
def test_what_is_refused(lines: str, place: int, words: str) -> None:
    with pytest.raises(ConfigFileError) as caught:
        parse_config(lines, "wg0.conf")
    assert str(caught.value).startswith(f"wg0.conf, line {place}: ")
    assert words in str(caught.value)


def test_commands_where_they_are_allowed() -> None:
    text = f"[Interface]\nPrivateKey={KEY}\nPostUp = echo %i\nPreDown = a = b; c\nPostUp = true\n"
    config = parse_config(text, allow_commands=True)
    assert config.post_up == ("echo %i", "true")
    assert config.pre_down == ("a = b; c",)
    assert parse_config(format_config(config), allow_commands=True) == config


keys = st.binary(min_size=32, max_size=32)
words = st.from_regex(r"[A-Za-z0-9.:-]{1,20}", fullmatch=True)
commands = st.lists(st.from_regex(r"[!-\"$-~]([ -\"$-~]{0,20}[!-\"$-~])?", fullmatch=True))
networks = st.one_of(
    st.builds(
        IPv4Network,
        st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)),
        strict=st.just(False),
    ),
    st.builds(
        IPv6Network,
        st.tuples(st.integers(0, 2**128 - 1), st.integers(0, 128)),
        strict=st.just(False),
    ),
)
interfaces = st.one_of(
    st.builds(IPv4Interface, st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32))),
    st.builds(IPv6Interface, st.tuples(st.integers(0, 2**128 - 1), st.integers(0, 128))),
)
hosts = st.one_of(
    st.from_regex(r"[a-z0-9][a-z0-9.-]{0,30}", fullmatch=True),
    st.ip_addresses().map(str),
    st.just("fe80::1%eth0"),
)
peer_configs = st.builds(
    PeerConfig,
    public_key=keys,
    preshared_key=keys,
    endpoint=st.none() | st.tuples(hosts, st.integers(1, 65535)),
    allowed_ips=st.lists(networks, max_size=3).map(tuple),
    persistent_keepalive=st.integers(0, 65535),
)
configs = st.builds(
    InterfaceConfig,
    private_key=keys,
    listen_port=st.integers(0, 65535),
    fwmark=st.integers(0, 2**32 - 1),
    addresses=st.lists(interfaces, max_size=3).map(tuple),
    mtu=st.integers(68, 65535),
    dns=st.lists(words, max_size=3).map(tuple),
    table=st.sampled_from(["auto", "off"]) | st.integers(1, 2**32 - 1),
    pre_up=commands.map(tuple),
    post_down=commands.map(tuple),
    save_config=st.booleans(),
    peers=st.lists(peer_configs, max_size=3, unique_by=lambda peer: peer.public_key).map(tuple),
)


@given(configs)
def test_what_is_written_is_read_as_it_was(config: InterfaceConfig) -> None:
    assert parse_config(format_config(config), allow_commands=True) == config


@given(st.text(max_size=60) | st.from_regex(r"(\[(Peer|Interface)\]\n|[A-Z][a-z]*=.*\n){1,6}"))
def test_any_text_is_a_configuration_or_gets_its_error(text: str) -> None:
    with suppress(ConfigFileError):
        parse_config(text)


@pytest.mark.parametrize("text", ["[::1]:1", "[fe80::1%eth0]:1", "192.0.2.1:65535", "a.example:7"])
def test_endpoints(text: str) -> None:
    host, port = parse_endpoint(text)
    assert text in (f"{host}:{port}", f"[{host}]:{port}")


# The store.


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "INTERVAL", 0.01)


async def test_a_saved_configuration_is_loaded_again(tmp_path: Path) -> None:
    file = FileStore(tmp_path / "wg0.conf")
    config = parse_config(MANUAL)
    await file.save(config)
    assert (tmp_path / "wg0.conf").stat().st_mode & 0o777 == 0o600
    assert await file.load() == config
    await file.save(replace(config, peers=()))
    assert (await file.load()).peers == ()
    assert os.listdir(tmp_path) == ["wg0.conf"]


async def test_a_change_is_noticed_and_a_broken_one_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "wg0.conf"
    path.write_text(MANUAL)
    file = FileStore(path)
    await file.load()
    async with aclosing(file.watch()) as changes:
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        with path.open("a") as text:
            text.write("[Peer]\nPublicKey = nonsense\n")
        for _ in range(500):
            if not caplog.records:
                await asyncio.sleep(0.01)
        path.unlink()  # as some editors do it
        await asyncio.sleep(0.05)
        path.write_text(MANUAL.replace("51820", "51821"))
        assert (await asyncio.wait_for(waiting, 5)).listen_port == 51821
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1
    assert f"{path}, line {MANUAL.count(chr(10)) + 2}: PublicKey" in caplog.text


@pytest.mark.parametrize(
    ("mode", "parent", "warned"),
    [(0o644, 0o755, True), (0o644, 0o700, False), (0o640, 0o755, False)],
)
async def test_a_file_that_everybody_may_read(
    mode: int, parent: int, warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "wg0.conf"
    path.write_text(MANUAL)
    path.chmod(mode)
    os.chmod(tmp_path, parent)
    await FileStore(path).load()
    assert ("open to everybody" in caplog.text) == warned


async def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await FileStore(tmp_path / "wg0.conf").load()
    (tmp_path / "wg0.conf").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigFileError, match="is no text"):
        await FileStore(tmp_path / "wg0.conf").load()
    (tmp_path / "wg0.conf").write_bytes(b"\xef\xbb\xbf" + MANUAL.encode())
    assert await FileStore(tmp_path / "wg0.conf").load() == parse_config(MANUAL)
