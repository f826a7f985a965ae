"""aiotun wireguard pair: a server's configuration, and that of a phone or whatever connects."""

from __future__ import annotations

import argparse
import io
import secrets
from ipaddress import (
    IPv4Interface,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from pathlib import Path

import segno

from ...files import create_file, replace_file
from ..config import (
    InterfaceConfig,
    PeerConfig,
    format_config,
    parse_config,
    parse_endpoint,
    parse_network,
)
from ..core.allowed_ips import Network
from ..keys import generate_private_key, public_key_of
from ..stores.file import with_peer
from ..wg_quick import interface_name

__all__ = ["add_arguments", "add_client", "main", "make_pair", "new_server", "qr_code"]

PORT = 51820

KEEPALIVE = 25
"""Seconds: less than the 30 after which a NAT of Linux forgets (nf_conntrack_udp_timeout)."""

# ECMA-48, SGR: whatever the terminal's colours, or half of the scanners see a negative.
WHITE_ON_BLACK, AS_BEFORE = "\x1b[97;40m", "\x1b[0m"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("client", nargs="?", type=Path, default=Path("phone.conf"))
    parser.add_argument("--server", type=Path, default=Path("wg0.conf"), metavar="FILE")
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
    parser.add_argument("--dns", action="append", default=[], metavar="ADDRESS")


def main(args: argparse.Namespace) -> None:
    """Make the files, and show the client's as a QR code. Raises `OSError` and `ValueError`."""
    text = make_pair(
        args.server,
        args.client,
        _endpoint(args.endpoint),
        args.network,
        tuple(map(parse_network, filter(None, args.allowed_ips.split(",")))),
        tuple(word for text in args.dns for word in text.replace(",", " ").split()),
    )
    print(qr_code(text))
    print(f"{args.client} is for the client: scan it, or copy it there, and delete it here.")
    print(f"{args.server} is for this machine: aiotun wireguard serve {args.server}")


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
    taken = {address.ip for address in server.addresses}
    taken.update(net.network_address for peer in server.peers for net in peer.allowed_ips)
    addresses = []
    for own in server.addresses:
        free = (host for host in own.network.hosts() if host not in taken)
        address = next(free, None)
        if address is None:
            raise ValueError(f"all addresses of {own.network} are taken")
        addresses.append(ip_interface(f"{address}/{own.network.prefixlen}"))
    private_key = generate_private_key()
    preshared_key = secrets.token_bytes(32)
    peer = PeerConfig(
        public_key_of(private_key),
        preshared_key=preshared_key,
        allowed_ips=tuple(ip_network(address.ip) for address in addresses),
    )
    client = InterfaceConfig(
        private_key,
        addresses=tuple(addresses),
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
    for file in (server_file, client_file):
        interface_name(file.stem)
    if server_file.exists():
        known = server_file.read_text(encoding="utf-8-sig")
        server = parse_config(known, str(server_file), allow_commands=True)
    else:
        server = new_server(networks, endpoint[1])
        known = format_config(server)
    peer, client = add_client(server, endpoint, allowed_ips, dns)
    text = format_config(client)
    create_file(client_file, text.encode())
    try:
        replace_file(server_file, with_peer(known, peer, client_file.stem).encode())
    except BaseException:
        client_file.unlink()
        raise
    return text


def qr_code(text: str) -> str:
    """The text as a QR code for the terminal, as the WireGuard app of a phone reads it."""
    drawn = io.StringIO()
    segno.make(text, error="l", micro=False).terminal(drawn, compact=True)
    return "".join(f"{WHITE_ON_BLACK}{line}{AS_BEFORE}\n" for line in drawn.getvalue().splitlines())


def _first(network: Network) -> IPv4Interface | IPv6Interface:
    if network.num_addresses < 4:
        raise ValueError(f"{network} is too small for a server and another")
    return ip_interface(f"{network[1]}/{network.prefixlen}")


def _unique_local() -> str:
    """A network that nobody else is likely to have (RFC 4193, section 3.2)."""
    return str(IPv6Network((b"\xfd" + secrets.token_bytes(5) + bytes(10), 64)))
