"""aiotun wireguard serve: an interface as its file says."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import argparse
import contextlib
from pathlib import Path

from ..server import Server
from ..stores.file import ConfigFile
from ..stores.urls import open_store
from ..uapi_socket import DIRECTORY
from .loop import run
from .peer import add_store_argument

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", type=Path, default=Path("wg0.conf"))
    parser.add_argument("--name", help="of the interface; that of the file, without .conf")
    add_store_argument(parser, None)
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
        server = Server(file, args.name or args.file.stem, store=store)
        await server.run(uapi=not args.no_uapi)
