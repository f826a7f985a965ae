"""DNS on macOS: a service of the dynamic store, by scutil(8), that is asked about every name."""

from __future__ import annotations

from ..programs import run_program, try_program

__all__ = ["DarwinDNS"]

SCUTIL = "/usr/sbin/scutil"


class DarwinDNS:
    """One interface's name servers. What others set stays, and comes back when this goes."""

    def __init__(self, interface: str) -> None:
        self._key = f"State:/Network/Service/aiotun-{interface}/DNS"
        self._is_set = False

    def set(self, servers: list[str], domains: list[str]) -> str | None:
        """As `System.set_dns`. Raises `OSError`."""
        self.close()
        if not servers:
            return "a name server" if domains else None
        lines = ["d.init", f"d.add ServerAddresses * {' '.join(servers)}"]
        if domains:
            lines.append(f"d.add SearchDomains * {' '.join(domains)}")
        # The empty domain is every name's; the lowest order is asked first.
        lines += ['d.add SupplementalMatchDomains * ""', "d.add SearchOrder # 1"]
        self._is_set = True
        run_program(SCUTIL, text=_script(*lines, f"set {self._key}"))
        return None

    def close(self) -> None:
        """Undo it. Logs what fails."""
        if self._is_set:
            self._is_set = False
            try_program(SCUTIL, text=_script(f"remove {self._key}"))


def _script(*lines: str) -> str:
    return "".join(f"{line}\n" for line in (*lines, "quit"))
