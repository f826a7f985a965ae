"""Two raw devices and the kernel between them: what it segments, and what it coalesces."""

from __future__ import annotations

import ctypes
import fcntl
import ipaddress
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import outside
from hypothesis import HealthCheck, Phase, settings
from packets import SOURCE, ones_sum

from aiotun.probes import probe
from aiotun.testing.namespace import Namespace, own_sysfs

# linux/if_tun.h
TUNSETIFF = 0x400454CA
TUNSETOFFLOAD = 0x400454D0
IFF_TUN, IFF_TAP, IFF_NAPI, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x0002, 0x0010, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6, TUN_F_USO4, TUN_F_USO6 = 0x01, 0x02, 0x04, 0x20, 0x40
TCP_OFFLOADS = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6
ALL_OFFLOADS = TCP_OFFLOADS | TUN_F_USO4 | TUN_F_USO6

# linux/sockios.h
SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK, SIOCSIFMTU = 0x8914, 0x8916, 0x891C, 0x8922
SIOCGIFINDEX, SIOCBRADDBR, SIOCBRADDIF = 0x8933, 0x89A0, 0x89A2
SIOCETHTOOL = 0x8946

# linux/ethtool.h
ETHTOOL_GSTRINGS, ETHTOOL_SFEATURES, ETH_SS_FEATURES = 0x1B, 0x3B, 4


class RawDevice:
    """A TUN or TAP made by ioctls in the namespace of the calling thread."""

    def __init__(self, name: str, layer: str = "tun", flags: int = 0, offloads: int = 0) -> None:
        self.name = name
        self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            mode = IFF_TUN if layer == "tun" else IFF_TAP
            request = struct.pack("16sH22x", name.encode(), mode | IFF_NO_PI | flags)
            fcntl.ioctl(self.fd, TUNSETIFF, request)
            if flags & IFF_VNET_HDR:
                fcntl.ioctl(self.fd, TUNSETOFFLOAD, offloads)
            outside.set_tx_queue_len(name, 10000)
        except BaseException:
            os.close(self.fd)
            raise

    def write(self, frame: bytes) -> None:
        os.write(self.fd, frame)

    def read(self, timeout: float = 0) -> bytes | None:
        """The next frame; None if none comes in time."""
        if not select.select([self.fd], [], [], timeout)[0]:
            return None
        return os.read(self.fd, 1 << 17)

    def read_until(
        self, enough: Callable[[list[bytes]], bool], wanted: Callable[[bytes], bool], timeout: float
    ) -> list[bytes]:
        """Frames that are wanted, until there are enough or the time is over."""
        deadline = time.monotonic() + timeout
        frames: list[bytes] = []
        while not enough(frames):
            frame = self.read(max(0.0, deadline - time.monotonic()))
            if frame is None:
                break
            if wanted(frame):
                frames.append(frame)
        return frames

    def close(self) -> None:
        os.close(self.fd)


def configure(name: str, request: int, value: bytes, family: int = socket.AF_INET) -> bytes:
    """An ioctl with a struct ifreq: the name, then the value."""
    with socket.socket(family, socket.SOCK_DGRAM) as control:
        return fcntl.ioctl(control, request, struct.pack("16s24s", name.encode(), value))


def add_address(name: str, text: str) -> None:
    interface = ipaddress.ip_interface(text)
    if interface.version == 4:
        for request, part in (SIOCSIFADDR, interface.ip), (SIOCSIFNETMASK, interface.netmask):
            value = struct.pack("=HH4s", socket.AF_INET, 0, part.packed)
            configure(name, request, value)
        return
    (index,) = struct.unpack_from("i", configure(name, SIOCGIFINDEX, b""), 16)
    in6_ifreq = struct.pack("=16sIi", interface.ip.packed, interface.network.prefixlen, index)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFADDR, in6_ifreq)


def set_up(name: str) -> None:
    configure(name, SIOCSIFFLAGS, struct.pack("H", 1))


def with_kernel(max_examples: int) -> settings:
    """For properties that the kernel takes part in: no shrinking, it has a state and a clock."""
    return settings(
        max_examples=max_examples,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@contextmanager
def kernel_path(
    layer: str = "tun",
    *,
    flags_in: int = IFF_VNET_HDR,
    flags_out: int = 0,
    mtu: int = 1500,
) -> Iterator[tuple[RawDevice, RawDevice, Namespace]]:
    """Two devices: what is written to the first leaves through the second.

    Between TUNs the kernel routes 10.2.0.0/24 and fd02::/64 and takes one from the TTL,
    between TAPs it bridges and changes nothing.
    """
    offloads = ALL_OFFLOADS if probe("uso").available else TCP_OFFLOADS
    with ExitStack() as stack:
        namespace = stack.enter_context(Namespace())
        for setting, value in (
            ("net.ipv4.ip_forward", 1),
            ("net.ipv4.conf.all.rp_filter", 0),
            ("net.ipv4.conf.default.rp_filter", 0),
            ("net.ipv6.conf.all.forwarding", 1),
            ("net.ipv6.conf.default.router_solicitations", 0),
        ):
            namespace.sysctl(setting, value)

        def make() -> tuple[RawDevice, RawDevice]:
            devices = []
            for name, flags in ("in0", flags_in), ("out0", flags_out):
                device = RawDevice(name, layer, flags, offloads)
                stack.callback(device.close)
                configure(name, SIOCSIFMTU, struct.pack("i", mtu))
                devices.append(device)
            if layer == "tap":
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
                    fcntl.ioctl(control, SIOCBRADDBR, struct.pack("16s", b"br0"))
                for device in devices:
                    (index,) = struct.unpack_from(
                        "i", configure(device.name, SIOCGIFINDEX, b""), 16
                    )
                    configure("br0", SIOCBRADDIF, struct.pack("i", index))
            for name in ["in0", "out0", *(["br0"] if layer == "tap" else [])]:
                set_up(name)
            if layer == "tun":
                for name, text in (
                    ("in0", "10.1.0.1/24"),
                    ("in0", "fd01::1/64"),
                    ("out0", "10.2.0.1/24"),
                    ("out0", "fd02::1/64"),
                ):
                    add_address(name, text)
            return devices[0], devices[1]

        first, second = namespace.run(make)
        yield first, second, namespace


def hold_for_gro(name: str, nanoseconds: int) -> None:
    """Let the kernel hold what a TUN with IFF_NAPI gets, to coalesce it (UDP too).

    It holds packets that long, or until the timer interrupt in which a packet
    is written to the device again. To be called in the namespace's thread.
    Raises `PermissionError` in a user namespace: the kernel wants CAP_NET_ADMIN over
    the whole machine (net/core/net-sysfs.c, gro_flush_timeout_store).
    """
    turn_on(name, b"rx-udp-gro-forwarding")
    own_sysfs()
    Path("/sys/class/net", name, "gro_flush_timeout").write_text(str(nanoseconds))


def turn_on(name: str, feature: bytes) -> None:
    """What `ethtool -K` does (linux/ethtool.h)."""

    def ethtool(command: bytes) -> bytes:
        buffer = ctypes.create_string_buffer(command)
        configure(name, SIOCETHTOOL, struct.pack("P", ctypes.addressof(buffer)))
        return buffer.raw

    reply = ethtool(struct.pack("=III", ETHTOOL_GSTRINGS, ETH_SS_FEATURES, 0) + bytes(256 * 32))
    names = [reply[i : i + 32].rstrip(b"\0") for i in range(12, len(reply) - 31, 32)]
    block, bit = divmod(names.index(feature), 32)
    words = [0] * 4  # valid and requested, of two blocks
    words[2 * block] = words[2 * block + 1] = 1 << bit
    ethtool(struct.pack("=II4I", ETHTOOL_SFEATURES, 2, *words))


def forwarded(packet: bytes) -> bytes:
    """The packet behind a router."""
    if packet[0] >> 4 == 6:
        return packet[:7] + bytes([packet[7] - 1]) + packet[8:]
    size = (packet[0] & 0x0F) * 4
    head = packet[:8] + bytes([packet[8] - 1]) + packet[9:10] + b"\0\0" + packet[12:size]
    return head[:10] + struct.pack("!H", ones_sum(head) ^ 0xFFFF) + head[12:] + packet[size:]


def is_test_packet(packet: bytes) -> bool:
    """Devices emit packets of their own as well."""
    source = packet[12:16] if packet[0] >> 4 == 4 else packet[8:24]
    return source in SOURCES


SOURCES = [ipaddress.ip_address(source).packed for source in SOURCE.values()]
