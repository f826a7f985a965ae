"""Cryptokey routing (paper, section 2): which addresses belong to which peer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network
from typing import Generic, TypeVar

__all__ = ["AllowedIPs", "Network"]

Network = IPv4Network | IPv6Network
Owner = TypeVar("Owner")

CACHE_MAX = 4096
"""Addresses whose owner is remembered."""


class AllowedIPs(Generic[Owner]):
    """Networks with their owners; the longest prefix decides."""

    def __init__(self) -> None:
        self._owners: dict[Network, Owner] = {}
        self._networks: defaultdict[Owner, dict[Network, None]] = defaultdict(dict)
        self._tables: dict[int, list[tuple[int, dict[int, Owner]]]] = {}
        """By an address' size, longest prefix first: the mask, and owners by masked address."""
        self._cache: dict[bytes, Owner | None] = {}

    def set(self, owner: Owner, networks: Iterable[Network]) -> None:
        """Give these networks to an owner, in place of those that it has; others lose them."""
        for network in self._networks.pop(owner, ()):
            del self._owners[network]
        for network in networks:
            if network in self._owners:
                del self._networks[self._owners[network]][network]
            self._owners[network] = owner
            self._networks[owner][network] = None
        self._tables.clear()
        self._cache.clear()

    def of(self, owner: Owner) -> tuple[Network, ...]:
        return tuple(self._networks.get(owner, ()))

    def find(self, address: bytes) -> Owner | None:
        """The owner of an address: 4 bytes of IPv4, or 16 of IPv6."""
        try:
            return self._cache[address]
        except KeyError:
            owner = self._search(address)
        if len(self._cache) >= CACHE_MAX:
            self._cache.clear()
        self._cache[address] = owner
        return owner

    def _search(self, address: bytes) -> Owner | None:
        if not self._tables:
            self._tables = {size: self._table(size) for size in (4, 16)}
        number = int.from_bytes(address, "big")
        for mask, owners in self._tables.get(len(address), ()):
            owner = owners.get(number & mask)
            if owner is not None:
                return owner
        return None

    def _table(self, size: int) -> list[tuple[int, dict[int, Owner]]]:
        by_mask: dict[int, dict[int, Owner]] = defaultdict(dict)
        for network, owner in self._owners.items():
            if network.max_prefixlen == 8 * size:
                by_mask[int(network.netmask)][int(network.network_address)] = owner
        return sorted(by_mask.items(), reverse=True)  # a longer prefix is a larger mask
