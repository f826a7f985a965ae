"""aiotun wireguard: the commands of `aiotun.wireguard`."""

from __future__ import annotations

try:
    from ..wireguard.cli import add_arguments, main
except ModuleNotFoundError as exc:
    raise SystemExit(f"{exc.name} is not there: pip install 'aiotun[wireguard]'") from exc

__all__ = ["add_arguments", "main"]
