"""aiotun wireguard: the commands of `aiotun.wireguard`, which take what its extra brings."""

from __future__ import annotations

import argparse

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    try:
        from ..wireguard import cli

        cli.add_arguments(parser)
    except ModuleNotFoundError as exc:
        raise SystemExit(
            f"aiotun wireguard: {exc.name} is missing: pip install 'aiotun[wireguard]'"
        ) from exc


def main(args: argparse.Namespace) -> int:
    """Do what the arguments say, and return the exit status."""
    from ..wireguard import cli

    return cli.main(args)
