"""Addresses for new peers, from the networks that the server has addresses in."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Interface, IPv6Interface, ip_interface

from .config import PeerConfig

__all__ = ["Interface", "free_addresses"]

Interface = IPv4Interface | IPv6Interface


def free_addresses(own: Iterable[Interface], peers: Iterable[PeerConfig]) -> tuple[Interface, ...]:
    """The first free address of each network in which the server has an `own` one.

    Not free is what the server has, and what stands in a peer's allowed IPs, alone or as the
    network's first address. Raises `ValueError` where all are taken.
    """
    own = tuple(own)
    taken = {address.ip for address in own}
    taken.update(net.network_address for peer in peers for net in peer.allowed_ips)
    addresses = []
    for each in own:
        free = (host for host in each.network.hosts() if host not in taken)
        address = next(free, None)
        if address is None:
            raise ValueError(f"all addresses of {each.network} are taken")
        addresses.append(ip_interface(f"{address}/{each.network.prefixlen}"))
    return tuple(addresses)
