"""aiotun wireguard pair: a server's configuration, and that of a phone or whatever connects."""

from __future__ import annotations

import argparse
import asyncio
import io
import secrets
import sys
from dataclasses import replace
from ipaddress import (
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from pathlib import Path

import segno

from ...files import create_file, locked, replace_file
from ..config import InterfaceConfig, PeerConfig
from ..config_file import format_config
from ..core.allowed_ips import Network
from ..keys import generate_private_key, public_key_of
from ..pool import Interface, free_addresses
from ..stores.base import Change, Peers
from ..stores.file import ConfigFile, with_peer
from ..stores.urls import open_store
from ..values import parse_dns, parse_endpoint, parse_network
from ..wg_quick import interface_name
from .peer import add_store_argument

__all__ = [
    "add_arguments",
    "add_client",
    "main",
    "make_pair",
    "new_server",
    "pair_in_store",
    "qr_code",
]

PORT = 51820

KEEPALIVE = 25
"""Seconds: less than the 30 after which a NAT of Linux forgets (nf_conntrack_udp_timeout)."""

# ECMA-48, SGR: whatever the terminal's colours, or half of the scanners see a negative.
WHITE_ON_BLACK, AS_BEFORE = "\x1b[97;40m", "\x1b[0m"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "client",
        nargs="?",
        type=Path,
        default=Path("phone.conf"),
        help="the client's new file (phone.conf)",
    )
    parser.add_argument(
        "--server",
        type=Path,
        default=Path("wg0.conf"),
        metavar="FILE",
        help="the server's file, made if there is none (wg0.conf)",
    )
    parser.add_argument(
        "--endpoint", required=True, metavar="HOST[:PORT]", help="where clients find the server"
    )
    parser.add_argument(
        "--network", action="append", default=[], metavar="NETWORK", help="of a new server"
    )
    parser.add_argument(
        "--allowed-ips",
        default="",
        metavar="NETWORK,...",
        help="what the client sends to the server; 0.0.0.0/0,::/0 is everything",
    )
    parser.add_argument(
        "--dns",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="a name server for the client, or a domain that it searches",
    )
    add_store_argument(parser, None)


def main(args: argparse.Namespace) -> None:
    """Make the files, and show the client's as a QR code on a terminal.

    Raises `OSError` and `ValueError`.
    """
    endpoint = _endpoint(args.endpoint)
    client = (
        tuple(map(parse_network, filter(None, args.allowed_ips.split(",")))),
        parse_dns(" ".join(args.dns)),
    )
    if args.client.exists():
        raise ValueError(f"{args.client} is there already: name another file, or remove it")
    if args.store:
        text = pair_in_store(args.store, args.server, args.client, endpoint, *client)
    else:
        text = make_pair(args.server, args.client, endpoint, args.network, *client)
    if sys.stdout.isatty():
        _show(text)
    else:  # it would stay in a file, or in the log of whatever runs this
        print("A QR code, which has the private key in it, is shown on a terminal alone.")
    print(f"{args.client} is for the client: scan it, or copy it there, and delete it here.")
    print(f"{args.server} is for this machine: aiotun wireguard serve {args.server}")


def _show(text: str) -> None:
    try:
        print(qr_code(text))
    except segno.DataOverflowError:  # many networks
        print("It is too long for a QR code.")
    except UnicodeEncodeError:
        print("This terminal has no characters for a QR code.")


def _endpoint(text: str) -> tuple[str, int]:
    """The port may be left out."""
    try:
        return str(ip_address(text.strip("[]"))), PORT
    except ValueError:
        return parse_endpoint(text if ":" in text else f"{text}:{PORT}")


def new_server(networks: list[str], port: int = PORT) -> InterfaceConfig:
    """A server without peers, at the first address of each network. Raises `ValueError`."""
    parsed = [ip_network(network) for network in networks or ["10.9.0.0/24", _unique_local()]]
    return InterfaceConfig(
        generate_private_key(),
        listen_port=port,
        addresses=tuple(_first(network) for network in parsed),
    )


def add_client(
    server: InterfaceConfig,
    endpoint: tuple[str, int],
    allowed_ips: tuple[Network, ...] = (),
    dns: tuple[str, ...] = (),
) -> tuple[PeerConfig, InterfaceConfig]:
    """A further peer of the server, and what that peer itself is configured with.

    It gets the first free address of each network. `allowed_ips` is what it sends to the
    server: the server's networks, if nothing else is said. Raises `ValueError`.
    """
    if not any(server.private_key):
        raise ValueError(
            "the server's configuration has no PrivateKey to tell others the public one"
        )
    if not server.addresses:
        raise ValueError("the server's configuration has no Address to give others from")
    addresses = free_addresses(server.addresses, server.peers)
    private_key = generate_private_key()
    preshared_key = secrets.token_bytes(32)
    peer = PeerConfig(
        public_key_of(private_key),
        preshared_key=preshared_key,
        allowed_ips=tuple(ip_network(address.ip) for address in addresses),
    )
    client = InterfaceConfig(
        private_key,
        addresses=addresses,
        dns=dns,
        peers=(
            PeerConfig(
                public_key_of(server.private_key),
                preshared_key=preshared_key,
                endpoint=endpoint,
                allowed_ips=allowed_ips or tuple(own.network for own in server.addresses),
                persistent_keepalive=KEEPALIVE,
            ),
        ),
    )
    return peer, client


def make_pair(
    server_file: Path,
    client_file: Path,
    endpoint: tuple[str, int],
    networks: list[str],
    allowed_ips: tuple[Network, ...] = (),
    dns: tuple[str, ...] = (),
) -> str:
    """Write the client's file, and the server's unless it is there: then the peer is added.

    Returns the text of the client's file. Raises `OSError` (also where the client's file
    exists) and `ValueError`; both files are as they were then.
    """
    for path in (server_file, client_file):
        interface_name(path.stem)
    with locked(server_file):
        if server_file.exists():
            file = ConfigFile(server_file, allow_commands=True)
            known = file.text()
            server = file.parse(known)
        else:
            server = new_server(networks, endpoint[1])
            known = format_config(server)
        peer, client = add_client(server, endpoint, allowed_ips, dns)
        text = format_config(client)
        create_file(client_file, text.encode())
        try:
            named = replace(peer, name=client_file.stem)
            replace_file(server_file, with_peer(known, named).encode())
        except BaseException:
            client_file.unlink()
            raise
    return text


def pair_in_store(
    store: str,
    server_file: Path,
    client_file: Path,
    endpoint: tuple[str, int],
    allowed_ips: tuple[Network, ...] = (),
    dns: tuple[str, ...] = (),
) -> str:
    """As `make_pair`, for a server whose file is there, and whose peers are in the store at this
    URL."""
    name = interface_name(client_file.stem)
    file = ConfigFile(server_file, allow_commands=True)
    server = file.parse(file.text())
    clients: dict[bytes, InterfaceConfig] = {}

    def decide(peers: Peers) -> Change:
        with_peers = replace(server, peers=tuple(peers.values()))
        peer, client = add_client(with_peers, endpoint, allowed_ips, dns)
        clients[peer.public_key] = client
        return Change(peer.public_key, replace(peer, name=name))

    async def change() -> InterfaceConfig:
        async with open_store(store) as opened:
            public_key, _ = await opened.change(decide)
        return clients[public_key]

    create_file(client_file, b"")
    try:
        text = format_config(asyncio.run(change()))
        replace_file(client_file, text.encode())
    except BaseException:
        client_file.unlink()
        raise
    return text


def qr_code(text: str) -> str:
    """The text as a QR code for the terminal, as the WireGuard app of a phone reads it."""
    drawn = io.StringIO()
    segno.make(text, error="l", micro=False).terminal(drawn, compact=True)
    return "".join(f"{WHITE_ON_BLACK}{line}{AS_BEFORE}\n" for line in drawn.getvalue().splitlines())


def _first(network: Network) -> Interface:
    if network.num_addresses < 4:
        raise ValueError(f"{network} is too small for a server and another")
    return ip_interface(f"{network[1]}/{network.prefixlen}")


def _unique_local() -> str:
    """A network that nobody else is likely to have (RFC 4193, section 3.2)."""
    return str(IPv6Network((b"\xfd" + secrets.token_bytes(5) + bytes(10), 64)))
