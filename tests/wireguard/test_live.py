"""What the live view shows."""

from __future__ import annotations

import asyncio
import io
import re
import time
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path

import pytest
from rich.console import Console

from aiotun.wireguard.cli import status as command
from aiotun.wireguard.cli.status import Look, render
from aiotun.wireguard.keys import encode_key, public_key_of
from aiotun.wireguard.uapi import PeerStatus, Status

KEY, ALICE, BOB = (bytes([n]) * 32 for n in (8, 1, 2))


def picture(
    status: Status,
    before: Status | None,
    seconds: float,
    drops: dict[str, int],
    width: int = 200,
) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(render("wg9", status, before, seconds, drops))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def status(received: int, sent: int) -> Status:
    alice = PeerStatus(
        ALICE,
        endpoint="[2001:db8::1]:51820",
        allowed_ips=[ip_network("10.0.0.2/32"), ip_network("fd00::2/128")],
        last_handshake=time.time() - 3725,
        rx_bytes=received,
        tx_bytes=sent,
    )
    return Status(KEY, 51820, [alice, PeerStatus(BOB)])


def test_peers_rates_and_drops() -> None:
    drops = {"replayed": 3, "forged": 0, "no_route": 12}
    text = picture(status(3_000_000, 1200), status(1_000_000, 1200), 2.0, drops)
    assert "wg9, UDP port 51820" in text
    assert encode_key(ALICE) in text
    assert "[2001:db8::1]:51820" in text
    assert "fd00::2/128" in text
    assert re.search(r"1 h 2 min \d+ s ago", text)
    assert "3 MB" in text
    assert "8 Mbit/s" in text
    assert "1.2 kB" in text
    assert "never" in text
    assert "dropped: replayed 3, no_route 12" in text
    assert f"public key {encode_key(public_key_of(KEY))}" in text


@pytest.mark.parametrize("columns", [60, 80])
def test_a_narrow_terminal(columns: int) -> None:
    """Keys, addresses and numbers stay whole there."""
    text = picture(status(999_000_000, 10**12), status(0, 0), 1.0, {"replayed": 3}, columns)
    assert max(map(len, text.splitlines())) <= columns
    wide = picture(status(999_000_000, 10**12), status(0, 0), 1.0, {"replayed": 3})
    assert text.split() == wide.split()


@pytest.mark.parametrize("endpoint", ["[fd00::1]:51820", "[fe80::1%eth0]:7", "[b]:1", "[/b]:1"])
def test_an_address_in_brackets_is_no_markup(endpoint: str) -> None:
    text = picture(Status(KEY, 51820, [PeerStatus(ALICE, endpoint=endpoint)]), None, 0, {})
    assert endpoint in text


def test_names_are_no_markup() -> None:
    console = Console(file=io.StringIO(), width=200)
    console.print(render("[wg]", Status(), None, 0, {"[b]": 1}))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[wg], UDP port 0" in text
    assert "dropped: [b] 1" in text


def test_an_interface_without_a_key() -> None:
    assert "public key (none)" in picture(Status(), None, 0, {})


def test_the_first_picture_has_no_rates() -> None:
    text = picture(status(5_000, 999_999), None, 0, {})
    assert "0 bit/s" in text
    assert "1 MB" in text
    assert "dropped: nothing" in text


def test_each_picture_goes_into_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def shown() -> int:
        return capsys.readouterr().out.count(encode_key(ALICE))

    async def look(path: Path) -> Look:
        return Look(status(0, 0), {}, 0.0)

    async def looks(path: Path, before: Look) -> AsyncIterator[tuple[Look, Look]]:
        assert shown() == 1
        yield before, Look(status(1, 1), {}, 1.0)
        assert shown() == 1

    monkeypatch.setattr(command, "_look", look)
    monkeypatch.setattr(command, "_looks", looks)
    asyncio.run(command._show(Path("wg9.sock")))
