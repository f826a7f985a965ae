"""DNS of an interface, set by resolvectl(1) or resolvconf(8), and undone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable

from ..programs import run_program, try_program
from .base import split_dns

__all__ = ["LinuxDNS"]

RESOLVED = "/run/systemd/resolve"
"""It is there while systemd-resolved runs, without which resolvectl does nothing."""


class LinuxDNS:
    """One interface's name servers, as the system asks them."""

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._undo: tuple[str, ...] = ()

    def set(self, words: Iterable[str]) -> str | None:
        """As `System.set_dns`. Raises `OSError` where the program refuses it."""
        servers, domains = split_dns(words)
        if not (servers or domains):
            self.close()
        elif _has_resolved():
            self._undo = ("resolvectl", "revert", self._interface)
            run_program("resolvectl", "dns", self._interface, *servers)
            # "~.": whatever the name, ask here first.
            run_program("resolvectl", "domain", self._interface, *domains, "~.")
        elif shutil.which("resolvconf"):
            name = f"tun.{self._interface}"  # which Debian's resolvconf puts first
            self._undo = ("resolvconf", "-d", name)
            lines = [f"nameserver {server}" for server in servers]
            lines += [f"search {' '.join(domains)}"] if domains else []
            run_program("resolvconf", "-a", name, "-m", "0", "-x", text="\n".join(lines) + "\n")
        else:
            return "resolvectl or resolvconf"
        return None

    def close(self) -> None:
        """Undo it; log what fails: the interface, with which it goes, may be gone."""
        if self._undo:
            undo, self._undo = self._undo, ()
            try_program(*undo)


def _has_resolved() -> bool:
    return shutil.which("resolvectl") is not None and os.path.isdir(RESOLVED)
