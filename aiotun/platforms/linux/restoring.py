"""What the kernel takes from an interface along with something else, to be put back later.

With IPv6, which an MTU below 1280 ends, go its addresses and its routes; when an interface
goes down, its IPv6 addresses and all of its routes; with an IPv4 address, those that
follow from it.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import errno
from collections.abc import Callable
from socket import AF_INET6
from typing import NamedTuple

from ...addresses import Address, Route
from ...config import MTU_MIN_IPV6
from ...logs import NamedLogger
from .rtnetlink.addresses import (
    RTM_GETADDR,
    RTM_NEWADDR,
    decode_address,
    encode_address_dump,
    is_by_hand,
)
from .rtnetlink.links import Link
from .rtnetlink.messages import NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL
from .rtnetlink.routes import (
    RT_TABLE_MAIN,
    RTM_GETROUTE,
    RTM_NEWROUTE,
    RouteEntry,
    decode_route,
    encode_again,
    encode_route_dump,
)

__all__ = ["Losses"]


class Request(NamedTuple):
    """What puts back an address or a route, with all that it had."""

    kind: int
    body: bytes
    needs_ipv6: bool
    """For itself or its gateway."""


class Losses:
    """The addresses and routes that one interface is without for now."""

    def __init__(self, request: Callable[[int, bytes, int], list[bytes]], index: int) -> None:
        """`request` is the interface's way to ask the kernel, and `index` the interface."""
        self._request = request
        self._index = index
        self._requests: dict[Address | RouteEntry, Request] = {}

    def expect(self, *, addresses: tuple[int, ...], routes: tuple[int, ...]) -> None:
        """Remember the addresses and the routes of these families, which the kernel will take."""
        dump = encode_address_dump(self._index)
        for body in self._request(RTM_GETADDR, dump, NLM_F_DUMP):
            found = decode_address(body)
            if found and found[0] == self._index and body[0] in addresses and is_by_hand(body):
                self._requests[found[1]] = Request(RTM_NEWADDR, body, body[0] == AF_INET6)
        dump = encode_route_dump(index=self._index)
        for body in self._request(RTM_GETROUTE, dump, NLM_F_DUMP):
            entry = decode_route(body)
            if entry and entry.index == self._index and body[0] in routes and entry.is_configured:
                versions = {each.version for each in entry.route[:2] if each is not None}
                request = Request(RTM_NEWROUTE, encode_again(body), 6 in versions)
                self._requests[entry] = request

    def forget(self, lost: Address | Route) -> bool:
        """Do not put it back. Returns whether it was lost.

        A route is looked for in the main table. One without a gateway or metric stands for
        any, as it does when the kernel removes a route.
        """
        for key in list(self._requests):  # other threads may change it
            if key == lost or (isinstance(lost, Route) and _stands_for(lost, key)):
                return self._requests.pop(key, None) is not None
        return False

    def forget_addresses(self) -> None:
        """Put none of the addresses back."""
        for key in list(self._requests):
            if isinstance(key, Address):
                self._requests.pop(key, None)

    def put_back(self, link: Link) -> None:
        """Add all that the link can have as it is now. What the kernel refuses is logged."""
        if not link.up:
            return
        for lost, request in sorted(self._requests.items(), key=_rank):
            if request.needs_ipv6 and link.mtu < MTU_MIN_IPV6:
                continue
            if self._requests.pop(lost, None) is None:
                continue  # put back or forgotten by another thread
            try:
                self._request(request.kind, request.body, NLM_F_CREATE | NLM_F_EXCL)
            except OSError as exc:
                if exc.errno != errno.EEXIST:
                    what = lost.route if isinstance(lost, RouteEntry) else lost
                    NamedLogger(link.name).warning(
                        "%s is lost, it cannot be put back: %s", what, exc.strerror
                    )


def _rank(item: tuple[Address | RouteEntry, Request]) -> int:
    """What others need is put back before them: addresses, the ways to gateways, the rest."""
    lost, _ = item
    if isinstance(lost, Address):
        return 0
    return 1 if lost.route.gateway is None else 2


def _stands_for(route: Route, key: Address | RouteEntry) -> bool:
    return (
        isinstance(key, RouteEntry)
        and key.table == RT_TABLE_MAIN
        and key.route.destination == route.destination
        and route.gateway in (None, key.route.gateway)
        and route.metric in (None, key.route.metric)
    )
