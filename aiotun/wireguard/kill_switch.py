"""A kill switch: nothing leaves this machine but through the tunnel.

A table of nft(8) drops what is not for the interface, the loopback interface or a peer. It goes
at a proper end, and stays when the program is killed, for that is what it is for; the next start
replaces it, and `nft delete table inet aiotun-NAME` takes it away.
"""

from __future__ import annotations

import asyncio
import re

from ..cancelling import despite_cancellation
from .programs import run_program

__all__ = ["KillSwitch"]

# Without DHCP and neighbour discovery there would soon be nothing to send datagrams over.
RULES = """\
table inet {table} {{
    chain output {{
        type filter hook output priority filter; policy drop;
        oifname {{ "lo", "{interface}" }} accept
        meta mark {mark} accept
        udp sport 68 udp dport 67 accept
        udp sport 546 udp dport 547 accept
        icmpv6 type {{ nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert }} accept
        meta nfproto ipv4 reject with icmp admin-prohibited
        meta nfproto ipv6 reject with icmpv6 admin-prohibited
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        iifname != "{interface}" oifname != "{interface}" drop
    }}
}}
"""


GONE = """\
table inet {table}
delete table inet {table}
"""
"""Whether there was one before or not."""


class KillSwitch:
    """That of one interface, whose datagrams carry a mark."""

    def __init__(self, interface: str) -> None:
        self._interface = interface
        # nft takes letters, digits and /-_. in the name of a table.
        self._table = "aiotun-" + re.sub("[=+]", lambda found: f"/{ord(found[0]):x}", interface)
        self._was_set = False
        self._mark = 0

    @staticmethod
    def check(mark: int) -> None:
        """Raises `ValueError` where there is no mark."""
        if not mark:
            raise ValueError(
                "a kill switch tells our datagrams by their mark: set FwMark, or route everything "
                "into the tunnel (AllowedIPs = 0.0.0.0/0, ::/0)"
            )

    async def set(self, mark: int) -> None:
        """Raises `OSError` where nft is not there or refuses it."""
        if mark != self._mark:
            self._was_set = True
            rules = RULES.format(table=self._table, interface=self._interface, mark=mark)
            await _nft(GONE.format(table=self._table) + rules)
            self._mark = mark

    async def close(self) -> None:
        """Let everything pass again, if it was to be kept from that. Raises `OSError`."""
        if self._was_set:
            await _nft(GONE.format(table=self._table))


async def _nft(text: str) -> None:
    """When cancelled, nft has ended all the same: what undoes its work comes after it."""
    try:
        await despite_cancellation(asyncio.to_thread(run_program, "nft", "-f", "-", text=text))
    except FileNotFoundError as exc:
        raise FileNotFoundError(
            exc.errno, "a kill switch takes the program nft: install nftables"
        ) from exc
