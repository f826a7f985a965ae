"""What an exit keeps for its host: asked of the kernel of a namespace that has much of its own."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from typing import Any

assert sys.platform == "linux"

import pytest

import aiotun
from aiotun.flows import Flow, FlowAddress
from aiotun.flows.guard import Guard
from aiotun.platforms.linux.netlink import NetlinkSocket
from aiotun.testing import Namespace

pytestmark = pytest.mark.requires("tun", "netns")

FORBIDDEN = {
    "loopback": ["127.0.0.1", "127.0.0.53", "127.255.255.254", "::1"],
    "an interface": ["192.0.2.1", "2001:db8::1"],
    "another of its network": ["192.0.2.9"],
    "an interface without a route": ["10.20.0.1"],
    "broadcast": ["192.0.2.255", "255.255.255.255"],
    "multicast": ["224.0.0.251", "ff02::fb"],
    "nobody": ["0.0.0.0", "::"],
    "as IPv6 has IPv4": ["::ffff:192.0.2.1", "64:ff9b::c000:201", "64:ff9b::a9fe:a9fe"],
    "link-local": ["169.254.169.254", "169.254.0.1", "fe80::1"],
    "metadata": ["fd00:ec2::254", "168.63.129.16", "fd20:ce::254", "100.100.100.200"],
}

BEYOND = ["192.0.2.2", "203.0.113.5", "2001:db8::2", "2001:db8:1::1", "64:ff9b::cb00:7105"]


def to(host: str, port: int = 80) -> Flow:
    return Flow("tcp", FlowAddress("10.9.0.2", 40000), FlowAddress(host, port))


@pytest.fixture
def host(namespace: Namespace) -> Iterator[Namespace]:
    """It has a default route, addresses of several kinds, and a second one of a network."""
    addresses = ["192.0.2.1/24", "192.0.2.9/24", "10.20.0.1/32", "2001:db8::1/64"]
    settings: dict[str, Any] = {"addresses": addresses, "routes": ["0.0.0.0/0", "::/0"]}
    with namespace.run(aiotun.Device, name="eth0", ipv6_quiet=True, **settings):
        yield namespace


@pytest.fixture
def guard(host: Namespace) -> Iterator[Guard]:
    with host.run(Guard, [("192.0.2.1", 53), ("169.254.169.254", 53)]) as guard:
        yield guard


@pytest.mark.parametrize("kind", FORBIDDEN)
def test_the_host_itself(host: Namespace, guard: Guard, kind: str) -> None:
    for address in FORBIDDEN[kind]:
        assert guard.forbids(to(address)), address


@pytest.mark.requires("ip")
def test_what_is_local_by_a_route_alone(host: Namespace, guard: Guard) -> None:
    host.command("ip", "route", "add", "local", "198.51.100.0/24", "dev", "lo")
    assert guard.forbids(to("198.51.100.77"))


def test_what_is_beyond(guard: Guard) -> None:
    for address in BEYOND:
        assert not guard.forbids(to(address)), address


def test_a_service_that_is_allowed(guard: Guard) -> None:
    for address in ("192.0.2.1", "169.254.169.254"):
        assert not guard.forbids(to(address, 53))
        assert guard.forbids(to(address, 80))
    assert guard.forbids(to("192.0.2.9", 53))


def test_an_address_that_comes_and_goes(host: Namespace, guard: Guard) -> None:
    assert not guard.forbids(to("198.51.100.1"))
    with host.run(aiotun.Device, addresses=["198.51.100.1/24"]):
        assert guard.forbids(to("198.51.100.1"))
    assert not guard.forbids(to("198.51.100.1"))


def test_where_every_address_may_be_bound(host: Namespace, guard: Guard) -> None:
    """ip_nonlocal_bind: so a socket that can be bound says nothing of whose an address is."""
    host.sysctl("net.ipv4.ip_nonlocal_bind", 1)
    assert not guard.forbids(to("203.0.113.5"))


def test_where_no_way_leads(namespace: Namespace) -> None:
    """Whoever connects there hears it from the kernel, as ever."""
    with namespace.run(Guard) as guard:
        for address in BEYOND:
            assert not guard.forbids(to(address))


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOBUFS, None])
def test_a_kernel_that_does_not_answer(
    guard: Guard, monkeypatch: pytest.MonkeyPatch, number: int | None
) -> None:
    """What nobody knows to be beyond is not let through."""

    def fail(*args: object) -> list[bytes]:
        raise OSError(number, "no") if number else TimeoutError

    monkeypatch.setattr(NetlinkSocket, "request", fail)
    assert guard.forbids(to("203.0.113.5"))
