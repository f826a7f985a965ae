"""aiotun wireguard: the commands of `aiotun.wireguard`."""

from ..wireguard.cli import add_arguments, main

__all__ = ["add_arguments", "main"]
