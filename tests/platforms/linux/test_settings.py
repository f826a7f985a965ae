"""What a device is made to be, and changed to while it runs, as `ip` and ethtool see it."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import errno
import json
import os
import socket
import subprocess
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import outside
import pytest

import aiotun
from aiotun import errors
from aiotun.config import DeviceConfig
from aiotun.platforms.linux.tun import TunQueue
from aiotun.testing.namespace import Namespace, own_sysfs

pytestmark = pytest.mark.requires("tun", "netns")

IFF_TUN, IFF_TAP, IFF_MULTI_QUEUE = 1, 2, 0x100


def show(namespace: Namespace, name: str = "t0") -> dict[str, Any]:
    (link,) = json.loads(
        namespace.command("ip", "-json", "-details", "address", "show", "dev", name)
    )
    return dict(link)


def info(namespace: Namespace, name: str = "t0") -> dict[str, Any]:
    return dict(show(namespace, name)["linkinfo"]["info_data"])


def routes(namespace: Namespace) -> set[str]:
    """As `ip route` writes them, without what is not about the route."""
    found = set()
    for family in ("-4", "-6"):
        for route in json.loads(namespace.command("ip", "-json", family, "route")):
            words = [route["dst"], f"proto {route['protocol']}"]
            if "gateway" in route:
                words.append(f"via {route['gateway']}")
            if "metric" in route:
                words.append(f"metric {route['metric']}")
            found.add(" ".join(words))
    return found


def features(namespace: Namespace, name: str = "t0") -> dict[str, bool]:
    lines = namespace.command("ethtool", "-k", name).splitlines()[1:]
    pairs = (line.strip().split(": ") for line in lines)
    return {key: value.startswith("on") for key, value in pairs}


SETTINGS: dict[str, tuple[dict[str, Any], Callable[[Namespace], Any], Any]] = {
    "mac": (
        {"layer": "tap", "mac": "02-00-5E-00-00-0a"},
        lambda ns: show(ns)["address"],
        "02:00:5e:00:00:0a",
    ),
    "tx_queue_len": ({"tx_queue_len": 77}, lambda ns: show(ns)["txqlen"], 77),
    "mtu": ({"mtu": 1400}, lambda ns: show(ns)["mtu"], 1400),
    "multi_queue": ({"multi_queue": True}, lambda ns: info(ns)["multi_queue"], True),
    "one queue": ({}, lambda ns: info(ns)["multi_queue"], False),
    "persistent": ({"persistent": True}, lambda ns: info(ns)["persist"], True),
    "not persistent": ({"persistent": False}, lambda ns: info(ns)["persist"], False),
    "owner": ({"owner": "daemon"}, lambda ns: info(ns)["user"], "daemon"),
    "owner by id": ({"owner": 12345}, lambda ns: str(info(ns)["user"]), "12345"),
    "owner by a great id": ({"owner": 3 << 30}, lambda ns: str(info(ns)["user"]), str(3 << 30)),
    "group": ({"group": "daemon"}, lambda ns: info(ns)["group"], "daemon"),
    "group by id": ({"group": 12345}, lambda ns: str(info(ns)["group"]), "12345"),
    "up": ({"up": True}, lambda ns: "UP" in show(ns)["flags"], True),
    "down": ({"up": False}, lambda ns: "UP" in show(ns)["flags"], False),
    "as found": ({"up": None}, lambda ns: "UP" in show(ns)["flags"], False),
    "no carrier": ({"carrier": False}, lambda ns: "NO-CARRIER" in show(ns)["flags"], True),
    "carrier": ({"carrier": True}, lambda ns: "NO-CARRIER" in show(ns)["flags"], False),
    "packets without information": ({}, lambda ns: info(ns)["pi"], False),
    "netmask": (
        {"addresses": "10.9.0.1/255.255.255.0"},
        lambda ns: [a["prefixlen"] for a in show(ns)["addr_info"] if a["family"] == "inet"],
        [24],
    ),
    "IPv6 quiet": (
        {"ipv6_quiet": True, "addresses": "fd09::1/64"},
        lambda ns: [a["local"] for a in show(ns)["addr_info"]],
        ["fd09::1"],
    ),
    "no DAD": (
        {"layer": "tap", "addresses": "fd09::1/64", "ipv6_quiet": True},
        lambda ns: [a.get("tentative", False) for a in show(ns)["addr_info"]],
        [False],
    ),
    "DAD": (
        {"layer": "tap", "addresses": "fd09::1/64", "ipv6_quiet": True, "dad": True},
        lambda ns: [a.get("tentative", False) for a in show(ns)["addr_info"]],
        [True],
    ),
    "connected routes": (
        {"addresses": ["10.9.0.1/24", "fd09::1/64"], "ipv6_quiet": True},
        routes,
        {"10.9.0.0/24 proto kernel", "fd09::/64 proto kernel metric 256"},
    ),
    "no connected routes": (
        {
            "addresses": ["10.9.0.1/24", "fd09::1/64"],
            "ipv6_quiet": True,
            "connected_routes": False,
        },
        routes,
        set(),
    ),
    "metric": (
        {
            "addresses": ["10.9.0.1/24", "fd09::1/64"],
            "ipv6_quiet": True,
            "metric": 50,
            "routes": ["10.8.0.0/16", "10.7.0.0/16 metric 7"],
        },
        routes,
        {
            "10.9.0.0/24 proto kernel metric 50",
            "fd09::/64 proto kernel metric 50",
            "10.8.0.0/16 proto static metric 50",
            "10.7.0.0/16 proto static metric 7",
        },
    ),
    "routes": (
        {
            "addresses": ["10.9.0.1/24", "fd09::1/64"],
            "ipv6_quiet": True,
            "routes": ["default via 10.9.0.2", "fd08::/32 via fd09::2", "10.8.0.0/16"],
        },
        routes,
        {
            "10.9.0.0/24 proto kernel",
            "fd09::/64 proto kernel metric 256",
            "default proto static via 10.9.0.2",
            "10.8.0.0/16 proto static",
            "fd08::/32 proto static via fd09::2 metric 1024",
        },
    ),
}


@pytest.mark.interop
@pytest.mark.requires("ip", "multi-queue")
@pytest.mark.parametrize(("settings", "read", "expected"), SETTINGS.values(), ids=SETTINGS)
def test_made(
    namespace: Namespace,
    settings: dict[str, Any],
    read: Callable[[Namespace], Any],
    expected: object,
) -> None:
    with namespace.run(aiotun.Device, name="t0", **settings):
        assert read(namespace) == expected


@pytest.mark.interop
@pytest.mark.requires("ethtool", "tso", "uso")
@pytest.mark.parametrize(
    ("offload", "tcp", "udp"),
    [(True, True, True), ("tcp", True, False), ("udp", False, True), (False, False, False)],
)
def test_offload(namespace: Namespace, offload: Any, tcp: bool, udp: bool) -> None:
    with namespace.run(aiotun.Device, name="t0", offload=offload) as device:
        assert (device.tcp_offload, device.udp_offload) == (tcp, udp)
        found = features(namespace)
        assert found["tx-tcp-segmentation"] == found["tx-tcp6-segmentation"] == tcp
        assert found["tx-udp-segmentation"] == udp


CHANGES: dict[str, tuple[Callable[[aiotun.Device], Any], Callable[[Namespace], Any], Any]] = {
    "mac": (
        lambda d: setattr(d, "mac", "02:00:00:00:00:01"),
        lambda ns: show(ns)["address"],
        "02:00:00:00:00:01",
    ),
    "tx_queue_len": (
        lambda d: setattr(d, "tx_queue_len", 33),
        lambda ns: show(ns)["txqlen"],
        33,
    ),
    "name": (lambda d: setattr(d, "name", "t7"), lambda ns: show(ns, "t7")["ifname"], "t7"),
    "carrier": (
        lambda d: setattr(d, "carrier", False),
        lambda ns: "NO-CARRIER" in show(ns)["flags"],
        True,
    ),
    "owner": (lambda d: setattr(d, "owner", 1), lambda ns: info(ns)["user"], "daemon"),
    "group": (lambda d: setattr(d, "group", 1), lambda ns: info(ns)["group"], "daemon"),
    "persistent": (lambda d: setattr(d, "persistent", True), lambda ns: info(ns)["persist"], True),
    "broadcast": (
        lambda d: setattr(d, "broadcast", "10.9.0.255"),
        lambda ns: [a.get("broadcast") for a in show(ns)["addr_info"] if a["family"] == "inet"],
        ["10.9.0.255"],
    ),
    "addresses": (
        lambda d: d.set_addresses(["10.6.0.1/24", "fd06::1/64"]),
        lambda ns: {a["local"] for a in show(ns)["addr_info"] if a["scope"] == "global"},
        {"10.6.0.1", "fd06::1"},
    ),
    "route": (
        lambda d: d.add_route("10.8.0.0/16 via 10.9.0.2 metric 9"),
        lambda ns: "10.8.0.0/16 proto static via 10.9.0.2 metric 9" in routes(ns),
        True,
    ),
    "no route": (
        lambda d: [change("10.8.0.0/16") for change in (d.add_route, d.remove_route)],
        lambda ns: [route for route in routes(ns) if "static" in route],
        [],
    ),
}


@pytest.mark.interop
@pytest.mark.requires("ip")
@pytest.mark.parametrize(("change", "read", "expected"), CHANGES.values(), ids=CHANGES)
def test_changed(
    namespace: Namespace,
    change: Callable[[aiotun.Device], Any],
    read: Callable[[Namespace], Any],
    expected: object,
) -> None:
    with namespace.run(aiotun.Device, name="t0", layer="tap", addresses="10.9.0.1/24") as device:
        change(device)
        assert read(namespace) == expected


def test_read_back(namespace: Namespace) -> None:
    with namespace.run(aiotun.Device, layer="tap", addresses="10.9.0.1/24") as device:
        assert (device.owner, device.group, device.persistent) == (None, None, False)
        assert (device.queues, device.tx_queue_len, device.broadcast) == (1, 1000, None)
        assert device.is_running
        assert device.carrier
        device.mac = "02:00:00:00:00:01"
        device.tx_queue_len = 33
        device.owner = device.group = 0
        device.persistent = True
        device.carrier = False
        device.down()  # Linux before 6.2 renames no interface that is up
        device.name = "vpn7"
        device.up()
        assert (device.mac, device.tx_queue_len) == ("02:00:00:00:00:01", 33)
        assert (device.owner, device.group, device.persistent) == (0, 0, True)
        assert (device.name, device.carrier) == ("vpn7", False)
        assert device.is_up
        assert not device.is_running
        device.persistent = False
    with namespace.run(aiotun.Device) as tun:
        assert (tun.mac, tun.routes()) == (None, [])


def test_routes(namespace: Namespace) -> None:
    with namespace.run(aiotun.Device, addresses="10.9.0.1/24", routes="10.8.0.0/16") as device:
        assert device.routes() == [aiotun.Route.parse("10.8.0.0/16")]
        device.add_route("10.7.0.0/16 via 10.9.0.2 metric 5")
        device.broadcast = "10.9.0.255"  # takes the address away for a moment
        assert {str(route) for route in device.routes()} == {
            "10.8.0.0/16",
            "10.7.0.0/16 via 10.9.0.2 metric 5",
        }
        assert str(device.broadcast) == "10.9.0.255"
        with pytest.raises(errors.RouteError, match=r"10.5.0.0/16 cannot be removed: it does not"):
            device.remove_route("10.5.0.0/16")
        device.down()
        with pytest.raises(errors.RouteError, match="not up"):
            device.add_route("10.5.0.0/16")


@pytest.mark.parametrize(
    ("present", "wanted", "other"),
    [
        ("10.8.0.0/16 via 10.9.0.2", "10.8.0.0/16", "10.8.0.0/16 metric 1"),
        ("10.8.0.0/16 metric 7", "10.8.0.0/16 metric 7", "10.8.0.0/16"),
        ("fd08::/64", "fd08::/64 metric 1024", "fd08::/64"),
    ],
)
def test_a_route_that_exists(namespace: Namespace, present: str, wanted: str, other: str) -> None:
    with (
        namespace.run(aiotun.Device, name="vpn1", addresses="10.9.0.1/24", routes=present) as one,
        namespace.run(aiotun.Device, addresses="10.7.0.1/24") as device,
    ):
        (kept,) = one.routes()
        words = f"{wanted} cannot be added: {kept} dev vpn1 exists already: give it another metric"
        with pytest.raises(errors.RouteError, match=f"{words}; or remove the other") as caught:
            device.add_route(wanted)
        assert caught.value.errno == errno.EEXIST
        namespace.command("ip", "route", "add", "unreachable", "10.6.0.0/16")
        with pytest.raises(errors.RouteError, match=r"added: 10\.6\.0\.0/16 exists already"):
            device.add_route("10.6.0.0/16")


def test_set_addresses(namespace: Namespace) -> None:
    with namespace.run(aiotun.Device, addresses=["10.9.0.1/24", "10.9.0.2/24"]) as device:
        for addresses in (["10.9.0.2/24", "fd09::1/64"], "10.9.0.3/24", []):
            device.set_addresses(addresses)
            wanted = [addresses] if isinstance(addresses, str) else addresses
            found = [str(a) for a in device.addresses() if not a.interface.ip.is_link_local]
            assert sorted(found) == sorted(wanted)
        with pytest.raises(errors.AddressError, match="without an IPv4 address"):
            device.broadcast = "10.9.0.255"
        with pytest.raises(errors.AddressError, match="not an IPv4 address"):
            device.broadcast = "fd09::1"
        with pytest.raises(errors.AddressError, match="twice"):
            device.set_addresses(["10.9.0.1/24"] * 2)


ERRORS: dict[str, tuple[dict[str, Any], type[aiotun.TunError], int, str]] = {
    "no such user": ({"owner": "nobody-here"}, aiotun.ConfigError, errno.EINVAL, "no user"),
    "no such group": ({"group": "nobody-here"}, aiotun.ConfigError, errno.EINVAL, "no group"),
    "no such namespace": (
        {"namespace": "none"},
        errors.NamespaceError,
        errno.ENOENT,
        "'none'",
    ),
    "no such process": (
        {"namespace": 2**22 + 1},
        errors.NamespaceError,
        errno.ENOENT,
        "cannot",
    ),
    "no namespace": (
        {"namespace": "/proc/self/ns/mnt"},
        errors.NamespaceError,
        errno.EINVAL,
        "cannot be entered",
    ),
    "no namespace file": (
        {"namespace": "/dev/null"},
        errors.NamespaceError,
        errno.EINVAL,
        "cannot be entered",
    ),
    "unreachable gateway": (
        {"routes": "10.8.0.0/16 via 10.7.0.1"},
        errors.RouteError,
        errno.ENETUNREACH,
        "cannot be added",
    ),
    "route of a device that is down": (
        {"up": None, "routes": "10.8.0.0/16"},
        errors.RouteError,
        errno.ENETDOWN,
        "not up",
    ),
}


@pytest.mark.parametrize(
    ("settings", "error", "number", "words"), ERRORS.values(), ids=ERRORS.keys()
)
def test_what_cannot_be_leaves_nothing(
    namespace: Namespace,
    settings: dict[str, Any],
    error: type[aiotun.TunError],
    number: int,
    words: str,
) -> None:
    with pytest.raises(error, match=words) as caught:
        namespace.run(aiotun.Device, persistent=True, **settings)
    assert type(caught.value) is error
    assert caught.value.errno == number
    assert namespace.run(socket.if_nameindex) == [(1, "lo")]


def test_a_persistent_interface_stays_until_told_otherwise(namespace: Namespace) -> None:
    for persistent, left in ((True, True), (None, True), (False, False)):
        namespace.run(aiotun.Device, name="t0", persistent=persistent).close()
        assert ((2, "t0") in namespace.run(socket.if_nameindex)) == left


def test_exclusive(namespace: Namespace) -> None:
    namespace.run(outside.persistent, "t0", IFF_TUN)
    with pytest.raises(aiotun.NameInUseError, match="exclusive=False") as caught:
        namespace.run(aiotun.Device, name="t0", exclusive=True)
    assert caught.value.errno == errno.EBUSY
    with namespace.run(aiotun.Device, name="t1", exclusive=True):
        pass


def test_as_found(namespace: Namespace) -> None:
    namespace.run(outside.persistent, "t0", IFF_TUN)
    namespace.run(outside.set_up, "t0", True)
    with namespace.run(aiotun.Device, name="t0", up=None) as device:
        assert device.is_up
    with namespace.run(aiotun.Device, name="t0", up=False) as device:
        assert not device.is_up


@pytest.mark.requires("ipv6", "sysctl")
def test_mtu_for_ipv6_alone(namespace: Namespace, named: str) -> None:
    file = Path("/proc/sys/net/ipv6/conf/t0/mtu")
    with aiotun.Device(name="t0", namespace=named, mtu_v6=1280) as device:
        assert (device.mtu, device.mtu_v6) == (1500, 1280)
        assert namespace.run(file.read_text) == "1280\n"
        device.mtu_v6 = 1400
        assert namespace.run(file.read_text) == "1400\n"
        with pytest.raises(errors.MTUError, match="more than the interface's mtu"):
            device.mtu_v6 = 1501
        with pytest.raises(errors.MTUError, match="IPv6 needs 1280"):
            device.mtu_v6 = 1279
        device.mtu = 1279
        with pytest.raises(aiotun.UnsupportedError, match="no IPv6 on interface 't0'"):
            _ = device.mtu_v6


def test_rename(namespace: Namespace) -> None:
    with (
        namespace.run(
            aiotun.Device, name="t0", up=False
        ) as device,  # Linux before 6.2 renames no interface that is up
        namespace.run(aiotun.Device, name="t1"),
    ):
        with pytest.raises(aiotun.NameInUseError, match="'t1' already"):
            device.name = "t1"
        for wrong in ("much-too-long-name", "vpn%d", ""):
            with pytest.raises(errors.NameInvalidError):
                device.name = wrong
        assert device.name == "t0"


def test_wrong_values_at_run_time(namespace: Namespace) -> None:
    with namespace.run(aiotun.Device) as device:
        with pytest.raises(errors.MACError, match="a TUN has no MAC"):
            device.mac = "02:00:00:00:00:01"
        with pytest.raises(aiotun.ConfigError, match="tx_queue_len 0 is out of range"):
            device.tx_queue_len = 0
        with pytest.raises(aiotun.ConfigError, match="no memory") as caught:
            device.tx_queue_len = 2**31 - 1
        assert caught.value.errno == errno.ENOMEM
    with (
        namespace.run(aiotun.Device, layer="tap") as device,
        pytest.raises(errors.MACError, match="for groups"),
    ):
        device.mac = "03:00:00:00:00:01"


@pytest.mark.requires("userns")
@pytest.mark.parametrize("setting", ["owner", "group"])
def test_given_to_nobody(setting: str) -> None:
    """A user namespace with one user; at home every number is somebody's."""
    program = f"""
        import aiotun
        from aiotun.testing.namespace import become_root, enter_namespace
        become_root()
        enter_namespace()
        try:
            aiotun.Device({setting}=12345)
        except aiotun.ConfigError as exc:
            print(exc)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.endswith(f"no {setting.replace('owner', 'user')} 12345\n")


@pytest.fixture
def named(namespace: Namespace) -> str:
    """A path that leads to the namespace from any thread."""
    return f"/proc/{os.getpid()}/fd/{namespace.fileno()}"


def test_in_a_namespace(namespace: Namespace, named: str) -> None:
    here = os.stat("/proc/thread-self/ns/net")
    with aiotun.Device(name="t0", namespace=named, addresses="10.9.0.1/24") as device:
        assert os.path.samestat(here, os.stat("/proc/thread-self/ns/net"))
        assert "t0" not in dict(socket.if_nameindex()).values()
        assert namespace.run(outside.ipv4, "t0")[0] == "10.9.0.1"
        device.mtu = 1400
        assert namespace.run(outside.mtu, "t0") == 1400
        with namespace.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"hello", ("10.9.0.2", 9))
        while (packet := device.recv(timeout=2))[0] >> 4 != 4:
            pass
        assert packet.endswith(b"hello")
    assert namespace.run(socket.if_nameindex) == [(1, "lo")]


def test_in_the_namespace_of_a_process(namespace: Namespace) -> None:
    with namespace.run(subprocess.Popen, ["sleep", "60"]) as process:
        with aiotun.Device(name="t0", namespace=process.pid):
            assert "t0" in dict(namespace.run(socket.if_nameindex)).values()
        process.kill()


async def test_on_a_loop_in_a_namespace(namespace: Namespace, named: str) -> None:
    async with aiotun.open_device(name="t0", namespace=named) as stream:
        assert stream.device.name == "t0"
        assert "t0" in dict(namespace.run(socket.if_nameindex)).values()


@pytest.mark.requires("multi-queue")
def test_several_queues(namespace: Namespace, named: str) -> None:
    first = aiotun.Device(
        name="t0",
        namespace=named,
        multi_queue=True,
        offload="tcp",
        addresses="10.9.0.1/24",
        udp_zero_checksum=True,
    )
    second = first.open_queue()
    third = second.open_queue()
    assert first.queues == third.queues == 3
    assert third.udp_zero_checksum
    assert (second.name, second.tcp_offload, second.udp_offload) == ("t0", True, False)
    first.close()
    assert second.queues == 2
    assert namespace.run(outside.is_up, "t0")
    with namespace.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for port in range(1000, 1064):
            sock.sendto(b"hello", ("10.9.0.2", port))
    ports: set[int] = set()
    for device in (second, third):
        while device.wait_readable(0.1):
            packets = [packet for packet in device.recv_many() if packet[0] >> 4 == 4]
            ports.update(int.from_bytes(packet[22:24], "big") for packet in packets)
    assert ports == set(range(1000, 1064))
    second.close()
    third.close()
    assert namespace.run(socket.if_nameindex) == [(1, "lo")]


@pytest.mark.requires("multi-queue")
def test_queue_limit(namespace: Namespace) -> None:
    """MAX_TAP_QUEUES (drivers/net/tun.c); queues that nobody configures take one descriptor."""
    with namespace.run(aiotun.Device, name="t0", multi_queue=True) as device:
        config = DeviceConfig(name="t0", multi_queue=True)
        queues = [namespace.run(TunQueue, config) for _ in range(255)]
        assert device.queues == 256
        with pytest.raises(errors.QueueLimitError, match="all the queues") as caught:
            device.open_queue()
        assert caught.value.errno == errno.E2BIG
        threads = [threading.Thread(target=queue.close) for queue in queues]
        for thread in threads:  # each takes 20 ms
            thread.start()
        for thread in threads:
            thread.join()


def test_one_queue_only(namespace: Namespace) -> None:
    with (
        namespace.run(aiotun.Device) as device,
        pytest.raises(aiotun.UnsupportedError, match="multi_queue=True"),
    ):
        device.open_queue()


@pytest.mark.requires("multi-queue")
def test_name_of_another_sort(namespace: Namespace) -> None:
    namespace.run(outside.persistent, "t0", IFF_TUN)
    with pytest.raises(aiotun.NameInUseError, match="is not a tun with several queues"):
        namespace.run(aiotun.Device, name="t0", multi_queue=True)


@pytest.mark.requires("sysctl")
def test_ipv6_quiet_sends_nothing(namespace: Namespace) -> None:
    with (
        namespace.run(aiotun.Device, ipv6_quiet=True, addresses="fd09::1/64") as quiet,
        namespace.run(aiotun.Device) as loud,
    ):
        while loud.recv(timeout=5)[40:41] != b"\x85":  # router solicitation, RFC 4861
            pass
        assert not quiet.wait_readable(0)


def test_events(namespace: Namespace) -> None:
    with namespace.run(aiotun.Device, name="t0", ipv6_quiet=True, up=False) as device:
        device.events()
        namespace.run(outside.set_mtu, "t0", 1400)
        device.add_address("10.9.0.1/24")
        device.name = "t7"  # Linux before 6.2 renames no interface that is up
        mtu, address, name = device.events()
        assert mtu == aiotun.interfaces.LinkChanged("t0", 1400, False)
        assert address == aiotun.interfaces.AddressAdded(aiotun.Address.parse("10.9.0.1/24"))
        assert name == aiotun.interfaces.LinkChanged("t7", 1400, False)
        assert device.events() == []
        namespace.run(outside.delete, "t7")
        assert device.events()[-1] == aiotun.interfaces.InterfaceGone()


@pytest.mark.requires("mountns")
def test_sysfs(namespace: Namespace) -> None:
    def read(*names: str) -> list[str]:
        own_sysfs()
        return [Path(f"/sys/class/net/t0/{name}").read_text().strip() for name in names]

    names = ("address", "tx_queue_len", "mtu", "carrier", "owner", "group")
    with namespace.run(
        aiotun.Device,
        name="t0",
        layer="tap",
        mac="02:00:00:00:00:01",
        tx_queue_len=77,
        mtu=1400,
        carrier=False,
        owner=0,
        group=0,
    ):
        found = namespace.run(read, *names)
    assert found == ["02:00:00:00:00:01", "77", "1400", "0", "0", "0"]
