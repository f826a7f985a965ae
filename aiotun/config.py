"""DeviceConfig: what a device should be, checked before anything is opened."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

from .addresses import (
    Address,
    AddressLike,
    Route,
    RouteLike,
    check_metric,
    parse_addresses,
    parse_routes,
)
from .errors import (
    AddressError,
    ConfigError,
    MACError,
    MTUError,
    NameInvalidError,
    RouteError,
)
from .kinds import check_kind
from .options import (
    GROUPS,
    DarwinOptions,
    FreeBSDOptions,
    OpenBSDOptions,
    WindowsOptions,
    check_group,
)

__all__ = [
    "AS_FOUND",
    "DeviceConfig",
    "DeviceSettings",
    "KeptSettings",
    "Layer",
    "Offload",
    "check_id",
    "check_layer",
    "check_mtu",
    "check_mtu_v6",
    "check_name",
    "check_tx_queue_len",
    "make_config",
    "parse_mac",
]

Layer = Literal["tun", "tap"]
"""What a device carries: "tun" IP packets, "tap" Ethernet frames."""

Offload = bool | Literal["tcp", "udp"]
"""For which protocols super-packets are exchanged; True: all that the kernel offers."""

NAME_MAX = 15
"""IFNAMSIZ less the terminating NUL (linux/if.h; the BSDs and macOS have the same)."""

NAME_REFUSED = b"\0/: \t\n\v\f\r\xa0"
"""Bytes that dev_valid_name (net/core/dev.c) refuses; to it the Latin-1 no-break
space is white space, and with it some letters in UTF-8, such as "à"."""

ALIAS_MAX = 127
"""MAX_ADAPTER_NAME less the terminating NUL (wintun.h), in UTF-16 units."""

ALIAS_REFUSED = frozenset('\\/:*?"<>|')
"""What Windows takes in no name of a connection."""

MTU_MIN = 68
"""RFC 791: what every IPv4 link must carry; the kernel's lower bound for TUN and TAP."""

MTU_MIN_IPV6 = 1280
"""RFC 8200 section 5. Linux takes the IPv6 addresses off an interface with less."""

ID_MAX = 2**32 - 2
"""Of a user or a group: what is above is no id (uid_valid, linux/uidgid.h)."""

TX_QUEUE_LEN_MAX = 2**31 - 1
"""dev_change_tx_queue_len (net/core/dev.c); memory ends much sooner."""

MTU_MAX = {"tun": 65535, "tap": 65535 - 14}
"""drivers/net/tun.c: MAX_MTU, less the Ethernet header for TAP."""


@dataclass(frozen=True)
class DeviceConfig:
    """What a device should be. Invalid values raise a `ConfigError` at once.

    Where None is allowed it leaves the setting as the system chooses it, or as it
    stands on a persistent interface that is attached to.

    name: The interface's name, or a pattern with one "%d" that the system fills in.
    layer: "tun" for IP packets, "tap" for Ethernet frames.
    addresses: Any iterable of `AddressLike`, or a single one; a pair stands in a list,
        since it is an iterable itself. Kept as a tuple of `Address`.
    mtu: Bytes of an IP packet. The default is 1500: the system's, or ours on Windows.
    mtu_v6: Bytes of an IPv6 packet where that is to be less than `mtu`. On Linux the
        device has to be up for it.
    offload: Whether the kernel exchanges super-packets of up to 64 KiB: for all protocols
        that it can, for "tcp" or "udp" alone, or for none. Where the kernel has no such
        thing the device does without, and where other queues are open already it has what
        they have; `Device.offload` says what is in force.
    udp_zero_checksum: Whether UDP over IPv4 that has no checksum (VXLAN and other tunnels send
        such) is coalesced too when it is written. The kernel then sums it: what was coalesced
        arrives with checksums, what was not as it was written.
    up: Whether the interface is set up once it is configured; False sets it down.
    mac: MAC address of a TAP, as "02:00:00:00:00:01".
    tx_queue_len: Packets that wait for the program before the kernel drops. Linux has
        500 for a TUN and 1000 for a TAP.
    backpressure: Whether packets wait in the queueing discipline while the device's queue
        is full, instead of being dropped. Linux has it from 7.3 on; others drop.
    multi_queue: Whether the device can have several queues, see `Device.open_queue`.
    persistent: Whether the interface stays when nobody has it open any more. A new
        interface does not stay.
    owner: The user, by id or name, who may attach to the persistent interface.
    group: The group, by id or name, that may attach to it.
    exclusive: Whether to fail if the interface exists. Otherwise a persistent interface
        of that name is attached to.
    carrier: Whether the link shows a carrier. A new interface shows one.
    ipv6_quiet: Whether the interface gets no link-local IPv6 address. Then it sends no
        router solicitations that nobody asked for. It stays so when this program changes
        the MTU. If another one lowers it below 1280 and raises it again, IPv6 comes back
        with such an address.
    dad: Whether IPv6 addresses wait for duplicate address detection (RFC 4862). Otherwise
        they are usable at once. Detection makes sense on a TAP only.
    connected_routes: Whether an address brings a route to its network.
    metric: Metric of the connected routes, and of those in `routes` that name none.
    routes: Routes to be added with the device, which has to be up: any iterable of
        `RouteLike`, or a single one. Kept as a tuple of `Route`.
    namespace: The network namespace in which the device lives, while the program stays
        where it is: a name (of `ip netns`), a path (with a "/" in it), or the id of a
        process. None is the namespace of the calling thread.
    windows: What devices on Windows alone have; refused elsewhere.
    darwin: What devices on macOS alone have; refused elsewhere.
    openbsd: What devices on OpenBSD alone have; refused elsewhere.
    freebsd: What devices on FreeBSD alone have; refused elsewhere.
    """

    name: str | None = None
    layer: Layer = "tun"
    addresses: tuple[Address, ...] = field(default=())
    mtu: int | None = None
    mtu_v6: int | None = None
    offload: Offload = True
    udp_zero_checksum: bool = False
    up: bool | None = True
    mac: str | None = None
    tx_queue_len: int | None = None
    backpressure: bool = False
    multi_queue: bool = False
    persistent: bool | None = None
    owner: int | str | None = None
    group: int | str | None = None
    exclusive: bool = False
    carrier: bool | None = None
    ipv6_quiet: bool = False
    dad: bool = False
    connected_routes: bool = True
    metric: int | None = None
    routes: tuple[Route, ...] = field(default=())
    namespace: str | os.PathLike[str] | int | None = None
    windows: WindowsOptions | None = None
    darwin: DarwinOptions | None = None
    openbsd: OpenBSDOptions | None = None
    freebsd: FreeBSDOptions | None = None

    def __init__(
        self,
        *,
        name: str | None = None,
        layer: Layer = "tun",
        addresses: AddressLike | Iterable[AddressLike] = (),
        mtu: int | None = None,
        mtu_v6: int | None = None,
        offload: Offload = True,
        udp_zero_checksum: bool = False,
        up: bool | None = True,
        mac: str | None = None,
        tx_queue_len: int | None = None,
        backpressure: bool = False,
        multi_queue: bool = False,
        persistent: bool | None = None,
        owner: int | str | None = None,
        group: int | str | None = None,
        exclusive: bool = False,
        carrier: bool | None = None,
        ipv6_quiet: bool = False,
        dad: bool = False,
        connected_routes: bool = True,
        metric: int | None = None,
        routes: RouteLike | Iterable[RouteLike] = (),
        namespace: str | os.PathLike[str] | int | None = None,
        windows: WindowsOptions | None = None,
        darwin: DarwinOptions | None = None,
        openbsd: OpenBSDOptions | None = None,
        freebsd: FreeBSDOptions | None = None,
    ) -> None:
        assign = object.__setattr__  # the class is frozen
        assign(self, "name", name)
        assign(self, "layer", layer)
        assign(self, "addresses", parse_addresses(addresses))
        assign(self, "mtu", mtu)
        assign(self, "mtu_v6", mtu_v6)
        assign(self, "offload", offload if isinstance(offload, str) else bool(offload))
        assign(self, "udp_zero_checksum", bool(udp_zero_checksum))
        assign(self, "up", None if up is None else bool(up))
        assign(self, "mac", None if mac is None else parse_mac(mac))
        assign(self, "tx_queue_len", tx_queue_len)
        assign(self, "backpressure", bool(backpressure))
        assign(self, "multi_queue", bool(multi_queue))
        assign(self, "persistent", None if persistent is None else bool(persistent))
        assign(self, "owner", owner)
        assign(self, "group", group)
        assign(self, "exclusive", bool(exclusive))
        assign(self, "carrier", None if carrier is None else bool(carrier))
        assign(self, "ipv6_quiet", bool(ipv6_quiet))
        assign(self, "dad", bool(dad))
        assign(self, "connected_routes", bool(connected_routes))
        assign(self, "metric", metric)
        assign(self, "routes", parse_routes(routes))
        assign(self, "namespace", namespace)
        assign(self, "windows", windows)
        assign(self, "darwin", darwin)
        assign(self, "openbsd", openbsd)
        assign(self, "freebsd", freebsd)
        self._check()

    def _check(self) -> None:
        check_layer(self.layer)
        if self.offload not in (False, True, "tcp", "udp"):
            raise ConfigError(f'offload must be a bool, "tcp" or "udp", not {self.offload!r}')
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
        if self.mtu_v6 is not None:
            check_mtu_v6(self.mtu_v6, self.layer)
        if self.mac is not None and self.layer == "tun":
            raise MACError("a TUN has no MAC address: leave it out, or make a TAP")
        if self.tx_queue_len is not None:
            check_tx_queue_len(self.tx_queue_len)
        for whose in (self.owner, self.group):
            if whose is not None:
                check_id(whose)
        if self.metric is not None:
            check_metric(self.metric)
        for group in GROUPS:
            if getattr(self, group) is not None:
                check_group(group, getattr(self, group))
        if self.routes and self.up is False:
            raise RouteError("routes need a device that is up: add them later, or leave up alone")


class DeviceSettings(TypedDict, total=False):
    """The fields of `DeviceConfig` as keywords."""

    name: str | None
    layer: Layer
    addresses: AddressLike | Iterable[AddressLike]
    mtu: int | None
    mtu_v6: int | None
    offload: Offload
    udp_zero_checksum: bool
    up: bool | None
    mac: str | None
    tx_queue_len: int | None
    backpressure: bool
    multi_queue: bool
    persistent: bool | None
    owner: int | str | None
    group: int | str | None
    exclusive: bool
    carrier: bool | None
    ipv6_quiet: bool
    dad: bool
    connected_routes: bool
    metric: int | None
    routes: RouteLike | Iterable[RouteLike]
    namespace: str | os.PathLike[str] | int | None
    windows: WindowsOptions | None
    darwin: DarwinOptions | None
    openbsd: OpenBSDOptions | None
    freebsd: FreeBSDOptions | None


class KeptSettings(TypedDict, total=False):
    """Those that go on counting while a device is used, and that no system can be asked for."""

    udp_zero_checksum: bool
    ipv6_quiet: bool
    dad: bool
    connected_routes: bool
    metric: int | None


AS_FOUND: dict[str, Any] = {
    "addresses": (),
    "mtu": None,
    "mtu_v6": None,
    "up": None,
    "mac": None,
    "tx_queue_len": None,
    "persistent": None,
    "owner": None,
    "group": None,
    "carrier": None,
    "routes": (),
    "namespace": None,
}
"""What a device of an interface that is there already leaves as it is."""


def make_config(config: DeviceConfig | None, settings: DeviceSettings) -> DeviceConfig:
    """The one of the two ways to say what a device should be that was used."""
    if config is None:
        return DeviceConfig(**settings)
    if settings:
        raise ConfigError(
            f"config= and {', '.join(settings)} were both given: "
            "use dataclasses.replace(config, ...) to change single values"
        )
    check_kind(config, "config=", DeviceConfig)
    return config


def check_layer(layer: Layer) -> None:
    """Raise `ConfigError` unless it is one."""
    if layer not in ("tun", "tap"):
        raise ConfigError(f'layer must be "tun" or "tap", not {layer!r}')


def check_mtu_v6(mtu: int, layer: Layer) -> None:
    """Raise `MTUError` unless IPv6 can have the MTU on a device of that layer."""
    check_mtu(mtu, layer)
    if mtu < MTU_MIN_IPV6:
        raise MTUError(f"mtu_v6 {mtu} is too small: IPv6 needs {MTU_MIN_IPV6}")


def check_tx_queue_len(length: int) -> None:
    """Raise `ConfigError` unless a queue can have that many packets."""
    number = isinstance(length, int) and not isinstance(length, bool)
    if not number or not 1 <= length <= TX_QUEUE_LEN_MAX:
        raise ConfigError(f"tx_queue_len {length!r} is out of range: 1 to {TX_QUEUE_LEN_MAX}")


def check_id(whose: int | str) -> None:
    """Raise `ConfigError` unless it may be the name or number of a user or group."""
    number = isinstance(whose, int) and not isinstance(whose, bool)
    if not isinstance(whose, str) and not (number and 0 <= whose <= ID_MAX):
        raise ConfigError(f"{whose!r} is neither a name nor a number from 0 to {ID_MAX}")


def parse_mac(mac: str) -> str:
    """A MAC address with two digits a byte. Raises `MACError` for what no interface can have."""
    if not isinstance(mac, str) or MAC.fullmatch(mac) is None:
        raise MACError(f'{mac!r} is not a MAC address: write it like "02:00:00:00:00:01"')
    normal = mac.lower().replace("-", ":")
    if int(normal[:2], 16) & 1 or not normal.strip("0:"):
        raise MACError(f"{mac!r} cannot be the MAC of an interface: it is zero or for groups")
    return normal


MAC = re.compile(r"[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}")


def check_name(name: str) -> None:
    """Raise `NameInvalidError` unless the system would take the name."""
    if not isinstance(name, str):
        raise NameInvalidError(f"an interface name is a str, not {name!r}")
    if sys.platform == "win32":
        _check_alias(name)
    else:
        _check_device_name(name)
    if "%" in name and (name.count("%") > 1 or "%d" not in name):
        raise NameInvalidError(
            f'interface name {name!r} is not possible: a "%" stands only in one "%d", '
            "where the system puts a number"
        )


def _check_alias(name: str) -> None:
    """The name of a connection of Windows."""
    units = len(name.encode("utf-16-le", "surrogatepass")) // 2
    if not 0 < units <= ALIAS_MAX or not name.isprintable() or set(name) & ALIAS_REFUSED:
        raise NameInvalidError(
            f"interface name {name!r} is not possible: 1 to {ALIAS_MAX} characters, "
            f"and none of {' '.join(sorted(ALIAS_REFUSED))}"
        )


def _check_device_name(name: str) -> None:
    """dev_valid_name of Linux; the BSDs and macOS have the same."""
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


def check_mtu(mtu: int, layer: Layer) -> None:
    """Raise `MTUError` unless a device of that layer can have the MTU."""
    if isinstance(mtu, bool) or not isinstance(mtu, int):
        raise MTUError(f"mtu must be an int, not {mtu!r}")
    if not MTU_MIN <= mtu <= MTU_MAX[layer]:
        raise MTUError(f"mtu {mtu} is out of range: {MTU_MIN} to {MTU_MAX[layer]} for a {layer}")
