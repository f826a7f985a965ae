"""aiotun wireguard pair | peer | serve | status: each is a module here, as in `aiotun.cli`."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys

from ...cli.messages import message

__all__ = ["COMMANDS", "add_arguments", "main"]

COMMANDS = {
    "pair": "write the configuration of a client, and of its server if there is none yet",
    "peer": "add, remove, enable, disable or list the peers in a store",
    "serve": "run an interface",
    "status": "watch an interface: its peers, rates and drops, as a live table or as JSON",
}
ALIASES = {"status": ("show",)}
"""What the `wg` tool calls it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of all commands."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, purpose in COMMANDS.items():
        command = commands.add_parser(
            name, aliases=ALIASES.get(name, ()), help=purpose, description=purpose
        )
        module = importlib.import_module(f".{name}", __name__)
        module.add_arguments(command)
        command.set_defaults(wireguard=module.main)


def main(args: argparse.Namespace) -> int:
    """Do what the arguments say, and return the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        args.wireguard(args)
    except ModuleNotFoundError as exc:
        print(f"aiotun wireguard: {exc}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        raise  # `aiotun.cli` ends in silence
    except (OSError, ValueError) as exc:
        print(f"aiotun wireguard: {message(exc)}", file=sys.stderr)
        return 1
    return 0
