"""What can be taken from a process that is about to run something, one function each."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
import socket
import struct
import sys
from array import array
from contextlib import closing
from pathlib import Path

import outside

from aiotun.testing.namespace import (
    CLONE_NEWNS,
    MS_PRIVATE,
    MS_REC,
    become_root,
    enter_namespace,
    mount,
    unshare,
)

# linux/prctl.h, linux/capability.h, linux/seccomp.h
PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 22, 24, 38
CAP_DAC_OVERRIDE, CAP_NET_BROADCAST, CAP_NET_ADMIN, CAP_SYS_ADMIN = 1, 11, 12, 21
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW = 0x0005_0000, 0x7FFF_0000

# linux/mount.h
MS_RDONLY, MS_REMOUNT, MS_BIND = 0x1, 0x20, 0x1000

OPENAT, UNSHARE, SOCKET, IOCTL = {
    "x86_64": (257, 272, 41, 16),
    "s390x": (288, 303, 359, 54),
}.get(platform.machine(), (56, 97, 198, 29))
"""asm/unistd_64.h of the two; asm-generic/unistd.h for the others."""

AF_NETLINK = 16  # linux/socket.h

NODE_FLAGS = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
"""With which /dev/net/tun is opened, and hardly anything else."""


def drop(capability: int) -> None:
    """What is run from now on does not get the capability."""
    assert ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0


def drop_capabilities(*dropped: int) -> None:
    """Take them from the calling thread (capset(2) is about one thread)."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("=Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3
    data = ctypes.create_string_buffer(24)
    assert libc.capget(header, data) == 0
    sets = list(struct.unpack("=6I", data.raw))  # effective, permitted, inheritable; twice
    for capability in dropped:
        sets[0] &= ~(1 << capability)
    assert libc.capset(header, struct.pack("=6I", *sets)) == 0


def no_capability() -> None:
    drop(CAP_NET_ADMIN)


def no_namespaces() -> None:
    drop(CAP_SYS_ADMIN)


def hide_node() -> None:
    outside.replace_node(lambda path: None)


def unreadable_node() -> None:
    hide_node()
    Path("/dev/net/tun").touch(mode=0o000)
    drop(CAP_DAC_OVERRIDE)


def node_without_driver() -> None:
    hide_node()
    if sys.platform == "linux":  # which type checkers want to read
        with closing(socket.socket(socket.AF_UNIX)) as node:
            node.bind("/dev/net/tun")  # opening it gives ENXIO, as without a driver


def node_forbidden() -> None:
    """As by a device cgroup, which would change the machine."""
    refuse(OPENAT, (2, NODE_FLAGS))


def no_unshare() -> None:
    """As in a container."""
    refuse(UNSHARE)


def no_user_namespaces() -> None:
    """None in one: the switch is each user namespace's own."""
    become_root()
    Path("/proc/sys/user/max_user_namespaces").write_text("0")


def read_only_sysctls() -> None:
    """As in a container."""
    unshare(CLONE_NEWNS)
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    mount("/proc/sys", "/proc/sys", None, MS_BIND)
    mount(None, "/proc/sys", None, MS_BIND | MS_REMOUNT | MS_RDONLY)


def no_ipv6() -> None:
    """In the only network namespace that there is."""
    enter_namespace()
    Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")
    drop(CAP_SYS_ADMIN)


def no_netlink() -> None:
    """As by the SELinux of Android 11 and later, for all that matters here."""
    refuse(SOCKET, (0, AF_NETLINK), errno.EACCES)


def no_netlink_and_hardly_an_ioctl() -> None:
    """As by Android's SELinux: of a TUN's ioctls an app may use TUNGETIFF."""
    no_netlink()
    _no_ioctls_of_a_tun("TUNGETIFF")


def no_netlink_and_no_ioctl() -> None:
    no_netlink()
    no_ioctls_of_a_tun()


def no_ioctls_of_a_tun() -> None:
    _no_ioctls_of_a_tun()


def _no_ioctls_of_a_tun(*allowed: str) -> None:
    if sys.platform == "linux":  # which type checkers want to read
        from aiotun.platforms.linux import tun

        for name, number in vars(tun).items():
            if re.match("TUN[SG]ET|SIOC", name) and name not in allowed:
                refuse(IOCTL, (1, number), errno.EACCES)


def refuse(call: int, argument: tuple[int, int] | None = None, number: int = errno.EPERM) -> None:
    """An error for a system call, if its argument of that number is that (seccomp(2))."""
    load, equal, done = 0x20, 0x15, 0x06  # BPF_LD | BPF_W | BPF_ABS; BPF_JMP | BPF_JEQ; BPF_RET
    tests = [(0, call)]  # struct seccomp_data: the call, and from 16 on its arguments
    if argument is not None:
        position, value = argument
        tests.append((16 + 8 * position + 4 * (sys.byteorder == "big"), value))
    program = []
    for left, (offset, value) in zip(range(len(tests), 0, -1), tests, strict=True):
        program += [(load, 0, 0, offset), (equal, 0, 2 * left - 1, value)]
    program += [
        (done, 0, 0, SECCOMP_RET_ERRNO | number),
        (done, 0, 0, SECCOMP_RET_ALLOW),
    ]
    code = array("B", b"".join(struct.pack("=HBBI", *each) for each in program))
    address, _ = code.buffer_info()
    fprog = struct.pack("@HP", len(program), address)  # struct sock_fprog
    libc = ctypes.CDLL(None)
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, fprog, 0, 0) == 0
