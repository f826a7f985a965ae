"""Windows: routes and DNS by iphlpapi, as WireGuard for Windows makes them.

A route to each of the peers' networks stands at the interface. Where all there is leads to them,
its metric is 0, before which other default routes give way. Our own datagrams then go out of the
interface that these lead to, whatever the routes say: the socket is bound to it (IP_UNICAST_IF),
and bound anew when another one is the default.
"""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import contextlib
import logging
import socket
import struct
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from ...addresses import Route
from ...errors import NotPermittedError, RouteError, TunError, UnsupportedError
from ...platforms import windows
from ...platforms.windows.routing import RouteChanges, default_interface
from ..config import InterfaceConfig
from ..core.allowed_ips import AllowedIPs, Network
from .base import beyond, everything, in_one_table, plain_address, split_dns
from .following import FollowingSystem

if TYPE_CHECKING:
    from ..endpoint import WireGuard

__all__ = ["Windows"]

logger = logging.getLogger("aiotun.wireguard")

IP_UNICAST_IF = IPV6_UNICAST_IF = 31
"""ws2ipdef.h: the index of the interface that is sent out of, 0 for what the routes say."""

LOOPBACK = 1
"""The index of Windows' loopback interface (IFI_UNSPECIFIED + 1), by which nothing leaves."""


class Windows(FollowingSystem):
    """One interface's routes, and where its socket sends."""

    def __init__(self, wireguard: WireGuard) -> None:
        interface = wireguard.device.interface
        assert isinstance(interface, windows.WindowsInterface)
        self._ip = windows.ip_helper()
        super().__init__(RouteChanges(self._ip))
        self._wireguard = wireguard
        self._interface = interface
        self._bound = (0, 0)
        """The indices of the interfaces that IPv4 and IPv6 go out of."""
        self._is_first = False
        self._has_dns = False

    def with_mark(self, config: InterfaceConfig, present: int = 0) -> InterfaceConfig:
        """As it is: there is no mark."""
        return in_one_table(config, "Windows")

    def update(self, config: InterfaceConfig, endpoints: Collection[str]) -> None:
        wanted = set(beyond(config))
        with self._lock:
            for network in self._networks - wanted:
                self._networks.discard(network)
                with contextlib.suppress(RouteError):  # others have removed it
                    self._interface.remove_route(Route(network))
            self._hosts = endpoints
            self._keep_out(wanted)
            if bool(everything(wanted)) is not self._is_first:
                self._is_first = not self._is_first
                self._interface.set_metric(0 if self._is_first else None)
            for network in sorted(wanted - self._networks, key=str):
                try:
                    self._interface.add_route(Route(network))
                except UnsupportedError as exc:  # there is no IPv6
                    logger.warning("%s", exc)
                else:
                    self._networks.add(network)

    def _keep_out(self, networks: Collection[Network]) -> None:
        """Send out of the default interface if these networks would catch what we send."""
        ours = AllowedIPs[Network]()
        for network in networks:
            ours.set(network, [network])
        hosts = [plain_address(host) for host in self._hosts]
        caught: set[int] = {network.version for network in everything(networks)}
        caught |= {ip.version for ip in hosts if ours.find(ip.packed) is not None}
        bound = (self._way_out(4, caught), self._way_out(6, caught))
        if bound != self._bound:
            self._bound = bound
            self._wireguard.prepare_sockets(self._prepare)

    def _way_out(self, version: int, caught: set[int]) -> int:
        """Where there is none it leads nowhere, lest datagrams go round in circles."""
        if version not in caught:
            return 0
        return default_interface(self._ip, version, self._interface.luid) or LOOPBACK

    def _prepare(self, sock: socket.socket) -> None:
        v4, v6 = self._bound
        # In the byte order of the network, as "IPPROTO_IP Socket Options" has it.
        sock.setsockopt(socket.IPPROTO_IP, IP_UNICAST_IF, struct.pack("!I", v4))
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_UNICAST_IF, struct.pack("=I", v6))

    def set_dns(self, words: Iterable[str]) -> str | None:
        servers, domains = split_dns(words)
        self._has_dns = True
        try:
            self._interface.set_dns(servers, [name for name in domains if not name.startswith("~")])
        except UnsupportedError:
            return "Windows 10, version 2004, or later"
        except NotPermittedError as exc:  # some products that watch a machine forbid it
            return str(exc)
        return None

    def close(self) -> None:
        if self._has_dns:
            try:
                self._interface.set_dns(())
            except TunError as exc:
                logger.warning("%s", exc)
        with self._lock:
            self._changes.close()
            for network in self._networks:
                with contextlib.suppress(TunError):  # the adapter may be gone
                    self._interface.remove_route(Route(network))
            self._networks.clear()
