"""aiotun wireguard status: an interface's peers, when they shook hands, and what passes.

It asks over UAPI, so it shows any implementation that answers there; packets
dropped, by reason, only ours tells.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.text import Text

from ...cli.messages import scaled
from ..keys import encode_key, public_key_of
from ..uapi import PeerStatus, Status
from ..uapi_client import find_socket, read_counters, read_status
from .loop import run

if sys.platform == "win32":
    from ..uapi_pipe import label
else:
    from ..uapi_socket import label

__all__ = ["Look", "add_arguments", "as_object", "main", "render"]

INTERVAL = 1.0
"""Seconds between two pictures."""

STALE = 180.0
"""Seconds after a handshake that a session is refused (the paper's REJECT_AFTER_TIME)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="not needed if there is only one")
    parser.add_argument("--once", action="store_true", help="one picture instead of a live view")
    parser.add_argument(
        "--json", action="store_true", help="an object of JSON a line, each second or --once"
    )


def main(args: argparse.Namespace) -> None:
    """Raises `OSError` and `ValueError`."""
    run(_show(find_socket(args.name), once=args.once, as_json=args.json))


class Look(NamedTuple):
    """What an interface told, and when (of a clock that only moves forward)."""

    status: Status
    counters: dict[str, int]
    moment: float


async def _show(path: Path, *, once: bool = False, as_json: bool = False) -> None:
    """Show it until it ends, or once. Raises `OSError`."""
    first = await _look(path)
    if as_json:
        print(json.dumps(as_object(label(path), first, first)), flush=True)
        if not once:
            async for before, after in _looks(path, first):
                print(json.dumps(as_object(label(path), before, after)), flush=True)
        return
    picture = render(label(path), first.status, None, 0, first.counters)
    console = Console()
    if once:
        console.print(picture)
        return
    with ExitStack() as stack:
        show: Callable[[Group], None] = console.print
        if console.is_terminal:
            live = stack.enter_context(Live(console=console, auto_refresh=False))
            show = partial(live.update, refresh=True)
        show(picture)
        async for before, after in _looks(path, first):
            seconds = after.moment - before.moment
            show(render(label(path), after.status, before.status, seconds, after.counters))


async def _look(path: Path) -> Look:
    return Look(await read_status(path), await read_counters(path), time.monotonic())


async def _looks(path: Path, before: Look) -> AsyncIterator[tuple[Look, Look]]:
    """A look each second, and the one before."""
    while True:
        await asyncio.sleep(INTERVAL)
        after = await _look(path)
        yield before, after
        before = after


def as_object(name: str, before: Look, after: Look) -> dict[str, Any]:
    """What is to be JSON; rates, in bits a second, are between the two looks."""
    seconds = after.moment - before.moment
    known = {peer.public_key: peer for peer in before.status.peers}

    def rate(new: int, old: int) -> float:
        return round(8 * (new - old) / seconds, 1) if seconds else 0.0

    peers = []
    for peer in after.status.peers:
        last = known.get(peer.public_key, peer)
        peers.append(
            {
                "name": peer.name,
                "public_key": encode_key(peer.public_key),
                "endpoint": peer.endpoint or None,
                "allowed_ips": [str(network) for network in peer.allowed_ips],
                "last_handshake": peer.last_handshake or None,
                "received_bytes": peer.rx_bytes,
                "sent_bytes": peer.tx_bytes,
                "received_rate": rate(peer.rx_bytes, last.rx_bytes),
                "sent_rate": rate(peer.tx_bytes, last.tx_bytes),
            }
        )
    return {
        "interface": name,
        "listen_port": after.status.listen_port,
        "peers": peers,
        "dropped": after.counters,
    }


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
    called = (f"peer {encode_key(peer.public_key)}", peer.name)
    return Group(Text(), *map(Text, filter(None, called)), Padding(details, (0, 0, 0, 5)))


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
