"""Cryptokey routing (paper, section 2): which addresses belong to which peer."""

from __future__ import annotations

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
        self._networks: dict[Owner, dict[Network, None]] = {}
        self._tables: dict[int, dict[int, dict[int, Owner]]] = {4: {}, 16: {}}
        """By an address' size and by mask, the longest prefix first: owners by masked address."""
        self.owners: dict[bytes, Owner | None] = _Cache(self._search)
        """By address, whatever it is: each is searched for when it is looked up."""
        self.find: Callable[[bytes], Owner | None] = self.owners.__getitem__
        """The owner of an address: 4 bytes of IPv4, or 16 of IPv6."""

    def set(self, owner: Owner, networks: Iterable[Network]) -> None:
        """Give these networks to an owner, in place of those that it has; others lose them.

        It takes the longer the more networks change, however many others there are.
        """
        before, after = self._networks.pop(owner, {}), dict.fromkeys(networks)
        if after:
            self._networks[owner] = after
        for network in before.keys() - after.keys():
            self._remove(network)
        for network in after.keys() - before.keys():
            self._add(network, owner)
        if before.keys() != after.keys():
            self.owners.clear()

    def of(self, owner: Owner) -> tuple[Network, ...]:
        return tuple(self._networks.get(owner, ()))

    def _add(self, network: Network, owner: Owner) -> None:
        size, mask, address = _place(network)
        if mask not in self._tables[size]:  # a longer prefix is a larger mask
            masks = sorted([*self._tables[size].items(), (mask, {})], reverse=True)
            self._tables[size] = dict(masks)
        owners = self._tables[size][mask]
        if address in owners:
            del self._networks[owners[address]][network]
        owners[address] = owner

    def _remove(self, network: Network) -> None:
        size, mask, address = _place(network)
        owners = self._tables[size][mask]
        del owners[address]
        if not owners:
            del self._tables[size][mask]

    def _search(self, address: bytes) -> Owner | None:
        number = int.from_bytes(address, "big")
        for mask, owners in self._tables.get(len(address), {}).items():
            owner = owners.get(number & mask)
            if owner is not None:
                return owner
        return None


def _place(network: Network) -> tuple[int, int, int]:
    """An address' size, the mask, and the masked address."""
    return network.max_prefixlen // 8, int(network.netmask), int(network.network_address)


class _Cache(dict[bytes, Owner | None]):
    """Owners by address, searched for where they are not known; found without a call of Python."""

    def __init__(self, search: Callable[[bytes], Owner | None]) -> None:
        self._search = search

    def __missing__(self, address: bytes) -> Owner | None:
        if len(self) >= CACHE_MAX:
            self.clear()
        owner = self[address] = self._search(address)
        return owner
