"""DNS on macOS and the BSDs. The programs are models, which write down what they are asked."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from aiotun.wireguard.system.base import split_dns
from aiotun.wireguard.system.bsd_dns import BsdDNS
from aiotun.wireguard.system.darwin_dns import DarwinDNS
from aiotun.wireguard.values import parse_dns

SERVERS, DOMAINS = ["10.9.0.1", "fd09::1"], ["example.net", "example.org"]

NAMESERVERS = ["nameserver 10.9.0.1", "nameserver fd09::1"]
SEARCH = "search example.net example.org"

Make = Callable[..., None]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a program; there are no others."""
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "asked").write_text("")

    def make(name: str, status: int = 0) -> None:
        text = f'#!/bin/sh\necho "{name} $*" >>{tmp_path}/asked\n/bin/cat >>{tmp_path}/asked\n'
        (tmp_path / name).write_text(f"{text}exit {status}\n")
        (tmp_path / name).chmod(0o755)

    return make


def asked(folder: Path) -> list[str]:
    """What was asked since the last call."""
    lines = (folder / "asked").read_text().splitlines()
    (folder / "asked").write_text("")
    return lines


def test_resolvconf(make: Make, tmp_path: Path) -> None:
    make("resolvconf")
    dns = BsdDNS("tun0", tmp_path / "resolv.conf")
    assert dns.set(SERVERS, DOMAINS) is None
    assert asked(tmp_path) == ["resolvconf -a tun0 -x", *NAMESERVERS, SEARCH]
    dns.close()
    dns.close()
    assert asked(tmp_path) == ["resolvconf -d tun0"]
    assert not (tmp_path / "resolv.conf").exists()


@pytest.mark.parametrize("domains", [DOMAINS, []])
def test_resolvd_beside_the_file(make: Make, tmp_path: Path, domains: list[str]) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("nameserver 192.0.2.53 # resolvd: em0\nlookup file bind\n")
    make("pgrep")
    make("route")
    dns = BsdDNS("tun0", file)
    assert dns.set(SERVERS, domains) is None
    assert asked(tmp_path) == ["pgrep -qx resolvd", "route nameserver tun0 10.9.0.1 fd09::1"]
    assert (SEARCH in file.read_text().splitlines()) == bool(domains)
    assert not set(NAMESERVERS) & set(file.read_text().splitlines())
    dns.close()
    assert asked(tmp_path) == ["route nameserver tun0"]
    assert file.read_text() == "nameserver 192.0.2.53 # resolvd: em0\nlookup file bind\n"


@pytest.mark.parametrize("text", ["", "nameserver 192.0.2.53\noptions edns0\n"])
def test_the_file_alone(make: Make, tmp_path: Path, text: str) -> None:
    make("pgrep", status=1)
    file = tmp_path / "resolv.conf"
    file.write_text(text)
    file.chmod(0o644)
    killed = BsdDNS("tun0", file)
    assert killed.set(["10.9.0.9"], []) is None
    dns, other = BsdDNS("tun0", file), BsdDNS("tun1", file)
    assert dns.set(SERVERS, DOMAINS) is other.set(["10.8.0.1"], []) is None
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    assert lines == ["nameserver 10.8.0.1", *NAMESERVERS, SEARCH, *text.splitlines()]
    file.write_text(file.read_text() + "options ndots:2\n")  # as somebody else does
    dns.close()
    other.close()
    assert file.read_text() == text + "options ndots:2\n"
    assert file.stat().st_mode & 0o777 == 0o644


def test_a_file_that_was_not_there(make: Make, tmp_path: Path) -> None:
    dns = BsdDNS("tun0", tmp_path / "resolv.conf")
    assert dns.set(SERVERS, []) is None
    assert (tmp_path / "resolv.conf").stat().st_mode & 0o444 == 0o444
    dns.close()
    assert (tmp_path / "resolv.conf").read_text() == ""


def test_what_cannot_be_undone_is_told(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make("resolvconf")
    dns = BsdDNS("tun0", tmp_path / "resolv.conf")
    dns.set(SERVERS, [])
    make("resolvconf", status=3)
    with caplog.at_level(logging.WARNING):
        dns.close()
    assert "resolvconf -d tun0 failed" in caplog.text
    with pytest.raises(OSError, match="resolvconf -a tun0 -x failed"):
        BsdDNS("tun0", tmp_path / "resolv.conf").set(SERVERS, [])


def test_the_file_is_undone_although_the_program_fails(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("lookup file bind\n")
    make("pgrep")
    make("route")
    dns = BsdDNS("tun0", file)
    dns.set(SERVERS, DOMAINS)
    make("route", status=3)
    dns.close()
    assert file.read_text() == "lookup file bind\n"


def test_scutil(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make("scutil")
    monkeypatch.setattr("aiotun.wireguard.system.darwin_dns.SCUTIL", "scutil")
    dns = DarwinDNS("utun4")
    assert dns.set(SERVERS, DOMAINS) is None
    assert asked(tmp_path) == [
        "scutil ",
        "d.init",
        "d.add ServerAddresses * 10.9.0.1 fd09::1",
        "d.add SearchDomains * example.net example.org",
        'd.add SupplementalMatchDomains * ""',
        "d.add SearchOrder # 1",
        "set State:/Network/Service/aiotun-utun4/DNS",
        "quit",
    ]
    dns.close()
    dns.close()
    assert asked(tmp_path) == ["scutil ", "remove State:/Network/Service/aiotun-utun4/DNS", "quit"]
    assert DarwinDNS("utun5").set([], DOMAINS) == "a name server"
    assert asked(tmp_path) == []


def test_words_of_the_file() -> None:
    words = parse_dns("10.9.0.1, example.net fd09::1,~. ~corp.example, bücher.example fe80::1%eth0")
    assert split_dns(words) == (
        ["10.9.0.1", "fd09::1", "fe80::1%eth0"],
        ["example.net", "~.", "~corp.example", "bücher.example"],
    )


@pytest.mark.parametrize("word", ["--help", "-x", 'a"b', "a;b", "10.9.0.1/24", "a\x00b", "a:1"])
def test_words_that_a_program_could_take_for_something_else(word: str) -> None:
    with pytest.raises(ValueError, match="neither an address nor a domain"):
        parse_dns(f"10.9.0.1, {word}")
