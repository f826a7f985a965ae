"""aiotun wireguard serve: an interface as its file says."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import argparse
import contextlib
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import parse_endpoint
from ..server import Server
from ..stores.file import ConfigFile
from ..stores.urls import open_store
from ..uapi_socket import DIRECTORY
from .loop import run
from .peer import add_store_argument

if TYPE_CHECKING:
    from ..cluster.member import Member

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", type=Path, default=Path("wg0.conf"))
    parser.add_argument("--name", help="of the interface; that of the file, without .conf")
    add_store_argument(parser, None)
    parser.add_argument(
        "--link",
        metavar="ADDRESS:PORT",
        help="share the peers of a store of NATS with other servers, which reach this one there",
    )
    parser.add_argument(
        "--no-uapi", action="store_true", help=f"no socket in {DIRECTORY} for the wg tool"
    )
    parser.add_argument(
        "--allow-commands", action="store_true", help="run PreUp, PostUp, PreDown and PostDown"
    )


def main(args: argparse.Namespace) -> None:
    """Raises `OSError` and `ValueError`."""
    run(_serve(args))


async def _serve(args: argparse.Namespace) -> None:
    file = ConfigFile(args.file, allow_commands=args.allow_commands)
    async with contextlib.AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(args.store)) if args.store else None
        member = await stack.enter_async_context(_joined(args)) if args.link else None
        server = Server(file, args.name or args.file.stem, store=store, member=member)
        await server.run(uapi=not args.no_uapi)


def _joined(args: argparse.Namespace) -> contextlib.AbstractAsyncContextManager[Member]:
    if not str(args.store).startswith(("nats:", "tls:")):
        raise ValueError("--link takes a store of NATS, in which servers find each other: --store")
    from ..cluster.member import joined

    host, port = parse_endpoint(args.link)
    return joined(args.store, (str(ip_address(host)), port))
