"""The probes of what Linux offers."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import errno
import fcntl
import os
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from ..platforms.linux.remedies import CAPABILITY, NODE, NODE_TROUBLES, Trouble
from ..platforms.linux.tun import (
    IFF_MULTI_QUEUE,
    IFF_NO_PI,
    IFF_TUN,
    IFF_VNET_HDR,
    IFREQ,
    TCP_OFFLOAD,
    TUNSETIFF,
    TUNSETOFFLOAD,
    UDP_OFFLOAD,
)
from ..testing.namespace import (
    IFF_UP,
    SIOCSIFFLAGS,
    Namespace,
    become_root,
    enter_namespace,
    own_sysfs,
)
from .base import Missing, Probe

__all__ = ["PROBES"]

T = TypeVar("T")

NAMESPACE_REMEDIES = (
    "run as root",
    "in a user namespace: unshare -Urn",
    "in a container: --cap-add SYS_ADMIN --security-opt seccomp=unconfined",
)

SYSCTLS = Path("/proc/sys")

# Switches that forbid user namespaces, the value that does, and how to turn it.
USER_NAMESPACE_SWITCHES = (
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),  # Ubuntu 23.10 and later
    ("kernel.unprivileged_userns_clone", "0", "1"),  # Debian's kernels before 11
    ("user.max_user_namespaces", "0", "10000"),
)


def _ioctl(fd: int, request: int, argument: int | bytes, name: str) -> bytes | int:
    try:
        return fcntl.ioctl(fd, request, argument)
    except OSError as exc:
        number = exc.errno or 0
        raise OSError(number, f"{name}: {os.strerror(number)}") from None


def _open_node() -> int:
    return os.open(NODE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def _set_interface(fd: int, flags: int, name: str = "") -> str:
    """TUNSETIFF: attach the descriptor to an interface; return the interface's name."""
    request = IFREQ.pack(name.encode(), flags)
    answer = _ioctl(fd, TUNSETIFF, request, "TUNSETIFF")
    assert isinstance(answer, bytes)
    return answer[:16].rstrip(b"\0").decode()


def _interface_up(name: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = IFREQ.pack(name.encode(), IFF_UP)
        _ioctl(control.fileno(), SIOCSIFFLAGS, request, "SIOCSIFFLAGS")


def _apart(function: Callable[[], T]) -> T:
    """Call the function in a fresh network namespace; in this one where none can be made."""
    try:
        namespace = Namespace()
    except OSError:
        return function()
    with namespace:
        return namespace.run(function)


def _node() -> str:
    try:
        os.close(_open_node())
    except OSError as exc:
        trouble = NODE_TROUBLES.get(exc.errno or 0, Trouble(f"{NODE} does not open", ()))
        raise Missing(f"{trouble.what} ({exc.strerror})", *trouble.remedies) from exc
    return f"{NODE} opens"


def _tun() -> str:
    _node()
    fd = _open_node()
    try:
        # drivers/net/tun.c, tun_set_iff: the kernel looks at the permission before it
        # looks at the kind of device. A request for no kind makes no interface: it gives
        # EINVAL if this process may make one, and EPERM if it may not.
        _set_interface(fd, 0)
    except OSError as exc:
        if exc.errno != errno.EINVAL:
            remedies = (*_own_interfaces(), *CAPABILITY.remedies)
            raise Missing(f"{CAPABILITY.what} ({exc.strerror})", *remedies) from exc
    finally:
        os.close(fd)
    _apart(partial(_make_device, IFF_TUN))
    return "a device can be made"


def _own_interfaces() -> list[str]:
    """What this user, and not everybody, may attach to without any capability."""
    users, groups = {-1, os.geteuid()}, {-1, os.getegid(), *os.getgroups()}
    own = []
    for path in sorted(Path("/sys/class/net").glob("*/owner")):  # only a TUN or TAP has one
        with suppress(OSError):  # deleted just now
            owner, group = (int(path.with_name(name).read_text()) for name in ("owner", "group"))
            if (owner, group) != (-1, -1) and owner in users and group in groups:
                own.append(f'open the interface that is yours: Device(name="{path.parent.name}")')
    return own


def _feature(detail: str, flags: int, offloads: int = 0, queues: int = 1) -> str:
    try:
        _apart(partial(_make_device, IFF_TUN | flags, offloads, queues))
    except OSError as exc:
        raise Missing(f"not in this kernel ({exc.strerror})", "use a newer kernel") from exc
    return detail


def _tcp_offload() -> str:
    detail = _feature("TCP super-packets are handed out", IFF_VNET_HDR, TCP_OFFLOAD)
    with suppress(OSError):  # not in every container
        # Documentation/networking/ip-sysctl.rst: 3 and more ask for AccECN or accept it (RFC
        # 9768). virtio_net_hdr cannot say so, and the kernel segments what has it before a TUN.
        if int((SYSCTLS / "net/ipv4/tcp_ecn").read_text()) >= 3:
            detail += ", but of no connection with AccECN (sysctl net.ipv4.tcp_ecn=2 is without)"
    return detail


def _make_device(flags: int, offloads: int = 0, queues: int = 1) -> None:
    """Make a device for a moment. It is never up, and gone when its descriptors are closed."""
    descriptors = []
    name = ""
    try:
        for _ in range(queues):
            descriptors.append(_open_node())
            name = _set_interface(descriptors[-1], flags | IFF_NO_PI, name)
        if offloads:
            _ioctl(descriptors[0], TUNSETOFFLOAD, offloads, "TUNSETOFFLOAD")
    finally:
        for fd in descriptors:
            os.close(fd)


def _network_namespace() -> str:
    try:
        Namespace().close()
    except OSError as exc:
        raise Missing(exc.strerror or "", *NAMESPACE_REMEDIES) from exc
    return "a network namespace can be made"


def _user_namespace() -> str:
    """The whole chain, in a process of its own as it cannot be undone."""
    script = (
        f"import sys; sys.path[:] = {sys.path!r}; "
        "from aiotun.probes.linux import user_namespace_chain; user_namespace_chain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    if done.returncode:
        raise Missing(done.stderr.strip(), *_user_namespace_remedies())
    return "a device can be made and set up in a user namespace"


def user_namespace_chain() -> None:
    """From no privilege to a device that is up; exits with the step that was refused."""
    try:
        become_root()
        enter_namespace()
        fd = _open_node()
        _interface_up(_set_interface(fd, IFF_TUN | IFF_NO_PI))
    except OSError as exc:
        sys.exit(f"{exc.filename}: {exc.strerror}" if exc.filename else exc.strerror)


def _user_namespace_remedies() -> tuple[str, ...]:
    for name, forbidding, allowing in USER_NAMESPACE_SWITCHES:
        with suppress(OSError):  # most systems have only some of them
            if SYSCTLS.joinpath(*name.split(".")).read_text().strip() == forbidding:
                return (f"as root: sysctl {name}={allowing}",)
    return ("in a container: --security-opt seccomp=unconfined --security-opt apparmor=unconfined",)


def _mount_namespace() -> str:
    def interfaces() -> list[str]:
        own_sysfs()
        return os.listdir("/sys/class/net")

    if _in_namespace(interfaces) != ["lo"]:
        raise Missing("/sys shows the interfaces of another namespace")
    return "a network namespace can have a /sys of its own"


def _sysctl() -> str:
    path = Path("/proc/sys/net/ipv4/ip_forward")
    _in_namespace(partial(path.write_text, "1"), "mount /proc/sys read-write")
    return "the network's settings can be changed in a namespace"


def _in_namespace(function: Callable[[], T], *remedies: str) -> T:
    try:
        with Namespace() as namespace:
            return namespace.run(function)
    except OSError as exc:
        raise Missing(str(exc), *remedies, "in a container: --privileged") from exc


def _ipv6() -> str:
    def bind() -> None:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp:
            udp.bind(("::1", 0))

    try:
        _apart(bind)
    except OSError as exc:
        raise Missing(
            exc.strerror or "",
            "as root: sysctl net.ipv6.conf.all.disable_ipv6=0",
            "in a container: --sysctl net.ipv6.conf.all.disable_ipv6=0",
            "boot without ipv6.disable=1",
        ) from exc
    return "IPv6 sockets and addresses work"


PROBES = {
    "tun-node": Probe(_node),
    "tun": Probe(_tun),
    "vnet-hdr": Probe(
        partial(_feature, "packets can carry a virtio_net_hdr", IFF_VNET_HDR), needs="tun"
    ),
    "tso": Probe(_tcp_offload, needs="tun"),
    "uso": Probe(
        partial(_feature, "UDP super-packets are handed out", IFF_VNET_HDR, UDP_OFFLOAD),
        needs="tun",
    ),
    "multi-queue": Probe(
        partial(_feature, "a device can have several queues", IFF_MULTI_QUEUE, queues=2),
        needs="tun",
    ),
    "netns": Probe(_network_namespace),
    "userns": Probe(_user_namespace, needs="tun-node"),
    "mountns": Probe(_mount_namespace, needs="netns"),
    "sysctl": Probe(_sysctl, needs="netns"),
    "ipv6": Probe(_ipv6),
}
