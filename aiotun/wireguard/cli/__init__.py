"""aiotun wireguard pair | serve | show"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Coroutine
from contextlib import suppress
from ipaddress import ip_address, ip_network
from pathlib import Path

from ..config import parse_endpoint
from ..server import Server
from ..stores.file import FileStore
from ..uapi_socket import DIRECTORY

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of the three commands."""
    commands = parser.add_subparsers(dest="wireguard", metavar="COMMAND", required=True)

    pair = commands.add_parser(
        "pair", help="write the configuration of a client, and of its server if there is none yet"
    )
    pair.add_argument("client", nargs="?", type=Path, default=Path("phone.conf"))
    pair.add_argument("--server", type=Path, default=Path("wg0.conf"), metavar="FILE")
    pair.add_argument(
        "--endpoint", required=True, metavar="HOST[:PORT]", help="where clients find the server"
    )
    pair.add_argument(
        "--network", action="append", default=[], metavar="NETWORK", help="of a new server"
    )
    pair.add_argument(
        "--allowed-ips",
        type=lambda text: tuple(ip_network(word) for word in text.split(",")),
        default=(),
        metavar="NETWORK,...",
        help="what the client sends to the server; 0.0.0.0/0,::/0 is everything",
    )
    pair.add_argument("--dns", action="append", default=[], metavar="ADDRESS")

    serve = commands.add_parser("serve", help="run an interface")
    serve.add_argument("file", nargs="?", type=Path, default=Path("wg0.conf"))
    serve.add_argument("--name", help="of the interface; that of the file, without .conf")
    serve.add_argument(
        "--no-uapi", action="store_true", help=f"no socket in {DIRECTORY} for the wg tool"
    )
    serve.add_argument(
        "--allow-commands", action="store_true", help="run PreUp, PostUp, PreDown and PostDown"
    )

    show = commands.add_parser("show", help="watch an interface")
    show.add_argument("name", nargs="?", help="not needed if there is only one")
    show.add_argument("--once", action="store_true", help="one picture instead of a live view")


def pair(args: argparse.Namespace) -> None:
    """Make the files, and show the client's as a QR code."""
    from .pair import PORT, make_pair, qr_code

    try:
        endpoint = (str(ip_address(args.endpoint.strip("[]"))), PORT)
    except ValueError:
        has_port = ":" in args.endpoint
        endpoint = parse_endpoint(args.endpoint if has_port else f"{args.endpoint}:{PORT}")
    text = make_pair(
        args.server, args.client, endpoint, args.network, args.allowed_ips, tuple(args.dns)
    )
    print(qr_code(text))
    print(f"{args.client} is for the client: scan it, or copy it there, and delete it here.")
    print(f"{args.server} is for this machine: aiotun wireguard serve {args.server}")


async def until_signal(program: Coroutine[None, None, None]) -> None:
    task = asyncio.ensure_future(program)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


def run(program: Coroutine[None, None, None]) -> None:
    """On the faster loop where there is one."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(until_signal(program))
    else:
        uvloop.run(until_signal(program))


def main(args: argparse.Namespace) -> int:
    """Do what the arguments say, and return the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        if args.wireguard == "pair":
            pair(args)
        elif args.wireguard == "serve":
            store = FileStore(args.file, allow_commands=args.allow_commands)
            run(Server(store, args.name or args.file.stem).run(uapi=not args.no_uapi))
        else:
            from .show import find_socket, show

            run(show(find_socket(args.name, DIRECTORY), once=args.once))
    except (OSError, ValueError) as exc:
        print(message(exc), file=sys.stderr)
        return 1
    return 0


def message(exc: OSError | ValueError) -> str:
    """An error in plain words."""
    if isinstance(exc, OSError) and exc.strerror:
        return f"{exc.filename}: {exc.strerror}" if exc.filename else exc.strerror
    return str(exc)
