"""aiotun wireguard serve: an interface as its file says."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import argparse
from pathlib import Path

from ..server import Server
from ..stores.file import ConfigFile
from ..uapi_socket import DIRECTORY
from .loop import run

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", type=Path, default=Path("wg0.conf"))
    parser.add_argument("--name", help="of the interface; that of the file, without .conf")
    parser.add_argument(
        "--no-uapi", action="store_true", help=f"no socket in {DIRECTORY} for the wg tool"
    )
    parser.add_argument(
        "--allow-commands", action="store_true", help="run PreUp, PostUp, PreDown and PostDown"
    )


def main(args: argparse.Namespace) -> None:
    """Raises `OSError` and `ValueError`."""
    file = ConfigFile(args.file, allow_commands=args.allow_commands)
    run(Server(file, args.name or args.file.stem).run(uapi=not args.no_uapi))
