"""aiotun wireguard show: an interface's peers, when they shook hands, and what passes.

It asks over the UAPI socket, so it shows any implementation that answers there; packets
dropped, by reason, only ours tells.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import argparse
import asyncio
import time
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.text import Text

from ...cli.messages import scaled
from ..keys import encode_key, public_key_of
from ..uapi import PeerStatus, Status
from ..uapi_socket import DIRECTORY, read_counters, read_status, socket_path
from .loop import run

__all__ = ["add_arguments", "find_socket", "main", "render"]

INTERVAL = 1.0
"""Seconds between two pictures."""

STALE = 180.0
"""Seconds after a handshake that a session is refused (the paper's REJECT_AFTER_TIME)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="not needed if there is only one")
    parser.add_argument("--once", action="store_true", help="one picture instead of a live view")


def main(args: argparse.Namespace) -> None:
    """Raises `OSError` and `ValueError`."""
    run(_show(find_socket(args.name, DIRECTORY), once=args.once))


async def _show(path: Path, *, once: bool = False) -> None:
    """Show it until it ends, or once. Raises `OSError`."""
    status, counters = await read_status(path), await read_counters(path)
    picture = render(path.stem, status, None, 0, counters)
    if once:
        Console().print(picture)
        return
    with Live(picture, auto_refresh=False) as live:
        seen = time.monotonic()
        while True:
            await asyncio.sleep(INTERVAL)
            before, then = status, seen
            status, counters = await read_status(path), await read_counters(path)
            seen = time.monotonic()
            live.update(render(path.stem, status, before, seen - then, counters), refresh=True)


def find_socket(name: str | None, directory: Path) -> Path:
    """The socket of the interface of that name, or of the only one. Raises `ValueError`."""
    if name is not None:
        return socket_path(name, directory)
    found = sorted(directory.glob("*.sock"))
    if len(found) != 1:
        names = ", ".join(path.stem for path in found) or "none"
        raise ValueError(f"name the interface; in {directory} there is: {names}")
    return found[0]


def render(
    name: str, status: Status, before: Status | None, seconds: float, counters: dict[str, int]
) -> Group:
    """A picture of the status; rates are against the one of so many seconds `before`.

    It takes sixty columns: a key stays in one line.
    """
    known = {} if before is None else {peer.public_key: peer for peer in before.peers}
    peers = [_peer(peer, known.get(peer.public_key, peer), seconds) for peer in status.peers]
    drops = ", ".join(f"{reason} {count}" for reason, count in counters.items() if count)
    key = encode_key(public_key_of(status.private_key)) if any(status.private_key) else "(none)"
    return Group(
        Text(f"{name}, UDP port {status.listen_port}", style="bold"),
        Text(f"public key {key}"),
        Text(f"dropped: {drops or 'nothing'}"),
        *peers,
    )


def _peer(peer: PeerStatus, last: PeerStatus, seconds: float) -> Group:
    """Each part is a `Text`: a string would be markup, and [fd00::1] a tag."""
    received = _volume(peer.rx_bytes, peer.rx_bytes - last.rx_bytes, seconds)
    sent = _volume(peer.tx_bytes, peer.tx_bytes - last.tx_bytes, seconds)
    details = Group(
        Text.assemble(peer.endpoint or "no endpoint", ", handshake ", _ago(peer.last_handshake)),
        Text(", ".join(map(str, peer.allowed_ips)) or "no allowed IPs"),
        Text(f"received {received}, sent {sent}"),
    )
    key = Text(f"peer {encode_key(peer.public_key)}")
    return Group(Text(), key, Padding(details, (0, 0, 0, 5)))


def _ago(moment: float) -> Text:
    if not moment:
        return Text("never", style="dim")
    seconds = int(max(0.0, time.time() - moment))
    words = f"{seconds % 60} s ago"
    if seconds >= 60:
        words = f"{seconds // 60 % 60} min {words}"
    if seconds >= 3600:
        words = f"{seconds // 3600} h {words}"
    return Text(words, style="yellow" if seconds > STALE else "green")


def _volume(total: int, new: int, seconds: float) -> str:
    rate = 8 * new / seconds if seconds else 0.0
    return f"{scaled(total)}B ({scaled(rate)}bit/s)"
