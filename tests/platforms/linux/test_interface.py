"""The administrator's side: what is set is seen from outside, what others set is seen here."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import errno
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import outside
import pytest
from outside import opened

import aiotun
from aiotun.addresses import Address, Route
from aiotun.errors import (
    AddressError,
    BusyError,
    ClosedError,
    InterfaceGoneError,
    MACError,
    MTUError,
    NotPermittedError,
    TunError,
    UnsupportedError,
)
from aiotun.platforms.linux import interface as module
from aiotun.platforms.linux import netlink
from aiotun.platforms.linux.interface import LinuxInterface
from aiotun.testing.namespace import Namespace

pytestmark = pytest.mark.requires("tun", "netns")

LAYERS = pytest.mark.parametrize("layer", ["tun", "tap"])


def own(interface: LinuxInterface) -> set[str]:
    """The addresses without the link-local one that the kernel gives."""
    return {str(a) for a in interface.addresses() if not a.interface.ip.is_link_local}


@LAYERS
def test_settings(namespace: Namespace, layer: str) -> None:
    addresses = ["10.9.0.1/24", "fd09::1/64", "fd09::5/128"]
    with opened(namespace, name="t0", layer=layer, addresses=addresses, mtu=1400) as (interface, _):
        assert (interface.name, interface.mtu, interface.is_up) == ("t0", 1400, True)
        assert own(interface) == set(addresses)
        assert interface.index == namespace.run(socket.if_nametoindex, "t0")
        assert namespace.run(outside.mtu, "t0") == 1400
        assert namespace.run(outside.is_up, "t0")
        assert namespace.run(outside.ipv4, "t0") == ("10.9.0.1", "10.9.0.1", "255.255.255.0")
        assert namespace.run(outside.ipv6, "t0") == {"fd09::1/64", "fd09::5/128"}


@LAYERS
def test_defaults(namespace: Namespace, layer: str) -> None:
    with opened(namespace, layer=layer, up=False) as (interface, _):
        assert (interface.mtu, interface.is_up, interface.addresses()) == (1500, False, [])


@pytest.mark.parametrize(
    ("text", "ipv4"),
    [
        ("10.9.0.1/31", ("10.9.0.1", "10.9.0.1", "255.255.255.254")),
        ("10.9.0.1 peer 10.9.0.2", ("10.9.0.1", "10.9.0.2", "255.255.255.255")),
        ("10.9.0.1 peer 10.8.0.0/24", ("10.9.0.1", "10.8.0.0", "255.255.255.0")),
        ("fd09::1/128", None),
        ("fd09::1 peer fd09::2", None),
        ("fd09::1 peer fd08::/64", None),
    ],
)
@LAYERS
def test_addresses_come_and_go(
    namespace: Namespace, layer: str, text: str, ipv4: tuple[str, str, str] | None
) -> None:
    address = Address.parse(text)
    with opened(namespace, name="t0", layer=layer) as (interface, _):
        interface.add_address(address)
        assert address in interface.addresses()
        if ipv4:
            assert namespace.run(outside.ipv4, "t0") == ipv4
        else:
            shown = f"{address.interface.ip}/{address.interface.network.prefixlen}"
            assert namespace.run(outside.ipv6, "t0") == {shown}
        interface.remove_address(address)
        assert own(interface) == set()
        interface.add_address(address)


@LAYERS
def test_ipv6_addresses_are_usable_at_once(namespace: Namespace, layer: str) -> None:
    def bind() -> None:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("fd09::1", 9))

    with opened(namespace, layer=layer, addresses=["fd09::1/64"]):
        namespace.run(bind)


def test_mtu(namespace: Namespace) -> None:
    with opened(namespace, name="t0") as (interface, _):
        for mtu in (68, 1280, 65535):
            interface.set_mtu(mtu)
            assert interface.mtu == namespace.run(outside.mtu, "t0") == mtu
        namespace.run(outside.set_mtu, "t0", 1500)
        assert interface.mtu == 1500
        for mtu in (67, 65536):
            with pytest.raises(MTUError, match="out of range"):
                interface.set_mtu(mtu)


def test_mtu_that_only_the_kernel_refuses(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "check_mtu", lambda mtu, layer: None)
    with (
        opened(namespace) as (interface, _),
        pytest.raises(MTUError, match="mtu 67 was refused: mtu less than device minimum"),
    ):
        interface.set_mtu(67)


def test_up_and_down(namespace: Namespace) -> None:
    with opened(namespace, name="t0") as (interface, _):
        interface.set_up(False)
        assert not interface.is_up
        assert not namespace.run(outside.is_up, "t0")
        interface.set_up(True)
        assert namespace.run(outside.is_up, "t0")
        namespace.run(outside.set_up, "t0", False)
        assert not interface.is_up


def test_renamed_by_others(namespace: Namespace) -> None:
    with opened(namespace, name="t0", up=False) as (interface, queue):
        index = interface.index
        namespace.run(outside.rename, "t0", "vpn7")
        assert (interface.name, queue.name, interface.index) == ("vpn7", "vpn7", index)
        interface.set_mtu(1400)
        assert namespace.run(outside.mtu, "vpn7") == 1400


def test_statistics(namespace: Namespace) -> None:
    with (
        opened(namespace, addresses=["10.9.0.1/24"]) as (interface, queue),
        namespace.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        before = interface.statistics()
        for _ in range(3):
            sock.sendto(bytes(100), ("10.9.0.2", 9))
        queue.write(bytes(10) + b"\x45" + bytes(39))
        for frame in (bytes(10) + b"\x95" + bytes(39), b"\1\1" + bytes(8) + b"\x45" + bytes(39)):
            with pytest.raises(OSError, match="Invalid argument"):
                queue.write(frame)
        while queue.wait_readable(0):
            queue.read()
        after = interface.statistics()
        # the kernel may have sent more: it asks for IPv6 routers unasked
        assert after.packets_received - before.packets_received >= 3
        assert after.bytes_received - before.bytes_received >= 3 * 128
        assert after.dropped_received == 0
        assert (after.packets_sent, after.bytes_sent) == (1, 40)
        assert (after.dropped_sent, after.errors_sent) == (1, 1)


def test_statistics_of_packets_that_nobody_read(namespace: Namespace) -> None:
    with (
        opened(namespace, addresses=["10.9.0.1/24"]) as (interface, _),
        namespace.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        for _ in range(600):  # the queue holds 500 (TUN_READQ_SIZE)
            sock.sendto(b"", ("10.9.0.2", 9))
        assert interface.statistics().dropped_received >= 100


# Linux before 6.6 says of an address no more than its errno does.


@pytest.mark.parametrize(
    ("present", "address", "words"),
    [
        (["10.9.0.1/24"], "10.9.0.1/24", "already"),
        (["fd09::1/64"], "fd09::1/65", "already"),
        ([], "ff02::5/64", "multicast|Cannot assign"),
        ([], "::1/128", "loopback|Cannot assign"),
        ([], "::/64", "Invalid|Cannot assign"),
    ],
)
def test_address_that_cannot_be_added(
    namespace: Namespace, present: list[str], address: str, words: str
) -> None:
    with (
        opened(namespace, addresses=present) as (interface, _),
        pytest.raises(AddressError, match=f"^.*address {address} cannot be added: .*({words})"),
    ):
        interface.add_address(Address.parse(address))


@pytest.mark.parametrize("address", ["10.9.0.9/24", "10.9.0.1/25", "fd09::9/64"])
def test_address_that_cannot_be_removed(namespace: Namespace, address: str) -> None:
    with (
        opened(namespace, addresses=["10.9.0.1/24", "fd09::1/64"]) as (interface, _),
        pytest.raises(AddressError, match=f"{address} cannot be removed: the interface lacks it"),
    ):
        interface.remove_address(Address.parse(address))


def test_ipv6_address_with_too_small_an_mtu(namespace: Namespace) -> None:
    with (
        opened(namespace, mtu=1279) as (interface, _),
        pytest.raises(AddressError, match="MTU of 1280"),
    ):
        interface.add_address(Address.parse("fd09::1/64"))


@pytest.mark.requires("sysctl", "ipv6")
def test_ipv6_address_where_ipv6_is_off(namespace: Namespace) -> None:
    with opened(namespace, name="t0") as (interface, _):
        namespace.sysctl("net.ipv6.conf.t0.disable_ipv6", 1)
        with pytest.raises(
            UnsupportedError, match=r"(IPv6 is disabled|Permission denied).*sysctl"
        ) as caught:
            interface.add_address(Address.parse("fd09::1/64"))
        assert caught.value.errno == errno.EOPNOTSUPP


ROUTE = Route.parse("10.8.0.0/16")
USES: dict[str, Callable[[LinuxInterface], Any]] = {
    "routes": lambda interface: interface.routes(),
    "add_route": lambda interface: interface.add_route(ROUTE),
    "remove_route": lambda interface: interface.remove_route(ROUTE),
    "broadcast": lambda interface: interface.broadcast(),
    "set_broadcast": lambda interface: interface.set_broadcast(IPv4Address("10.9.0.255")),
    "details": lambda interface: interface.details(),
    "set_tx_queue_len": lambda interface: interface.set_tx_queue_len(100),
    "name": lambda interface: interface.name,
    "index": lambda interface: interface.index,
    "mtu": lambda interface: interface.mtu,
    "set_mtu": lambda interface: interface.set_mtu(1400),
    "is_up": lambda interface: interface.is_up,
    "set_up": lambda interface: interface.set_up(False),
    "set_name": lambda interface: interface.set_name("t0"),  # while it is down: see Linux 6.1
    "addresses": lambda interface: interface.addresses(),
    "add_address": lambda interface: interface.add_address(Address.parse("10.9.0.9/24")),
    "add_address 6": lambda interface: interface.add_address(Address.parse("fd09::9/64")),
    "remove_address": lambda interface: interface.remove_address(Address.parse("10.9.0.1/24")),
    "remove_address 6": lambda interface: interface.remove_address(Address.parse("fd09::1/64")),
    "statistics": lambda interface: interface.statistics(),
}
CHANGES = {name: use for name, use in USES.items() if name[:3] in ("set", "add", "rem")}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_deleted(namespace: Namespace, use: Callable[[LinuxInterface], Any]) -> None:
    with opened(namespace, name="t0", addresses=["10.9.0.1/24"]) as (interface, _):
        namespace.run(outside.delete, "t0")
        with pytest.raises(InterfaceGoneError, match="deleted") as caught:
            use(interface)
        assert caught.value.errno == errno.EBADFD


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_moved_to_another_namespace(
    namespace: Namespace, use: Callable[[LinuxInterface], Any]
) -> None:
    with Namespace() as other, opened(namespace, name="t0") as (interface, _):
        namespace.run(outside.move, "t0", other)
        with pytest.raises(InterfaceGoneError, match="'t0' is in another network namespace"):
            use(interface)


def test_what_is_asked_of_its_namespace_goes_there(namespace: Namespace) -> None:
    """And not to an interface of that name where it was before."""
    with Namespace() as other, opened(namespace, name="t0", multi_queue=True) as (interface, queue):
        namespace.run(outside.move, "t0", other)
        with namespace.run(aiotun.Device, name="t0", multi_queue=True, mtu=1300):
            second, its_queue = interface.open_queue()
            assert second.index == other.run(socket.if_nametoindex, "t0")
            second.close()
            its_queue.close()
            assert interface.mtu_v6() == 1500
            with aiotun.Device.from_fd(queue.fileno(), closefd=False) as adopted:
                assert adopted.mtu == 1500


def test_back_from_another_namespace(namespace: Namespace) -> None:
    with Namespace() as other, opened(namespace, name="t0") as (interface, _):
        namespace.run(outside.move, "t0", other)
        other.run(outside.move, "t0", namespace)
        interface.set_mtu(1400)
        assert namespace.run(outside.mtu, "t0") == 1400


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_closed(namespace: Namespace, use: Callable[[LinuxInterface], Any]) -> None:
    with opened(namespace) as (interface, _):
        interface.close()
        interface.close()
        with pytest.raises(ClosedError):
            use(interface)


def test_the_queue_closed_first(namespace: Namespace) -> None:
    with opened(namespace) as (interface, queue):
        queue.close()
        with pytest.raises(ClosedError):
            _ = interface.name


@pytest.mark.parametrize("use", CHANGES.values(), ids=CHANGES)
def test_without_the_capability(
    namespace: Namespace, use: Callable[[LinuxInterface], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket's opener counts, too: the refusal is injected where the kernel gives it."""
    with opened(namespace) as (interface, _):
        monkeypatch.setattr(netlink, "decode_status", lambda message: (errno.EPERM, "no"))
        with pytest.raises(NotPermittedError, match=r"CAP_NET_ADMIN.*sudo") as caught:
            use(interface)
        assert caught.value.errno == errno.EPERM


@pytest.mark.parametrize(
    ("number", "use", "error", "words"),
    [
        (errno.EBUSY, "set_name", BusyError, "only an interface that is down"),
        (errno.EADDRNOTAVAIL, "set_mac", MACError, "was refused"),
        (errno.ENOMEM, "set_mac", OSError, "Cannot allocate"),
    ],
)
def test_what_this_kernel_does_not_refuse(
    namespace: Namespace,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    use: str,
    error: type[OSError],
    words: str,
) -> None:
    def fail(*arguments: object) -> list[bytes]:
        raise OSError(number, os.strerror(number))

    with opened(namespace, layer="tap") as (interface, _):
        monkeypatch.setattr(interface._netlink, "request", fail)
        with pytest.raises(error, match=words):
            getattr(interface, use)("02:00:00:00:00:01")


@pytest.mark.requires("ipv6", "sysctl")
@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.EROFS, NotPermittedError), (errno.EACCES, NotPermittedError), (errno.EIO, OSError)],
)
def test_variables_that_cannot_be_written(
    namespace: Namespace,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    error: type[OSError],
) -> None:
    """As in a container, whose /proc/sys is read-only."""

    def fail(path: Path, text: str) -> int:
        raise OSError(number, os.strerror(number))

    with opened(namespace) as (interface, _):
        monkeypatch.setattr(Path, "write_text", fail)
        with pytest.raises(error) as caught:
            interface.set_mtu_v6(1400)
        assert type(caught.value) is error


def test_an_answer_without_a_link(namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    bridge_port = bytes([7]) + bytes(15)
    with opened(namespace) as (interface, _):
        monkeypatch.setattr(interface._netlink, "request", lambda *arguments: [bridge_port])
        with pytest.raises(TunError, match="without a link"):
            _ = interface.mtu


def test_errors_without_a_meaning_of_their_own_are_passed_on(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> list[bytes]:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    with opened(namespace) as (interface, _):
        monkeypatch.setattr(interface._netlink, "request", fail)
        for name, use in CHANGES.items():
            with pytest.raises(OSError, match="Cannot allocate memory") as caught:
                use(interface)
            assert caught.value.errno == errno.ENOMEM, name


def test_from_many_threads(namespace: Namespace) -> None:
    with opened(namespace) as (interface, _):

        def work(number: int) -> None:
            address = Address.parse(f"10.9.{number}.1/24")
            for _ in range(10):
                interface.add_address(address)
                assert address in interface.addresses()
                assert interface.mtu == 1500
                interface.remove_address(address)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        assert own(interface) == set()


def everything(namespace: Namespace) -> None:
    with opened(namespace, addresses=["10.9.0.1/24"]) as (interface, _):
        for name, use in USES.items():
            if name != "remove_address 6":
                use(interface)


async def test_inside_a_running_loop(namespace: Namespace) -> None:
    everything(namespace)
