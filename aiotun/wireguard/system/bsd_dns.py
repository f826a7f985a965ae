"""DNS on the BSDs: by resolvconf(8), by resolvd(8) of OpenBSD, or in /etc/resolv.conf itself."""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path

from ...files import replace_file
from ..programs import run_program, try_program

__all__ = ["BsdDNS"]

logger = logging.getLogger("aiotun.wireguard")

RESOLV_CONF = Path("/etc/resolv.conf")


class BsdDNS:
    """One interface's name servers, which are asked before all others."""

    def __init__(self, interface: str, file: Path = RESOLV_CONF) -> None:
        self._interface = interface
        self._file = file
        self._undo: tuple[str, ...] = ()
        self._written = False
        self._mark = f"# aiotun {interface}\n"
        """The line before and behind what is ours in the file."""

    def set(self, servers: list[str], domains: list[str]) -> str | None:
        """As `System.set_dns`. Raises `OSError`."""
        self.close()
        if not (servers or domains):
            return None
        lines = [f"nameserver {server}\n" for server in servers]
        search = [f"search {' '.join(domains)}\n"] if domains else []
        if shutil.which("resolvconf"):  # FreeBSD and NetBSD have openresolv's
            self._undo = ("resolvconf", "-d", self._interface)
            text = "".join(lines + search)
            run_program("resolvconf", "-a", self._interface, "-x", text=text)
            return None
        if _has_resolvd():  # it puts what it learns before what stands in the file
            self._undo = ("route", "nameserver", self._interface)
            run_program("route", "nameserver", self._interface, *servers)
            lines = []
        if lines or search:
            self._written = True
            self._write(lines + search)
        return None

    def close(self) -> None:
        """Undo it. Logs what fails."""
        undo, self._undo = self._undo, ()
        if undo:
            try_program(*undo)
        if self._written:
            self._written = False
            try:
                self._write([])
            except OSError as exc:
                logger.warning("%s", exc)

    def _write(self, lines: list[str]) -> None:
        """Put our lines first in the file, in the place of those that are there."""
        if lines:
            self._file.touch(0o644)
        text = self._file.read_text()
        mark = re.escape(self._mark)
        others = re.sub(f"{mark}.*?{mark}", "", text, flags=re.DOTALL)
        ours = [self._mark, *lines, self._mark] if lines else []
        replace_file(self._file, "".join([*ours, others]).encode())


def _has_resolvd() -> bool:
    try:
        run_program("pgrep", "-qx", "resolvd")
    except OSError:
        return False
    return True
