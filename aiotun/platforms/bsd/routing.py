"""The routing socket: routes added and removed, and where the kernel announces what changed."""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import errno
import itertools
import os

from ...addresses import Route
from ...errors import NotPermittedError, RouteError
from .base import System
from .headers.common import (
    AF_UNSPEC,
    CTL_NET,
    NET_RT_DUMP,
    RTF_STATIC,
    RTM_ADD,
    RTM_DELETE,
    SOCK_RAW,
)
from .messages import (
    Interfaces,
    RouteMessage,
    decode_interfaces,
    decode_routes,
    encode_route,
)
from .sockaddrs import link_layer, to_sockaddr

__all__ = ["Routing"]

_sequence = itertools.count(1)


class Routing:
    """The tables of the kernel, and changes to its routes. Calls block for some microseconds."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._family: int = system.headers.AF_ROUTE

    def interfaces(self, index: int) -> Interfaces:
        """What there is to know of an interface; nothing if it is not there."""
        table = self._table(self._system.interface_list, index)
        return decode_interfaces(table, self._system)

    def table(self) -> list[RouteMessage]:
        """All routes that there are."""
        return decode_routes(self._table(NET_RT_DUMP, 0), self._system)

    def routes(self, index: int) -> list[Route]:
        """Those to the interface that somebody added, not those that the system made."""
        return [
            message.route
            for message in self.table()
            if message.index == index and message.flags & RTF_STATIC and message.route is not None
        ]

    def _table(self, which: int, argument: int) -> bytes:
        path = CTL_NET, self._family, 0, AF_UNSPEC, which, argument
        try:
            return self._system.kernel.sysctl(path)
        except OSError as exc:
            if exc.errno in (errno.ENOENT, errno.ENXIO):  # there is no such interface
                return b""
            raise

    def add(self, route: Route, index: int, flags: int = 0) -> None:
        """Raises `RouteError` when there is such a route already, or the system refuses it."""
        self._change(RTM_ADD, route, index, "added", flags)

    def remove(self, route: Route, index: int) -> None:
        """Raises `RouteError` when it is not there."""
        self._change(RTM_DELETE, route, index, "removed")

    def _change(self, kind: int, route: Route, index: int, done: str, flags: int = 0) -> None:
        kernel = self._system.kernel
        message = encode_route(
            kind,
            route,
            self._interface(route, index),
            index=index,
            seq=next(_sequence) & 0x7FFF_FFFF,
            pid=os.getpid(),
            system=self._system,
            flags=flags,
        )
        fd = kernel.socket(self._family, SOCK_RAW)
        try:
            kernel.write(fd, message)  # its own errno is the answer's (route(4))
        except PermissionError as exc:
            raise NotPermittedError(
                exc.errno or errno.EPERM,
                "this process may not change routes",
                remedies=("run as root",),
            ) from exc
        except OSError as exc:
            reason, remedies = self._reason(exc, route)
            raise RouteError(
                f"route {route} cannot be {done}: {reason}", exc.errno, remedies=remedies
            ) from exc
        finally:
            kernel.close(fd)

    def _reason(self, exc: OSError, route: Route) -> tuple[str | None, tuple[str, ...]]:
        """What the error means for a route that was to be added or removed, and what helps."""
        if exc.errno == errno.EEXIST:
            for each in self.table():
                if each.route is not None and each.route.destination == route.destination:
                    link = self.interfaces(each.index).links.get(each.index)
                    name = link.name if link else each.index
                    return f"{each.route} by {name} exists already", ("remove that one first",)
            return "one to this network exists already", ("remove that one first",)
        if exc.errno == errno.ESRCH:
            return "it does not exist", ()
        if exc.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
            remedy = "add an address or a route first whose network has the gateway"
            return "nothing leads to its gateway", (remedy,)
        return exc.strerror, ()

    def _interface(self, route: Route, index: int) -> bytes:
        """The sockaddr that stands for the interface in a route without a gateway."""
        if self._system.names_routes_by_index or route.gateway is not None:
            return link_layer(index, self._system)
        for address in self.interfaces(index).addresses.get(index, ()):
            if address.interface.version == route.destination.version:
                return bytes(to_sockaddr(address.interface.ip, self._system))
        raise RouteError(
            f"route {route} needs an IPv{route.destination.version} address on the interface: "
            "add one first"
        )
