"""Cryptokey routing (paper, section 2): which addresses belong to which peer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
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
        self._cache = _Cache(self._search)
        self.find: Callable[[bytes], Owner | None] = self._cache.__getitem__
        """The owner of an address: 4 bytes of IPv4, or 16 of IPv6."""

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


class _Cache(dict[bytes, Owner | None]):
    """Owners by address, searched for where they are not known; found without a call of Python."""

    def __init__(self, search: Callable[[bytes], Owner | None]) -> None:
        self._search = search

    def __missing__(self, address: bytes) -> Owner | None:
        if len(self) >= CACHE_MAX:
            self.clear()
        owner = self[address] = self._search(address)
        return owner
