"""DeviceConfig: what a device should be, checked before anything is opened."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Literal, NamedTuple, Union, cast

from .errors import AddressError, ConfigError, MTUError, NameInvalidError

__all__ = ["Address", "AddressLike", "DeviceConfig", "Layer"]

Layer = Literal["tun", "tap"]
"""What a device carries: "tun" IP packets, "tap" Ethernet frames."""

NAME_MAX = 15
"""IFNAMSIZ less the terminating NUL (linux/if.h; the BSDs and macOS have the same)."""

NAME_REFUSED = b"\0/: \t\n\v\f\r\xa0"
"""Bytes that dev_valid_name (net/core/dev.c) refuses; to it the Latin-1 no-break
space is white space, and with it some letters in UTF-8, such as "à"."""

MTU_MIN = 68
"""RFC 791: what every IPv4 link must carry; the kernel's lower bound for TUN and TAP."""

MTU_MIN_IPV6 = 1280
"""RFC 8200 section 5. Linux takes the IPv6 addresses off an interface with less."""

MTU_MAX = {"tun": 65535, "tap": 65535 - 14}
"""drivers/net/tun.c: MAX_MTU, less the Ethernet header for TAP."""


class Address(NamedTuple):
    """One address of an interface.

    `interface` is the local address with its prefix length. With a `peer` the
    link is point to point: the prefix length is the peer's, as in
    `ip address add LOCAL peer PEER/PREFIX`.
    """

    interface: IPv4Interface | IPv6Interface
    peer: IPv4Address | IPv6Address | None = None

    @classmethod
    def parse(cls, value: AddressLike) -> Address:
        """Read any of the forms that `AddressLike` names. Raises `AddressError`."""
        if isinstance(value, str):
            words = value.split()
            if len(words) == 3 and words[1] == "peer":
                return cls._with_peer(words[0], words[2])
            return cls(_interface(value))
        if isinstance(value, tuple) and len(value) == 2:
            local, peer = value
            return cls(_interface(local)) if peer is None else cls._with_peer(local, peer)
        return cls(_interface(value))

    @classmethod
    def _with_peer(cls, local: object, peer: object) -> Address:
        own, other = _interface(local), _interface(peer)
        if own.version != other.version:
            raise AddressError(f"address {local} and its peer {peer} are of different IP versions")
        full = own.max_prefixlen
        prefixes = {i.network.prefixlen for i in (own, other)} - {full}
        if len(prefixes) > 1:
            raise AddressError(f"address {local} and its peer {peer} name different prefix lengths")
        prefix = prefixes.pop() if prefixes else full
        peer_ip = None if other.ip == own.ip else other.ip
        return cls(ipaddress.ip_interface(f"{own.ip}/{prefix}"), peer_ip)

    def __str__(self) -> str:
        if self.peer is None:
            return str(self.interface)
        return f"{self.interface.ip} peer {self.peer}/{self.interface.network.prefixlen}"


AddressLike = Union[
    str,
    IPv4Interface,
    IPv6Interface,
    Address,
    "tuple[str | IPv4Interface | IPv6Interface, str | IPv4Address | IPv6Address | None]",
]
"""An address as users write it: "10.9.0.1/24", "10.9.0.1 peer 10.9.0.2/32",
an `ipaddress` interface, an `Address`, or a pair of local address and peer."""


def _interface(value: object) -> IPv4Interface | IPv6Interface:
    try:
        if not isinstance(value, (str, IPv4Address, IPv6Address)):  # ipaddress reads numbers too
            raise ValueError("neither text nor an address")
        result = ipaddress.ip_interface(value)
    except ValueError as exc:
        raise AddressError(
            f"{value!r} is not an address: write it with its prefix length, "
            'like "10.9.0.1/24", "fd09::1/64" or "10.9.0.1 peer 10.9.0.2/32"'
        ) from exc
    if getattr(result, "scope_id", None):
        raise AddressError(f"{value!r} names a zone: an address goes to the device it is given to")
    return result


@dataclass(frozen=True)
class DeviceConfig:
    """What a device should be. Invalid values raise a `ConfigError` at once."""

    name: str | None = None
    """Interface name, or a pattern with one "%d" that the system fills in; None: its choice."""

    layer: Layer = "tun"

    addresses: tuple[Address, ...] = field(default=())
    """Any iterable of `AddressLike`, or one (a pair stands in a list, being an iterable
    itself); kept as a tuple of `Address`."""

    mtu: int | None = None
    """Bytes; None leaves the system's default, 1500."""

    offload: bool = True
    """Let the kernel exchange super-packets of up to 64 KiB. Where the kernel has
    no such thing, or only for some protocols, the device does without; what is
    in force stands in `Device.offload`."""

    up: bool = True
    """Whether to set the interface up once it is configured."""

    def __init__(
        self,
        *,
        name: str | None = None,
        layer: Layer = "tun",
        addresses: AddressLike | Iterable[AddressLike] = (),
        mtu: int | None = None,
        offload: bool = True,
        up: bool = True,
    ) -> None:
        assign = object.__setattr__  # the class is frozen
        assign(self, "name", name)
        assign(self, "layer", layer)
        assign(self, "addresses", _parse_addresses(addresses))
        assign(self, "mtu", mtu)
        assign(self, "offload", bool(offload))
        assign(self, "up", bool(up))
        self._check()

    def _check(self) -> None:
        if self.layer not in ("tun", "tap"):
            raise ConfigError(f'layer must be "tun" or "tap", not {self.layer!r}')
        if self.name is not None:
            check_name(self.name)
        seen = set()
        for address in self.addresses:
            if address.interface.ip in seen:
                raise AddressError(f"address {address.interface.ip} stands twice")
            seen.add(address.interface.ip)
        if self.mtu is not None:
            check_mtu(self.mtu, self.layer)
            if self.mtu < MTU_MIN_IPV6 and any(a.interface.version == 6 for a in self.addresses):
                raise MTUError(
                    f"mtu {self.mtu} is too small for IPv6, which needs {MTU_MIN_IPV6}: "
                    "raise it or leave out the IPv6 addresses"
                )


def check_name(name: str) -> None:
    """Raise `NameInvalidError` unless the kernel would take the name (dev_valid_name)."""
    if not isinstance(name, str):
        raise NameInvalidError(f"an interface name is a str, not {name!r}")
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError as exc:
        raise NameInvalidError(f"interface name {name!r} is not possible: {exc.reason}") from exc
    if not encoded:
        raise NameInvalidError("the interface name is empty: leave it out to get one chosen")
    if len(encoded) > NAME_MAX:
        raise NameInvalidError(
            f"interface name {name!r} has {len(encoded)} bytes, {NAME_MAX} are possible: shorten it"
        )
    if encoded in (b".", b"..") or any(byte in NAME_REFUSED for byte in encoded):
        raise NameInvalidError(
            f"interface name {name!r} is not possible: no '/', ':', NUL or white space, "
            "and neither '.' nor '..'"
        )
    if "%" in name and (name.count("%") > 1 or "%d" not in name):
        raise NameInvalidError(
            f'interface name {name!r} is not possible: a "%" stands only in one "%d", '
            "where the system puts a number"
        )


def check_mtu(mtu: int, layer: Layer) -> None:
    """Raise `MTUError` unless a device of that layer can have the MTU."""
    if isinstance(mtu, bool) or not isinstance(mtu, int):
        raise MTUError(f"mtu must be an int, not {mtu!r}")
    if not MTU_MIN <= mtu <= MTU_MAX[layer]:
        raise MTUError(f"mtu {mtu} is out of range: {MTU_MIN} to {MTU_MAX[layer]} for a {layer}")


def _parse_addresses(values: AddressLike | Iterable[AddressLike]) -> tuple[Address, ...]:
    if isinstance(values, (str, IPv4Interface, IPv6Interface, Address)):
        return (Address.parse(values),)
    if not isinstance(values, Iterable):
        raise AddressError(f"{values!r} is neither an address nor several")
    return tuple(Address.parse(value) for value in cast("Iterable[AddressLike]", values))
