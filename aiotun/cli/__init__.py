"""The command `aiotun`, also `python -m aiotun`.

A subcommand is a module of this package with `add_arguments(parser)` and
`main(args)`, which returns the exit status; it is imported when it is asked for. Where there
is an argument `words`, those behind options are in `args.rest`.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, metadata

from .messages import message

__all__ = ["COMMANDS", "main", "make_parser", "version"]

COMMANDS = {
    "bench": "measure how fast packets pass through Python",
    "capture": "record the packets of an interface, or of a new one, as pcapng",
    "completion": "print a script with which a shell completes these commands",
    "demo": "show real traffic going through a Python protocol, in networks of its own",
    "doctor": "show what this machine offers, and what to do about each thing missing",
    "watch": "show what passes through this machine's devices, as it passes",
    "wireguard": "run a WireGuard interface, make one's files, watch it",
}
"""Each subcommand with what it is for."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line (`sys.argv` if none is given) and return the exit status."""
    _open_standard_streams()
    try:
        try:
            return _run(sys.argv[1:] if argv is None else argv)
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT  # as shells count
    except BrokenPipeError:  # whoever read it has gone
        _discard_output()
        return 0
    except OSError as exc:  # a full disk, above all
        _discard_output()
        print(f"aiotun: {message(exc)}", file=sys.stderr)
        return 1


def _run(argv: Sequence[str]) -> int:
    parser = make_parser(name for name in COMMANDS if name in argv)
    if not argv:
        parser.exit(2, parser.format_help())
    args, rest = parser.parse_known_args(argv)
    if rest and ("words" not in args or any(word.startswith("-") for word in rest)):
        args.error(f"unrecognized arguments: {' '.join(rest)}")
    args.rest = rest
    status: int = args.main(args)
    return status


def _open_standard_streams() -> None:
    """Open those that are closed as the null device.

    Else what is opened next gets their descriptors, at which libuv aborts, and `print` to a
    standard error that is not there writes to standard output.
    """
    for name, mode in ("stdin", "r"), ("stdout", "w"), ("stderr", "w"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, to the end


def _discard_output() -> None:
    """Take what is not written yet nowhere: Python would try again at its end, and complain."""
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def make_parser(names: Iterable[str]) -> argparse.ArgumentParser:
    """The parser of all commands, with the arguments of those that are named."""
    parser = argparse.ArgumentParser(
        prog="aiotun", description="TUN and TAP devices as asyncio transports."
    )
    parser.add_argument("--version", action="version", version=f"aiotun {version()}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    subparsers = {
        name: commands.add_parser(name, help=purpose, description=purpose)
        for name, purpose in COMMANDS.items()
    }
    for name in names:
        module = importlib.import_module(f".{name}", __name__)
        module.add_arguments(subparsers[name])
        subparsers[name].set_defaults(main=module.main, error=subparsers[name].error)
    return parser


def version() -> str:
    """The version of the installed package."""
    try:
        return metadata("aiotun")["Version"]
    except PackageNotFoundError:
        return "run from its source, not installed"
