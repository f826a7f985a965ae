"""Opening a device: what it is then, every way it can fail, and that nothing is left."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import errno
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import outside
import pytest
import restricted
from outside import opened
from restricted import CAP_DAC_OVERRIDE, CAP_NET_ADMIN, drop_capabilities

from aiotun.config import DeviceConfig
from aiotun.errors import (
    AddressError,
    NameInUseError,
    NameInvalidError,
    NoDriverError,
    NotPermittedError,
    TunError,
)
from aiotun.platforms.linux import open_device, tun
from aiotun.platforms.linux.holders import holders
from aiotun.platforms.linux.remedies import NODE
from aiotun.testing.namespace import Namespace

pytestmark = pytest.mark.requires("tun", "netns")

IFF_TUN, IFF_TAP, IFF_MULTI_QUEUE, IFF_NO_PI, IFF_VNET_HDR = 1, 2, 0x100, 0x1000, 0x4000


def node(major: int, minor: int, mode: int = 0o666) -> Callable[[str], None]:
    def make(path: str) -> None:
        try:
            outside.make_node(path, major, minor, mode)
        except PermissionError:
            pytest.skip("device nodes are made by the machine's root only")

    return make


def refused(namespace: Namespace, prepare: Callable[[], object]) -> OSError:
    """What opening raises in a thread that was prepared."""

    def attempt() -> None:
        prepare()
        open_device(DeviceConfig())

    try:
        namespace.run(attempt)
    except OSError as exc:
        return exc
    pytest.fail("it opened")


@pytest.mark.parametrize(
    ("make", "expected", "number", "words"),
    [
        pytest.param(
            lambda path: None, NoDriverError, errno.ENOENT, ["modprobe tun", "--device"], id="none"
        ),
        pytest.param(node(10, 254), NoDriverError, errno.ENODEV, ["modprobe tun"], id="no driver"),
        pytest.param(node(241, 0), NoDriverError, errno.ENXIO, ["modprobe tun"], id="no major"),
        pytest.param(node(1, 3), NoDriverError, errno.ENOTTY, ["modprobe tun"], id="/dev/null"),
        pytest.param(
            node(10, 200, mode=0), NotPermittedError, errno.EACCES, ["chmod 0666"], id="mode 000"
        ),
    ],
)
@pytest.mark.requires("mountns")
def test_node(
    namespace: Namespace,
    make: Callable[[str], object],
    expected: type[OSError],
    number: int,
    words: list[str],
) -> None:
    def prepare() -> None:
        outside.replace_node(make)
        drop_capabilities(CAP_DAC_OVERRIDE)

    error = refused(namespace, prepare)
    assert type(error) is expected
    assert error.errno == number
    assert error.filename == NODE
    assert all(word in str(error) for word in words)


def test_node_forbidden_by_device_cgroup(namespace: Namespace) -> None:
    error = refused(namespace, restricted.node_forbidden)
    assert type(error) is NotPermittedError
    assert error.errno == errno.EPERM
    assert "cgroup" in str(error)
    assert "--device /dev/net/tun" in str(error)


def test_other_errors_of_the_node_stay_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhaust(*args: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "open", exhaust)
    with pytest.raises(OSError, match="Too many open files") as caught:
        tun.TunQueue(DeviceConfig())
    assert caught.value.errno == errno.EMFILE


def test_no_capability(namespace: Namespace) -> None:
    error = refused(namespace, lambda: drop_capabilities(CAP_NET_ADMIN))
    assert isinstance(error, NotPermittedError)
    assert isinstance(error, PermissionError)
    assert error.errno == errno.EPERM
    for way in ("CAP_NET_ADMIN", "root", "setcap", "ip tuntap add", "unshare"):
        assert way in str(error)


def test_name_open_elsewhere(namespace: Namespace) -> None:
    with (
        opened(namespace, name="t0"),
        pytest.raises(NameInUseError, match="open elsewhere, in this process") as c,
    ):
        namespace.run(open_device, DeviceConfig(name="t0"))
    assert c.value.errno == errno.EBUSY


def test_who_has_an_interface_of_another_namespace_has_none_of_this(namespace: Namespace) -> None:
    with opened(namespace, name="t0"), Namespace() as elsewhere:
        assert [holder.pid for holder in namespace.run(holders)["t0"]] == [os.getpid()]
        if os.geteuid() == 0:  # others may not ask which namespace it is
            assert "t0" not in elsewhere.run(holders)


@pytest.mark.parametrize("layer", ["tun", "tap"])
def test_name_of_another_kind(namespace: Namespace, layer: str) -> None:
    with pytest.raises(NameInUseError, match="exists and is not a") as caught:
        namespace.run(open_device, DeviceConfig(name="lo", layer=layer))  # type: ignore[arg-type]
    assert caught.value.errno == errno.EEXIST


@pytest.mark.parametrize("flags", [IFF_TAP, IFF_TUN | IFF_MULTI_QUEUE], ids=["tap", "many queues"])
def test_name_of_another_sort_of_tun(namespace: Namespace, flags: int) -> None:
    namespace.run(outside.persistent, "t0", flags)
    with pytest.raises(NameInUseError, match="is not a tun with a single queue"):
        namespace.run(open_device, DeviceConfig(name="t0"))


def test_name_that_only_the_kernel_refuses(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel stays the judge of names, should our own check ever let one through."""
    monkeypatch.setattr("aiotun.config.check_name", lambda name: None)
    with pytest.raises(TunError, match=r"'a:b' cannot be made") as caught:
        namespace.run(open_device, DeviceConfig(name="a:b"))
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("name", ["all", "default"])
def test_name_that_stands_for_other_interfaces(namespace: Namespace, name: str) -> None:
    with pytest.raises(NameInvalidError, match="stands for others"):
        namespace.run(open_device, DeviceConfig(name=name))


def test_address_that_the_kernel_refuses_leaves_nothing(namespace: Namespace) -> None:
    with pytest.raises(
        AddressError, match=r"ff02::5/64 cannot be added: .*(multicast|Cannot assign)"
    ):
        namespace.run(open_device, DeviceConfig(name="t0", addresses=["ff02::5/64"]))
    assert namespace.run(socket.if_nameindex) == [(1, "lo")]


def test_attaching_to_a_persistent_device_needs_no_change_and_no_capability(
    namespace: Namespace,
) -> None:
    config = DeviceConfig(name="t0", addresses=["10.9.0.1/24", "fd09::1/64"], mtu=1400)
    namespace.run(outside.persistent, "t0", IFF_TUN)
    with opened(namespace, **vars(config)) as (interface, _):
        interface.set_owner(os.geteuid())

    def attach() -> None:
        drop_capabilities(CAP_NET_ADMIN)
        interface, queue = open_device(config)
        with pytest.raises(NotPermittedError, match="CAP_NET_ADMIN"):
            interface.set_mtu(1300)
        interface.close()
        queue.close()

    namespace.run(attach)
    assert namespace.run(outside.mtu, "t0") == 1400
    assert namespace.run(outside.ipv6, "t0") == {"fd09::1/64"}


@pytest.mark.parametrize(
    ("owner", "group", "allowed"),
    [
        (os.geteuid(), None, True),
        (None, os.getegid(), True),
        (os.geteuid(), 12345, False),
        (12345, os.getegid(), False),
        (12345, None, False),
    ],
)
def test_who_may_attach_without_a_capability(
    namespace: Namespace, owner: int | None, group: int | None, allowed: bool
) -> None:
    """As drivers/net/tun.c has it (tun_not_capable)."""
    if 12345 in (owner, group):
        outside.require_other_users()
    with opened(namespace, name="t0", persistent=True) as (interface, _):
        if owner is not None:
            interface.set_owner(owner)
        if group is not None:
            interface.set_group(group)

    def attach() -> None:
        drop_capabilities(CAP_NET_ADMIN)
        _open_and_close("t0")

    if allowed:
        namespace.run(attach)
    else:
        with pytest.raises(NotPermittedError):
            namespace.run(attach)


def test_an_interface_without_owner_is_for_whom_the_kernel_says(namespace: Namespace) -> None:
    """Most kernels let everyone attach to it, some only who has the capability (6.12.117)."""
    with opened(namespace, name="t0", persistent=True):
        pass

    def attach_by(call: Callable[[], object]) -> bool:
        def attach() -> None:
            drop_capabilities(CAP_NET_ADMIN)
            call()

        try:
            namespace.run(attach)
        except PermissionError:
            return False
        return True

    allowed = attach_by(partial(outside.persistent, "t0", IFF_TUN))
    assert attach_by(partial(_open_and_close, "t0")) == allowed


def _open_and_close(name: str) -> None:
    interface, queue = open_device(DeviceConfig(name=name))
    interface.close()
    queue.close()


def test_attaching_without_offload_takes_the_offload_of_others_away(namespace: Namespace) -> None:
    """Or super-packets would arrive with no header that says so."""
    namespace.run(outside.persistent, "t0", IFF_TUN | IFF_VNET_HDR)
    settings: dict[str, Any] = {"name": "t0", "addresses": ["10.9.0.1/24"], "offload": False}
    with opened(namespace, **settings) as (_, queue):
        assert not queue.vnet_hdr
        with namespace.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"x" * 100, ("10.9.0.2", 9))
        while (packet := queue.read())[0] >> 4 != 4:
            pass  # IPv6 of the kernel's own
        assert len(packet) == 20 + 8 + 100
        # With a header of 12 bytes, or partial checksums, this would not add up.
        words = struct.unpack("!10H", packet[:20])
        assert sum(words) % 0xFFFF == 0
        pseudo = packet[12:20] + struct.pack("!HH", 17, 108)
        assert (
            sum(struct.unpack(f"!{len(pseudo + packet[20:]) // 2}H", pseudo + packet[20:]))
            % (0xFFFF)
            == 0
        )


def test_attaching_sets_the_size_of_the_header(namespace: Namespace) -> None:
    namespace.run(outside.persistent, "t0", IFF_TUN | IFF_VNET_HDR)
    with opened(namespace, name="t0", addresses=["10.9.0.1/24"]) as (_, queue):
        with namespace.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"x" * 100, ("10.9.0.2", 9))
        while (packet := queue.read()[10:])[0] >> 4 != 4:
            pass
        assert len(packet) == 20 + 8 + 100


def refusing(*refused: int) -> Callable[..., object]:
    """An ioctl that knows no such offloads, as older kernels do."""

    def ioctl(fd: int, request: int, argument: Any) -> object:
        if request == tun.TUNSETOFFLOAD and any(argument & flag for flag in refused):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return genuine(fd, request, argument)

    genuine = fcntl.ioctl
    return ioctl


@pytest.mark.parametrize(
    ("refused", "tcp", "udp"),
    [
        pytest.param((), True, True, id="all, Linux 6.2 and later"),
        pytest.param((tun.TUN_F_USO4,), True, False, id="no USO"),
        pytest.param((tun.TUN_F_USO4, tun.TUN_F_TSO4), False, False, id="checksums only"),
        pytest.param((tun.TUN_F_CSUM,), False, False, id="none"),
    ],
)
@pytest.mark.requires("tso", "uso")
def test_offload_as_far_as_the_kernel_grants_it(
    namespace: Namespace,
    monkeypatch: pytest.MonkeyPatch,
    refused: tuple[int, ...],
    tcp: bool,
    udp: bool,
) -> None:
    monkeypatch.setattr(fcntl, "ioctl", refusing(*refused))
    with opened(namespace) as (_, queue):
        assert (queue.vnet_hdr, queue.tcp_offload, queue.udp_offload) == (True, tcp, udp)


def test_offload_that_the_driver_lacks(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tun, "_features", lambda fd: IFF_TUN | IFF_NO_PI)
    with opened(namespace) as (_, queue):
        assert (queue.vnet_hdr, queue.tcp_offload, queue.udp_offload) == (False, False, False)


@pytest.mark.parametrize("known", [False, True])
def test_backpressure_where_the_driver_has_it(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    """What the kernel is asked for; kernels before 7.3 know no such thing and ignore it."""
    asked: list[int] = []
    genuine = fcntl.ioctl

    def ioctl(fd: int, request: int, argument: Any) -> object:
        if request == tun.TUNSETIFF:
            asked.append(tun.IFREQ.unpack(argument)[1] & tun.IFF_BACKPRESSURE)
        return genuine(fd, request, argument)

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    features = IFF_TUN | IFF_NO_PI | (tun.IFF_BACKPRESSURE if known else 0)
    monkeypatch.setattr(tun, "_features", lambda fd: features)
    with opened(namespace, backpressure=True), opened(namespace):
        assert asked == [tun.IFF_BACKPRESSURE if known else 0, 0]


@pytest.mark.parametrize("call", [tun.TUNGETFEATURES, tun.TUNSETOFFLOAD, tun.TUNGETIFF])
def test_unexpected_errors_are_passed_on(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    genuine = fcntl.ioctl

    def ioctl(fd: int, request: int, argument: Any) -> object:
        if request == call:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        return genuine(fd, request, argument)

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    with pytest.raises(OSError, match="Cannot allocate memory") as caught:
        namespace.run(open_device, DeviceConfig())
    assert caught.value.errno == errno.ENOMEM


@pytest.mark.parametrize("layer", ["tun", "tap"])
def test_name_by_pattern_and_by_default(namespace: Namespace, layer: str) -> None:
    with (
        opened(namespace, layer=layer) as (first, _),
        opened(namespace, layer=layer, name="vpn%d") as (second, _),
        opened(namespace, layer=layer, name="vpn%d") as (third, _),
    ):
        assert (first.name, second.name, third.name) == (f"{layer}0", "vpn0", "vpn1")


def test_opens_and_closes_leave_nothing(namespace: Namespace) -> None:
    descriptors = os.listdir("/proc/self/fd")
    for _ in range(20):
        interface, queue = namespace.run(open_device, DeviceConfig(addresses=["10.9.0.1/24"]))
        interface.close()
        queue.close()
    assert os.listdir("/proc/self/fd") == descriptors
    assert namespace.run(socket.if_nameindex) == [(1, "lo")]


def test_a_killed_process_leaves_no_interface(namespace: Namespace) -> None:
    script = """
        import sys
        from aiotun.config import DeviceConfig
        from aiotun.platforms.linux import open_device
        device = open_device(DeviceConfig(name="t0", addresses=["10.9.0.1/24"]))
        print("open", flush=True)
        sys.stdin.read()
    """
    process: subprocess.Popen[bytes] = namespace.run(
        subprocess.Popen,
        [sys.executable, "-c", textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        assert namespace.run(outside.is_up, "t0")
        process.send_signal(signal.SIGKILL)
    assert namespace.run(socket.if_nameindex) == [(1, "lo")]


@pytest.mark.interop
@pytest.mark.requires("ip")
@pytest.mark.parametrize("layer", ["tun", "tap"])
@pytest.mark.parametrize("offload", [False, True])
def test_as_ip_shows_it(namespace: Namespace, layer: str, offload: bool) -> None:
    addresses = ["10.9.0.1/24", "10.9.1.1 peer 10.9.1.2/32", "fd09::1/64"]
    with opened(
        namespace, name="t0", layer=layer, addresses=addresses, mtu=1400, offload=offload
    ) as (interface, _):
        (link,) = json.loads(
            namespace.command("ip", "-json", "-details", "address", "show", "dev", "t0")
        )
        assert link["ifindex"] == interface.index
    assert link["mtu"] == 1400
    assert "UP" in link["flags"]
    assert link["linkinfo"]["info_kind"] == "tun"
    data = link["linkinfo"]["info_data"]
    assert (data["type"], data["pi"], data["vnet_hdr"]) == (layer, False, offload)
    assert not data["persist"]
    found = {
        (entry["local"], entry.get("address"), entry["prefixlen"], entry.get("broadcast"))
        for entry in link["addr_info"]
        if entry["scope"] == "global"
    }
    assert found == {
        ("10.9.0.1", None, 24, None),
        ("10.9.1.1", "10.9.1.2", 32, None),
        ("fd09::1", None, 64, None),
    }
    assert not any(a.get("tentative") for a in link["addr_info"] if a["scope"] == "global")
