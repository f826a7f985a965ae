"""DNS of an interface, set by resolvectl(1) or resolvconf(8), and undone.

As wg-quick(8) has it: what is no address among the servers is a search domain.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable
from ipaddress import ip_address

from .programs import run_program

__all__ = ["SystemDNS"]

logger = logging.getLogger("aiotun.wireguard")

RESOLVED = "/run/systemd/resolve"
"""It is there while systemd-resolved runs, without which resolvectl does nothing."""


class SystemDNS:
    """One interface's name servers, as the system asks them."""

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._undo: tuple[str, ...] = ()

    async def set(self, words: Iterable[str]) -> bool:
        """Have these servers asked, and these domains searched; return whether anything can.

        Raises `OSError` where the program refuses it.
        """
        servers, domains = [], []
        for word in words:
            try:
                servers.append(str(ip_address(word)))
            except ValueError:
                domains.append(word)
        if _has_resolved():
            self._undo = ("resolvectl", "revert", self._interface)
            await run_program("resolvectl", "dns", self._interface, *servers)
            # "~.": whatever the name, ask here first.
            await run_program("resolvectl", "domain", self._interface, *domains, "~.")
        elif shutil.which("resolvconf"):
            name = f"tun.{self._interface}"  # which Debian's resolvconf puts first
            self._undo = ("resolvconf", "-d", name)
            lines = [f"nameserver {server}" for server in servers]
            lines += [f"search {' '.join(domains)}"] if domains else []
            await run_program(
                "resolvconf", "-a", name, "-m", "0", "-x", text="\n".join(lines) + "\n"
            )
        else:
            return False
        return True

    async def close(self) -> None:
        """Undo it; log what fails: the interface, with which it goes, may be gone."""
        if self._undo:
            undo, self._undo = self._undo, ()
            try:
                await run_program(*undo)
            except OSError as exc:
                logger.warning("%s", exc)


def _has_resolved() -> bool:
    return shutil.which("resolvectl") is not None and os.path.isdir(RESOLVED)
