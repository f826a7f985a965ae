"""What a WireGuard interface and its peers should be."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from typing import Literal

from .keys import KEY_SIZE

__all__ = ["InterfaceConfig", "PeerConfig"]


@dataclass(frozen=True)
class PeerConfig:
    """One peer, as configured."""

    public_key: bytes
    """32 bytes."""
    preshared_key: bytes = field(default=bytes(KEY_SIZE), repr=False)
    """32 bytes; all zero: none."""
    endpoint: tuple[str, int] | None = None
    """Where the peer is: a host name or an address, and a UDP port. None: it has to come to us.

    An IPv6 address may have its zone behind a percent sign (RFC 4007, section 11)."""
    allowed_ips: tuple[IPv4Network | IPv6Network, ...] = ()
    """The addresses that the peer may send from, and whose packets are sent to it."""
    persistent_keepalive: int = 0
    """Seconds; 0: off."""
    name: str = ""
    """What people call it, in a store and in messages; the protocol knows no names."""
    enabled: bool = True
    """A store keeps one that is not, and its allowed IPs; an interface leaves it out."""


@dataclass(frozen=True)
class InterfaceConfig:
    """One interface with its peers, as configured."""

    private_key: bytes = field(default=bytes(KEY_SIZE), repr=False)
    """32 bytes; all zero: none, until the `wg` tool sets it."""
    listen_port: int = 0
    """UDP; 0: the system's choice."""
    fwmark: int = 0
    """SO_MARK of what is sent to peers; 0: none."""
    addresses: tuple[IPv4Interface | IPv6Interface, ...] = ()
    mtu: int = 1420
    """Bytes; 1500 less the 80 that IPv6, UDP and WireGuard take."""
    dns: tuple[str, ...] = ()
    """Name servers and search domains."""
    table: int | Literal["auto", "off"] = "auto"
    """Where the routes to the peers' allowed IPs go, see `system`."""
    pre_up: tuple[str, ...] = field(default=(), repr=False)
    """Commands of bash(1) to run before the interface is configured; "%i" is its name."""
    post_up: tuple[str, ...] = field(default=(), repr=False)
    pre_down: tuple[str, ...] = field(default=(), repr=False)
    post_down: tuple[str, ...] = field(default=(), repr=False)
    save_config: bool = False
    """Whether to write the file anew at the end, as things are then."""
    peers: tuple[PeerConfig, ...] = ()
