"""Options that one operating system alone has: a group for each, a field of `DeviceConfig`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, ClassVar

from .errors import AddressError, ConfigError

if TYPE_CHECKING:
    import uuid

__all__ = [
    "GROUPS",
    "DarwinOptions",
    "FreeBSDOptions",
    "OpenBSDOptions",
    "SystemOptions",
    "WindowsOptions",
    "check_group",
]


@dataclass(frozen=True)
class SystemOptions:
    """What the groups have in common."""

    system: ClassVar[str]
    """The system's name."""
    platform: ClassVar[str]
    """How `sys.platform` begins there."""


RING_MIN, RING_MAX = 0x20000, 0x4000000
"""WINTUN_MIN_RING_CAPACITY and WINTUN_MAX_RING_CAPACITY (wintun.h), in bytes."""

DESCRIPTION_MAX = 127
"""MAX_POOL less the terminating NUL (wintun.h), in UTF-16 units."""


@dataclass(frozen=True)
class WindowsOptions(SystemOptions):
    """What a device on Windows has beyond the rest of `DeviceConfig`.

    A TAP, by tap-windows6, has its DNS of these; the others are about Wintun.

    description: What the adapter is called besides its name, at most 127 characters;
        Wintun's tunnel type.
    guid: The adapter's GUID. None derives it from the name, so that Windows knows the
        network again and does not make another profile each time.
    ring_capacity: Bytes of each of Wintun's two rings: a power of two from 128 KiB to 64 MiB.
    wintun_file: Path of the DLL. None finds wintun.dll beside the program, and then in the
        system's folder; the current directory is never looked in.
    delete_driver: Whether closing the device removes Wintun's driver from the system, if no
        other adapter uses it.
    dns: DNS servers of the interface, of both families. Kept as a tuple.
    dns_search: Domains in which names without a dot are looked up. Kept as a tuple.
    """

    system = "Windows"
    platform = "win32"

    description: str = "aiotun"
    guid: uuid.UUID | None = None
    ring_capacity: int = 8 << 20
    wintun_file: str | None = None
    delete_driver: bool = False
    dns: tuple[IPv4Address | IPv6Address, ...] = field(default=())
    dns_search: tuple[str, ...] = field(default=())

    def __init__(
        self,
        *,
        description: str = "aiotun",
        guid: str | uuid.UUID | None = None,
        ring_capacity: int = 8 << 20,
        wintun_file: str | os.PathLike[str] | None = None,
        delete_driver: bool = False,
        dns: Iterable[str | IPv4Address | IPv6Address] = (),
        dns_search: Iterable[str] = (),
    ) -> None:
        assign = object.__setattr__  # the class is frozen
        assign(self, "description", _check_description(description))
        assign(self, "guid", _parse_guid(guid))
        assign(self, "ring_capacity", _check_ring(ring_capacity))
        assign(self, "wintun_file", None if wintun_file is None else os.fspath(wintun_file))
        assign(self, "delete_driver", bool(delete_driver))
        assign(self, "dns", parse_dns(dns))
        assign(self, "dns_search", check_domains(dns_search))


@dataclass(frozen=True)
class DarwinOptions(SystemOptions):
    """What a device on macOS has beyond the rest of `DeviceConfig`.

    peer_feth: Of a TAP, the name of the feth that is the program's side of the pair, as
        "feth1". None lets the system choose.
    receive_many: Whether many packets of a TUN are read in one call (recvmsg_x, which is private),
        by the native module; refused where the call is not seen to work over the loopback. Nobody
        has run it on a real kernel yet, so it is off unless it is asked for here.
    """

    system = "macOS"
    platform = "darwin"

    peer_feth: str | None = None
    receive_many: bool = False

    def __post_init__(self) -> None:
        name = self.peer_feth
        if name is not None and not (isinstance(name, str) and FETH.fullmatch(name)):
            raise ConfigError(f'peer_feth must be "feth" and a number, not {name!r}')


FETH = re.compile(r"feth(0|[1-9][0-9]{0,9})")


@dataclass(frozen=True)
class OpenBSDOptions(SystemOptions):
    """What a device on OpenBSD has beyond the rest of `DeviceConfig`.

    offload: Whether the kernel exchanges TCP super-packets (OpenBSD 7.7 and later). Nobody has
        seen it on a real kernel yet, so it is off unless it is asked for here.
    """

    system = "OpenBSD"
    platform = "openbsd"

    offload: bool = False


@dataclass(frozen=True)
class FreeBSDOptions(SystemOptions):
    """What a device on FreeBSD has beyond the rest of `DeviceConfig`.

    offload: Whether the kernel hands out TCP super-packets of a TAP (FreeBSD 13 and later); a
        TUN has none, and none are written. Nobody has seen it on a real kernel yet, so it is off
        unless it is asked for here.
    """

    system = "FreeBSD"
    platform = "freebsd"

    offload: bool = False


GROUPS: dict[str, type[SystemOptions]] = {
    "windows": WindowsOptions,
    "darwin": DarwinOptions,
    "openbsd": OpenBSDOptions,
    "freebsd": FreeBSDOptions,
}
"""Each field of `DeviceConfig` that is such a group."""


def check_group(name: str, options: object) -> None:
    """Raise `ConfigError` unless that group may be given on this system."""
    kind = GROUPS[name]
    if not isinstance(options, kind):
        raise ConfigError(f"{name} must be a {kind.__name__}, not {options!r}")
    if not sys.platform.startswith(kind.platform):
        raise ConfigError(
            f"{name}= has the options of devices on {kind.system}: leave it out on {sys.platform}"
        )


def parse_dns(
    servers: Iterable[str | IPv4Address | IPv6Address],
) -> tuple[IPv4Address | IPv6Address, ...]:
    """The addresses of DNS servers. Raises `AddressError`."""
    if isinstance(servers, str):
        servers = [servers]
    parsed = []
    for server in servers:
        try:
            parsed.append(ip_address(server))
        except ValueError as exc:
            raise AddressError(f"{server!r} is not the address of a DNS server") from exc
    return tuple(parsed)


def check_domains(domains: Iterable[str]) -> tuple[str, ...]:
    """Domains to search. Raises `ConfigError` for what would end one in the list of them."""
    domains = (domains,) if isinstance(domains, str) else tuple(domains)
    for domain in domains:
        if not isinstance(domain, str) or not domain or set(domain) & set(", ;\0\t\r\n"):
            raise ConfigError(f"{domain!r} is not a domain to search")
    return domains


def _check_description(description: str) -> str:
    if not isinstance(description, str):
        raise ConfigError(f"description must be a str, not {description!r}")
    units = len(description.encode("utf-16-le", "surrogatepass")) // 2
    if not 0 < units <= DESCRIPTION_MAX or "\0" in description:
        raise ConfigError(
            f"description {description!r} is not possible: "
            f"1 to {DESCRIPTION_MAX} characters, no NUL"
        )
    return description


def _parse_guid(guid: str | uuid.UUID | None) -> uuid.UUID | None:
    if guid is None:
        return None
    import uuid  # few programs name one

    try:
        return uuid.UUID(str(guid))
    except ValueError as exc:
        raise ConfigError(f"{guid!r} is not a GUID") from exc


def _check_ring(capacity: int) -> int:
    number = isinstance(capacity, int) and not isinstance(capacity, bool)
    if not number or not RING_MIN <= capacity <= RING_MAX or capacity & (capacity - 1):
        raise ConfigError(
            f"ring_capacity {capacity!r} is not possible: "
            f"a power of two from {RING_MIN} to {RING_MAX} bytes"
        )
    return capacity
