"""Linux, and the MODELS of macOS and the BSDs: devices are made there, and the kernel is asked.

What the kernel says is asked past the package: of Linux by ioctls and /proc, of a model itself.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import outside
from models.devices import KERNELS, open_on_model
from models.kernel import ModelKernel

import aiotun
from aiotun.config import Layer
from aiotun.platforms.bsd.headers import common
from aiotun.testing import Namespace

__all__ = ["BSDS", "SYSTEMS", "Linux", "Model", "Seen", "System", "made"]

BSDS = [name for name in KERNELS if name != "darwin"]

SYSTEMS = ["linux", *KERNELS]

IFA_F_NODAD = 0x02
"""linux/if_addr.h"""


class Seen(NamedTuple):
    """What the kernel says of an interface."""

    mtu: int
    up: bool
    mac: str | None
    ipv4: list[str]
    """Addresses with their prefixes, of Linux the first alone; peers are left out."""
    ipv6: set[str]
    """But for those that are link-local."""
    routes: set[str]
    """Of IPv4, those that the system made included."""


class System:
    """Devices are opened on it, and closed by `close`."""

    name: str
    kinds: Mapping[Layer, str]
    """What the names of interfaces begin with."""

    def __init__(self) -> None:
        self._devices = ExitStack()

    path = ""
    """Of another network namespace, where there are such."""

    def open(self, **settings: Any) -> aiotun.Device:
        """In texts "{kind}" stands for what names begin with, and "{path}" for `path`."""
        kind = self.kinds[settings.get("layer", "tun")]
        for name in {"name", "namespace"} & settings.keys():
            settings[name] = settings[name].format(kind=kind, path=self.path)
        return self._devices.enter_context(self._open(settings))

    def _open(self, settings: dict[str, Any]) -> aiotun.Device:
        raise NotImplementedError

    def names(self) -> set[str]:
        """Of the interfaces that there are."""
        raise NotImplementedError

    def see(self, name: str) -> Seen:
        raise NotImplementedError

    def gives_link_local(self, name: str) -> bool:
        """Whether the interface has, or will have, an address that nobody gave it."""
        raise NotImplementedError

    def detects_duplicates(self, name: str) -> bool:
        """Whether its IPv6 address waited, or waits, for that."""
        raise NotImplementedError

    def delete(self, name: str) -> None:
        """As another program does."""
        raise NotImplementedError

    def close(self) -> None:
        self._devices.close()


class Linux(System):
    """The kernel that the tests run on."""

    name = "linux"

    def __init__(self) -> None:
        super().__init__()
        self.kinds = {"tun": "tun", "tap": "tap"}
        self.namespace, self.other = Namespace(), Namespace()
        self.path = f"/proc/{os.getpid()}/fd/{self.other.fileno()}"

    def _open(self, settings: dict[str, Any]) -> aiotun.Device:
        return self.namespace.run(aiotun.Device, **settings)

    def names(self) -> set[str]:
        return {name for _, name in self.namespace.run(socket.if_nameindex)} - {"lo"}

    def see(self, name: str) -> Seen:
        return self.namespace.run(self._see, name)

    @staticmethod
    def _see(name: str) -> Seen:
        try:
            address, _, netmask = outside.ipv4(name)
        except OSError:  # EADDRNOTAVAIL
            ipv4 = []
        else:
            ipv4 = [f"{address}/{int(IPv4Address(netmask)).bit_count()}"]
        return Seen(
            outside.mtu(name),
            outside.is_up(name),
            outside.mac(name),
            ipv4,
            outside.ipv6(name),
            outside.routes(name),
        )

    def _ipv6(self, name: str) -> Iterator[list[str]]:
        """What /proc has of each address: digits, index, prefix, scope, flags, name."""
        text = self.namespace.run(Path("/proc/thread-self/net/if_inet6").read_text)
        return (line.split() for line in text.splitlines() if line.split()[-1] == name)

    def gives_link_local(self, name: str) -> bool:
        return any(scope == "20" for _, _, _, scope, _, _ in self._ipv6(name))

    def detects_duplicates(self, name: str) -> bool:
        return not any(int(flags, 16) & IFA_F_NODAD for _, _, _, _, flags, _ in self._ipv6(name))

    def delete(self, name: str) -> None:
        self.namespace.run(outside.delete, name)

    def close(self) -> None:
        super().close()
        self.namespace.close()
        self.other.close()


class Model(System):
    """Of one of the other systems' kernels."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.kernel: ModelKernel = KERNELS[name]()
        self.kinds = self.kernel.system.kinds

    def _open(self, settings: dict[str, Any]) -> aiotun.Device:
        with mock.patch.object(sys, "platform", self.name):
            return open_on_model(self.kernel, **settings)

    def names(self) -> set[str]:
        return {each.name for each in self.kernel.interfaces.values()}

    def see(self, name: str) -> Seen:
        interface = self.kernel.find(name)
        given = [(f"{each.ip}/{each.prefix}", each.ip) for each in interface.addresses]
        return Seen(
            interface.mtu,
            bool(interface.flags & common.IFF_UP),
            interface.mac.hex(":") or None,
            [text for text, ip in given if ip.version == 4],
            {text for text, ip in given if ip.version == 6 and not ip.is_link_local},
            {
                f"{route.destination}/{route.prefix}"
                + (f" via {route.gateway}" if route.gateway else "")
                for route in self.kernel.routes
                if route.index == interface.index and route.destination.version == 4
            },
        )

    def gives_link_local(self, name: str) -> bool:
        flag = getattr(self.kernel.headers, "ND6_IFF_AUTO_LINKLOCAL", 0)
        return bool(self.kernel.find(name).nd_flags & flag)

    def detects_duplicates(self, name: str) -> bool:
        (given,) = (each for each in self.kernel.find(name).addresses if each.ip.version == 6)
        return not given.flags & 0x20  # IN6_IFF_NODAD, where there is such a flag

    def delete(self, name: str) -> None:
        self.kernel.remove(self.kernel.find(name))

    def close(self) -> None:
        super().close()
        assert not self.kernel.listeners
        for name in self.names():  # what stays
            self.delete(name)


@contextmanager
def made(name: str) -> Iterator[System]:
    """The system of that name."""
    system = Linux() if name == "linux" else Model(name)
    try:
        yield system
    finally:
        system.close()
