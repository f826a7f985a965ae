"""The files of wg-quick: read, written, refused, and kept in a store."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import sys
import traceback
from contextlib import aclosing, suppress
from dataclasses import replace
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotun.wireguard.config import InterfaceConfig, PeerConfig
from aiotun.wireguard.config_file import ConfigFileError, format_config, parse_config
from aiotun.wireguard.stores import file as store
from aiotun.wireguard.stores.file import ConfigFile
from aiotun.wireguard.values import format_endpoint, format_host, parse_endpoint

# Keys of `wg genkey` and `wg pubkey`.
ZONE = 1 if sys.platform == "win32" else socket.if_indextoname(1)

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


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("Table = main", "table", 254),
        ("Table = LOCAL", "table", 255),
        ("Table = default", "table", 253),
        ("Table = 0xcafe", "table", 0xCAFE),
        ("Table =", "table", "auto"),
        ("Table = off\nTable =", "table", "auto"),
        ("MTU =", "mtu", 1420),
        ("MTU = 1400\nMTU = # as it was", "mtu", 1420),
        ("FwMark = 0x00000000000000cafe", "fwmark", 0xCAFE),
        ("FwMark = 0000000000000000000051", "fwmark", 51),
        ("FwMark = OFF", "fwmark", 0),
        ("ListenPort = domain", "listen_port", 53),
        ("Listen Port = 51 820", "listen_port", 51820),
        ("Address =", "addresses", ()),
        ("DNS =", "dns", ()),
        ("Address = 10.0.0.1/255.255.255.0", "addresses", (IPv4Interface("10.0.0.1/24"),)),
        ("PreUp =", "pre_up", ()),
        ("[ Interface ]\nMTU = 1400", "mtu", 1400),
    ],
)
def test_lines_of_an_interface(line: str, field: str, value: object) -> None:
    text = f"[Interface]\nPrivateKey = {KEY[:9]} {KEY[9:]}\n{line}\n"
    assert getattr(parse_config(text, allow_commands=True), field) == value


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("Endpoint = 2001:db8::1:51820", "endpoint", ("2001:db8::1", 51820)),
        ("Endpoint = [vpn.example]:51820", "endpoint", ("vpn.example", 51820)),
        ("Endpoint = vpn.example:0", "endpoint", ("vpn.example", 0)),
        ("Endpoint = vpn.example:domain", "endpoint", ("vpn.example", 53)),
        ("Endpoint = vpn . example : 51 820", "endpoint", ("vpn.example", 51820)),
        ("Endpoint = 192.0.2.1:0000000051820", "endpoint", ("192.0.2.1", 51820)),
        ("Endpoint = [fe80::1%eth0]:51820", "endpoint", ("fe80::1%eth0", 51820)),
        ("Endpoint = fe80::1%eth0:51820", "endpoint", ("fe80::1%eth0", 51820)),
        ("AllowedIPs =", "allowed_ips", ()),
        ("AllowedIPs = 10.0.0.0 / 8, fd00 :: / 8", "allowed_ips", ("10.0.0.0/8", "fd00::/8")),
        ("AllowedIPs = 10.0.0.0/008", "allowed_ips", ("10.0.0.0/8",)),
        ("AllowedIPs = +10.0.0.0/8, -10.0.0.0/8, +fd00::/8", "allowed_ips", ("fd00::/8",)),
        ("AllowedIPs = fd00::/8\nAllowedIPs = -fd00::/8, -10.0.0.0/8", "allowed_ips", ()),
        ("AllowedIPs = 10.0.0.0/8, 10.0.0.0/8", "allowed_ips", ("10.0.0.0/8",)),
        ("AllowedIPs = ::ffff:1.2.3.4", "allowed_ips", ("::ffff:102:304/128",)),
        ("Persistent Keepalive = 2 5", "persistent_keepalive", 25),
        ("PersistentKeepalive = OFF", "persistent_keepalive", 0),
    ],
)
def test_lines_of_a_peer(line: str, field: str, value: Any) -> None:
    text = f"[Interface]\nPrivateKey = {KEY}\n[Peer]\nPublicKey = {PEER}\n{line}\n"
    if field == "allowed_ips":  # not as text, since Python 3.13 writes ::ffff:102:304 otherwise
        value = tuple(map(ip_network, value))
    assert getattr(parse_config(text).peers[0], field) == value


def test_bits_behind_a_prefix_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    text = f"[Interface]\nPrivateKey = {KEY}\n[Peer]\nPublicKey = {PEER}\n"
    parse_config(text + "AllowedIPs = 10.0.0.0/8, -10.0.0.0/9, fd00::/8, ::1\n")
    assert not caplog.records
    (peer,) = parse_config(text + "AllowedIPs = 128.0.0.0/0\n").peers
    assert peer.allowed_ips == (IPv4Network("0.0.0.0/0"),)
    assert caplog.messages == [
        "AllowedIPs: 128.0.0.0/0 has bits behind its prefix: it means 0.0.0.0/0"
    ]


def test_secrets_do_not_show_in_configurations() -> None:
    config = parse_config(MANUAL)
    assert repr(config.private_key) not in repr(config)
    assert repr(config.peers[0].preshared_key) not in repr(config.peers[0])


KEY_NAMES = [
    "PrivateKey",
    "ListenPort",
    "FwMark",
    "Address",
    "MTU",
    "DNS",
    "Table",
    "SaveConfig",
    "PublicKey",
    "PresharedKey",
    "AllowedIPs",
    "Endpoint",
    "PersistentKeepalive",
]


@pytest.mark.parametrize(
    "line",
    ["{}", "[{}]", "PrivateKey: {}", "PrivateKey {}", "Private = {}", "{} = PrivateKey", "#\n{}"]
    + [f"{name} = {{}}" for name in KEY_NAMES]
    + [f"{name} = x{{}}" for name in KEY_NAMES]
    + [f"{name} = {{}}:1" for name in KEY_NAMES]
    + [f"{name} = a.example:{{}}" for name in KEY_NAMES]
    + [f"{name} = 10.0.0.1/{{}}" for name in KEY_NAMES],
)
def test_no_message_shows_a_key(line: str, caplog: pytest.LogCaptureFixture) -> None:
    for key in (KEY, KEY[:-1], KEY[1:], KEY[:30], f"{KEY[:19]} {KEY[19:]}", bytes(range(32)).hex()):
        for section in ("", "[Interface]\n", "[Peer]\n"):
            with suppress(ConfigFileError):
                parse_config(section + line.format(key))
                continue
            with pytest.raises(ConfigFileError) as caught:
                parse_config(section + line.format(key))
            shown = "".join(traceback.format_exception(caught.value, chain=True)[-1:])
            assert key[:20] not in shown + caplog.text
            assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("lines", "place", "words"),
    [
        ("Address = 10.0.0.1", 1, "before any section"),
        ("[Interface]\nPrivateKey = short", 2, "PrivateKey: a key is 44 characters of base64"),
        ("[Interface]\nListenPort = 1", 2, "no PrivateKey: `wg genkey` makes one"),
        ("[Interface]\n\nAddress = 10.0.0.256/24", 3, "Address: '10.0.0.256/24' is not an address"),
        ("[Interface]\nListenPort = 65536", 2, "'65536' is not a number from 0 to 65535"),
        ("[Interface]\nListenPort = 00000000000000000000099999", 2, "is not a number"),
        ("[Interface]\nListenPort = ٣", 2, "nor the name of a UDP service"),
        ("[Interface]\nListenPort =", 2, "nor the name of a UDP service"),
        ("[Interface]\nMTU = 67", 2, "not a number from 68 to 65535"),
        ("[Interface]\nFwMark = 0x100000000", 2, "FwMark"),
        ("[Interface]\nDNS = 10.0.0.1, --no-pager", 2, "'--no-pager' is neither an address nor a"),
        ("[Interface]\nDNS = 10.0.0.1/24", 2, "'10.0.0.1/24' is neither an address nor a"),
        ("[Interface]\nTable = vpn", 2, "'vpn' is not a number"),
        ("[Interface]\nTable = 010", 2, "'010' is octal"),
        ("[Interface]\nTable = 0x100000000", 2, "is not a number from 1 to 4294967295"),
        ("[Interface]\nSaveConfig = yes", 2, "neither true nor false"),
        ("[Interface]\nPublicKey = x", 2, "'PublicKey' is no key of an [Interface]"),
        ("[Interface]\nAddress", 2, "'Address' is no key of an [Interface]; 'key = value' takes"),
        ("[Interface]\nPostUp # = rm -r /", 2, "'PostUp' is no key"),
        ("[Interfaces]", 1, "neither [Interface] nor [Peer]"),
        ("[Interface]\nPostUp = rm -r /", 2, "--allow-commands"),
        (f"[Interface]\nPrivateKey={KEY}\n[Peer]\nEndpoint = a:1", 3, "no PublicKey"),
        ("[Peer]\nEndpoint = 2001:db8::1", 2, "'2001:db8:' is neither an address nor a name"),
        ("[Peer]\nEndpoint = vpn..example:51820", 2, "'vpn..example' is neither an address nor"),
        ("[Peer]\nEndpoint = vpn.example", 2, "is not host:port"),
        ("[Peer]\nEndpoint = vpn.example:", 2, "is not host:port"),
        ("[Peer]\nEndpoint = :51820", 2, "is not host:port"),
        ("[Peer]\nEndpoint = [2001:db8::1]51820", 2, "is not host:port"),
        ("[Peer]\nEndpoint = vpn.example:65536", 2, "'65536' is not a number from 0 to 65535"),
        ("[Peer]\nEndpoint = vpn.example:wireguard", 2, "nor the name of a UDP service"),
        ("[Peer]\nAllowedIPs = 10.0.0.0/33", 2, "AllowedIPs: '10.0.0.0/33' is not an address"),
        ("[Peer]\nAllowedIPs = 10.0.0.1/0.0.0.0", 2, "with the length of its prefix"),
        ("[Peer]\nAllowedIPs = 10.0.0.0/255.0.0.0", 2, "with the length of its prefix"),
        ("[Peer]\nAllowedIPs = 10.0.0.0/0.255.255.255", 2, "with the length of its prefix"),
        ("[Peer]\nAllowedIPs = 10.0.0.0/8 10.1.0.0/16", 2, "with the length of its prefix"),
        ("[Peer]\nAllowedIPs = fe80::1%eth0", 2, "without a zone"),
        ("[Peer]\nAllowedIPs = fe80::%eth0/64", 2, "without a zone"),
        ("[Peer]\nAllowedIPs = ++10.0.0.0/8", 2, "AllowedIPs: '+10.0.0.0/8' is not"),
        ("[Peer]\nAllowedIPs = 10.0.0.0/8,", 2, "AllowedIPs: '' is not an address"),
        ("[Peer]\nAllowedIPs = 10.0.0.0/8,,fd00::/8", 2, "AllowedIPs: '' is not an address"),
        ("[Interface]\nAddress = 10.0.0.1/8\nAddress=10.0.0.1/8", 3, "10.0.0.1/8 stands twice"),
        ("[Interface]\nAddress = ::1, ::1", 2, "Address: ::1/128 stands twice: take one"),
        ("[Interface]\nMTU = 1279\nAddress = fd00::1", 2, "MTU: IPv6 takes 1280 or more"),
        ("[Interface]\nAddress = fe80::1%eth0/64", 2, "without a zone"),
        ("[Interface]\nAddress = 10.0.0.1/0.0.0.255", 2, "is not an address"),
        ("[Peer]\nPersistentKeepalive = 0x19", 2, "'0x19' is not a number"),
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


@pytest.mark.parametrize(
    "command",
    ["echo 'a # b'", 'echo "#"', "echo ${#PATH}  ${PATH%% *}", "true  # said  so", "# nothing"],
)
def test_bash_itself_knows_what_a_comment_is(command: str) -> None:
    text = f"[Interface]\nPrivateKey={KEY}\n post up =\t{command} \r\n#PostUp = x\n"
    config = parse_config(text, allow_commands=True)
    assert config.post_up == (command,)
    assert parse_config(format_config(config), allow_commands=True) == config


@pytest.mark.parametrize("name", ["PreUp", "PostUp"])
def test_a_key_that_a_command_sets(name: str) -> None:
    text = f"[Interface]\n{name} = wg set %i private-key /etc/wireguard/%i.key\n"
    config = parse_config(text, allow_commands=True)
    assert config.private_key == bytes(32)
    assert "PrivateKey" not in format_config(config)
    assert parse_config(format_config(config), allow_commands=True) == config
    with pytest.raises(ConfigFileError, match="no PrivateKey"):
        parse_config(text.replace(name, "PostDown"), allow_commands=True)


keys = st.binary(min_size=32, max_size=32)
dns_words = st.from_regex(r"~?[A-Za-z0-9_][A-Za-z0-9_.-]{0,19}", fullmatch=True) | st.one_of(
    st.ip_addresses().map(str), st.just("~.")
)
commands = st.lists(st.from_regex(r"[!-~]([ -~]{0,20}[!-~])?", fullmatch=True))
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
    st.from_regex(r"[a-z0-9]([a-z0-9-]{1,9}\.){0,3}[a-z0-9-]{1,9}", fullmatch=True),
    st.ip_addresses().map(str),
    st.just("fe80::1%eth0"),
)
peer_configs = st.builds(
    PeerConfig,
    public_key=keys,
    preshared_key=keys,
    endpoint=st.none() | st.tuples(hosts, st.integers(0, 65535)),
    allowed_ips=st.lists(networks, max_size=3, unique=True).map(tuple),
    persistent_keepalive=st.integers(0, 65535),
)
configs = st.builds(
    InterfaceConfig,
    private_key=keys.filter(any),
    listen_port=st.integers(0, 65535),
    fwmark=st.integers(0, 2**32 - 1),
    addresses=st.lists(interfaces, max_size=3, unique=True).map(tuple),
    mtu=st.integers(1280, 65535),
    dns=st.lists(dns_words, max_size=3).map(tuple),
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
    assert format_endpoint(parse_endpoint(text)) == text


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (("192.0.2.1", 7), "192.0.2.1:7"),
        (("2001:db8::1", 7, 0, 0), "[2001:db8::1]:7"),
        (("fe80::1", 7, 0, 1), f"[fe80::1%{ZONE}]:7"),
        (("fe80::1", 7, 0, 0x7FFFFFFF), "[fe80::1%2147483647]:7"),  # its interface is gone
    ],
)
def test_addresses_of_sockets(address: tuple[Any, ...], text: str) -> None:
    assert format_endpoint(address) == text
    host, port = parse_endpoint(text)
    assert host == format_host(address)
    found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    assert found[0][4] == address


# The store.


def full_disk(*args: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "INTERVAL", 0.01)


async def test_a_saved_configuration_is_loaded_again(tmp_path: Path) -> None:
    file = ConfigFile(tmp_path / "wg0.conf")
    config = parse_config(MANUAL)
    await file.save(config)
    if sys.platform != "win32":  # which has no modes
        assert (tmp_path / "wg0.conf").stat().st_mode & 0o777 == 0o600
    assert await file.load() == config
    await file.save(replace(config, peers=()))
    assert (await file.load()).peers == ()
    assert os.listdir(tmp_path) == ["wg0.conf"]


async def test_a_change_is_noticed_and_a_broken_one_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    path = tmp_path / "wg0.conf"
    path.write_text(MANUAL)
    file = ConfigFile(path)
    async with aclosing(file.watch()) as changes:
        assert await anext(changes) == await file.load()
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        with path.open("a") as text:
            text.write("[Peer]\nPublicKey = nonsense\n")
        while not caplog.records:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        path.unlink()  # as some editors do it
        await asyncio.sleep(0.05)
        path.write_text(MANUAL.replace("51820", "51821"))
        assert (await waiting).listen_port == 51821
    assert len(caplog.records) == 1
    assert f"{path}, line {MANUAL.count(chr(10)) + 2}: PublicKey" in caplog.text


async def test_a_file_that_is_being_written_is_left_until_it_rests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "wg0.conf"
    path.write_text(MANUAL)
    file = ConfigFile(path)
    await file.load()
    parts = iter(MANUAL.replace("51820", "51821").splitlines(keepends=True))
    looks: list[tuple[int, ...]] = []
    look = file._state

    def write_and_look() -> tuple[int, ...]:
        with path.open("a" if looks else "w") as text:
            text.write(next(parts, ""))
        looks.append(look())
        return looks[-1]

    monkeypatch.setattr(file, "_state", write_and_look)
    async with aclosing(file.watch()) as changes:
        config = await anext(changes)
    assert next(parts, None) is None
    assert len(looks) >= MANUAL.count("\n") + 2  # the last two are the same
    assert (config.listen_port, len(config.peers)) == (51821, 2)


async def test_a_file_that_changes_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "wg0.conf"
    path.write_text(MANUAL.partition("[PEER]")[0])
    file = ConfigFile(path)
    read = file._read

    def read_and_write() -> str:
        monkeypatch.undo()
        try:
            return read()
        finally:
            path.write_text(MANUAL)

    monkeypatch.setattr(file, "_read", read_and_write)
    assert len((await file.load()).peers) == 2


async def test_a_full_disk_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "wg0.conf"
    path.write_text(MANUAL)
    file = ConfigFile(path)
    config = await file.load()
    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        await file.save(replace(config, peers=()))
    assert path.read_text() == MANUAL
    assert os.listdir(tmp_path) == ["wg0.conf"]


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
    await ConfigFile(path).load()
    assert ("open to everybody" in caplog.text) == warned


async def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await ConfigFile(tmp_path / "wg0.conf").load()
    (tmp_path / "wg0.conf").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigFileError, match="is no text: write it in UTF-8"):
        await ConfigFile(tmp_path / "wg0.conf").load()
    (tmp_path / "wg0.conf").write_bytes(b"\xef\xbb\xbf" + MANUAL.encode())
    assert await ConfigFile(tmp_path / "wg0.conf").load() == parse_config(MANUAL)


pipes = pytest.mark.skipif(sys.platform == "win32", reason="no pipe has a path there")


@pipes
async def test_a_pipe_in_the_place_of_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start, and later."""
    caplog.set_level(logging.ERROR)
    monkeypatch.setattr("aiotun.files.PATIENCE", 0.01)
    path = tmp_path / "wg0.conf"
    os.mkfifo(path)
    with pytest.raises(OSError, match="nothing comes out of it"):
        ConfigFile(path)
    path.unlink()
    path.write_text(MANUAL)
    file = ConfigFile(path)
    async with aclosing(file.watch()) as changes:
        await anext(changes)
        waiting = asyncio.ensure_future(anext(changes))
        path.unlink()
        os.mkfifo(path)
        while not caplog.records:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert "it is a pipe, not a file" in caplog.messages[-1]
        with pytest.raises(OSError, match="it is a pipe, not a file"):
            await file.load()
        with pytest.raises(OSError, match="it is a pipe, not a file"):
            await file.save(parse_config(MANUAL))
        path.unlink()
        path.write_text(MANUAL.replace("51820", "51821"))
        assert (await waiting).listen_port == 51821


@pipes
async def test_what_a_shell_writes_into_a_pipe(tmp_path: Path) -> None:
    """`<(command)`: it is read once, and changes no more."""
    reader, writer = os.pipe()
    os.write(writer, MANUAL.encode())
    os.close(writer)
    file = ConfigFile(Path(f"/dev/fd/{reader}"))
    os.close(reader)
    assert await file.load() == await file.load() == parse_config(MANUAL)
    async with aclosing(file.watch()) as changes:
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])
    with pytest.raises(OSError, match="/dev/fd/"):
        await file.edit(lambda text: text + "# more")
