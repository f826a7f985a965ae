"""What is a host's alone: where an exit must not let clients go in its name."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import errno
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from ..cancelling import Closing
from ..platforms.linux.netlink import NetlinkSocket
from ..platforms.linux.routing import Routing
from .base import Flow
from .translate import is_unicast

__all__ = ["Guard"]

HOST_ONLY = tuple(
    map(
        ip_network,
        (
            "169.254.0.0/16",  # RFC 3927 section 7: not to be forwarded. Most clouds' metadata.
            "fe80::/10",  # RFC 4291 section 2.5.6: the same
            # Services for a virtual machine itself, which tell its credentials:
            "fd00:ec2::/32",  # Amazon
            "168.63.129.16",  # Azure
            "fd20:ce::254",  # Google
            "100.100.100.200",  # Alibaba
        ),
    )
)
"""What answers a host because it is that host, whatever its routes say."""

NAT64 = IPv6Network("64:ff9b::/96")
"""IPv4 addresses as a translator knows them (RFC 6052 section 2.1), and it may be this host."""

NOWHERE = {
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.EACCES,  # ip-route(8): prohibit
    errno.EINVAL,  # blackhole
    errno.EAFNOSUPPORT,
    errno.EOPNOTSUPP,
}
"""What the kernel says of a destination to which there is no way, or none of its IP version."""


class Guard(Closing):
    """Tells flows to the host itself from those that go on, for an `accept=`.

    The host's are its own addresses, as the kernel's routing has them now, what is no address of
    one host, and what is link-local or tells a virtual machine's secrets: all but the `allowed`
    addresses and ports.

    Blocks for some microseconds. Made, it raises what a netlink socket raises.
    """

    def __init__(self, allowed: Collection[tuple[str, int]] = ()) -> None:
        self._allowed = {(ip_address(host), port) for host, port in allowed}
        self._netlink = NetlinkSocket()
        self._routing = Routing(self._netlink)

    def forbids(self, flow: Flow) -> bool:
        """Whether it leads to the host, or nobody can say."""
        host, port = flow.destination
        ip = ip_address(host)
        return (ip, port) not in self._allowed and self._is_host(ip)

    def _is_host(self, ip: IPv4Address | IPv6Address) -> bool:
        if not is_unicast(ip.packed) or any(ip in network for network in HOST_ONLY):
            return True
        if ip in NAT64 and self._is_host(IPv4Address(ip.packed[12:])):
            return True
        try:
            return not self._routing.leads_on(ip)
        except OSError as exc:
            return exc.errno not in NOWHERE

    def close(self) -> None:
        self._netlink.close()
