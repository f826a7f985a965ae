"""aiotun wireguard peer add | remove | enable | disable | list: the peers in a store."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from dataclasses import replace
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from ...files import is_stream, read_file, read_stream
from ..config import PeerConfig
from ..keys import KEY_SIZE, decode_key, encode_key
from ..pool import free_addresses
from ..stores.base import Change, Peers, Store
from ..stores.urls import open_store
from ..values import format_endpoint, parse_endpoint, parse_name, parse_network

__all__ = ["add_arguments", "add_peer", "add_store_argument", "find_peer", "main", "set_enabled"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_store_argument(parser, "file:wg0.conf")
    commands = parser.add_subparsers(dest="peer_command", metavar="COMMAND", required=True)
    add = commands.add_parser("add", help="add a peer whose public key is known; see also pair")
    add.add_argument("name")
    add.add_argument("public_key", metavar="PUBLIC-KEY")
    add.add_argument(
        "--pool",
        action="append",
        default=[],
        metavar="ADDRESS/LENGTH",
        help="give it a free address of this network, in which the server has this address",
    )
    add.add_argument("--allowed-ips", default="", metavar="NETWORK,...")
    add.add_argument("--endpoint", metavar="HOST:PORT")
    add.add_argument("--keepalive", type=int, default=0, metavar="SECONDS")
    add.add_argument("--preshared-key", type=Path, metavar="FILE", help="as wg genpsk writes it")
    for name, purpose in (
        ("remove", "remove a peer: its sessions end"),
        ("enable", "let a disabled peer in again"),
        ("disable", "keep a peer and its addresses, and let it in no more"),
    ):
        command = commands.add_parser(name, help=purpose)
        command.add_argument("peer", metavar="NAME|PUBLIC-KEY")
    listing = commands.add_parser("list", help="show all peers")
    listing.add_argument("--json", action="store_true")
    for command in commands.choices.values():  # behind it --store may stand too
        add_store_argument(command, argparse.SUPPRESS)


def add_store_argument(parser: argparse.ArgumentParser, default: str | None) -> None:
    if default != argparse.SUPPRESS:
        default = os.environ.get("AIOTUN_STORE") or default
    parser.add_argument(
        "--store",
        default=default,
        metavar="URL",
        help="where the peers are: file:PATH, or nats://HOST:4222/BUCKET; AIOTUN_STORE if that is "
        "set, where a password stands better than among the arguments",
    )


def main(args: argparse.Namespace) -> None:
    """Raises `OSError` and `ValueError`."""
    asyncio.run(_main(args, _new_peer(args) if args.peer_command == "add" else None))


async def _main(args: argparse.Namespace, new: PeerConfig | None) -> None:
    async with open_store(args.store) as store:
        if new is not None:
            peer = await add_peer(store, new, args.pool)
            print(", ".join(str(network) for network in peer.allowed_ips) or "no allowed IPs")
        elif args.peer_command == "list":
            peers, _ = await store.peers()
            _show(peers, as_json=args.json)
        elif args.peer_command == "remove":
            await store.change(lambda peers: Change(find_peer(peers, args.peer), None))
        else:
            await set_enabled(store, args.peer, enabled=args.peer_command == "enable")


def _new_peer(args: argparse.Namespace) -> PeerConfig:
    path = args.preshared_key
    if path is None:
        secret = bytes(KEY_SIZE)
    else:
        secret = decode_key((read_stream if is_stream(path) else read_file)(path).decode().strip())
    if not 0 <= args.keepalive <= 65535:
        raise ValueError("--keepalive takes 0 to 65535 seconds")
    return PeerConfig(
        decode_key(args.public_key),
        name=parse_name(args.name),
        preshared_key=secret,
        endpoint=parse_endpoint(args.endpoint) if args.endpoint else None,
        allowed_ips=tuple(map(parse_network, filter(None, args.allowed_ips.split(",")))),
        persistent_keepalive=args.keepalive,
    )


async def add_peer(store: Store[Any], peer: PeerConfig, pool: list[str]) -> PeerConfig:
    """Add a peer with a free address of each network; return it.

    Raises as `Store.change` does, and `ValueError` for one that is there, by its key or its name.
    """
    own = [ip_interface(text) for text in pool]

    def decide(peers: Peers) -> Change:
        if peer.public_key in peers:
            raise ValueError("there is a peer with this public key")
        if peer.name and any(peer.name == other.name for other in peers.values()):
            raise ValueError(f"there is a peer called {peer.name}")
        free = tuple(ip_network(address.ip) for address in free_addresses(own, peers.values()))
        return Change(peer.public_key, replace(peer, allowed_ips=free + peer.allowed_ips))

    _, added = await store.change(decide)
    assert added is not None
    return added


async def set_enabled(store: Store[Any], name: str, *, enabled: bool) -> None:
    """Enable or disable the peer with this name or key. Raises as `Store.change` and
    `find_peer` do."""

    def decide(peers: Peers) -> Change:
        key = find_peer(peers, name)
        return Change(key, replace(peers[key], enabled=enabled))

    await store.change(decide)


def find_peer(peers: Peers, name: str) -> bytes:
    """The public key of the peer with this name or key. Raises `ValueError`."""
    found = [
        key
        for key, peer in peers.items()
        if name == encode_key(key) or (name and name == peer.name)
    ]
    if len(found) != 1:
        raise ValueError(
            f"{len(found) or 'no'} peers are called {name!r}"
            + (": say which by its public key" if found else "")
        )
    return found[0]


def _show(peers: Peers, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([_as_json(peer) for peer in peers.values()], indent=2))
        return
    table = Table("name", Column("public key", overflow="fold"), "allowed IPs", "endpoint", "")
    for peer in sorted(peers.values(), key=lambda peer: (peer.name, peer.public_key)):
        words = (
            peer.name,
            encode_key(peer.public_key),
            ", ".join(map(str, peer.allowed_ips)),
            format_endpoint(peer.endpoint) if peer.endpoint else "",
            "" if peer.enabled else "disabled",
        )
        table.add_row(*map(Text, words))  # a string would be markup
    Console().print(table)


def _as_json(peer: PeerConfig) -> dict[str, Any]:
    return {
        "name": peer.name,
        "public_key": encode_key(peer.public_key),
        "allowed_ips": [str(network) for network in peer.allowed_ips],
        "endpoint": format_endpoint(peer.endpoint) if peer.endpoint else None,
        "persistent_keepalive": peer.persistent_keepalive,
        "enabled": peer.enabled,
    }
