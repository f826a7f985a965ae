"""The queue: whole frames in and out, never blocking, and what it says when it cannot."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import errno
import os
import socket
import struct
import threading
import time
from collections.abc import Callable

import outside
import pytest
from outside import opened

from aiotun.errors import ClosedError, InterfaceDownError, InterfaceGoneError
from aiotun.platforms.base import Queue
from aiotun.platforms.linux.tun import TunQueue
from aiotun.testing.namespace import Namespace

pytestmark = pytest.mark.requires("tun", "netns")

ETHERNET = bytes.fromhex("ffffffffffff 020000000001 0800")

UDP_SEGMENT = 103
"""linux/udp.h"""


def udp4(payload: bytes, source: str = "10.9.0.2", target: str = "10.9.0.1") -> bytes:
    """An IPv4 UDP packet to port 9, with no UDP checksum."""
    header = struct.pack(
        "!BBHHHBBH4s4s",
        *(0x45, 0, 28 + len(payload), 0, 0, 64, 17, 0),
        *(socket.inet_aton(source), socket.inet_aton(target)),
    )
    total = sum(struct.unpack("!10H", header))
    total = ~(total + total // 0xFFFF) & 0xFFFF
    header = header[:10] + struct.pack("!H", total) + header[12:]
    return header + struct.pack("!HHHH", 9, 9, 8 + len(payload), 0) + payload


def read_ipv4(queue: Queue) -> bytes:
    """The next IPv4 packet without what stands before it; IPv6 is the kernel's own talk."""
    skip = (10 if queue.vnet_hdr else 0) + (14 if queue.layer == "tap" else 0)
    while queue.wait_readable(2.0):
        packet = queue.read()[skip:]
        if packet[0] >> 4 == 4 and packet[9] == socket.IPPROTO_UDP:
            return packet
    raise TimeoutError


def udp_socket(namespace: Namespace) -> socket.socket:
    sock = namespace.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(2.0)
    return sock


@pytest.mark.parametrize("offload", [False, True])
@pytest.mark.parametrize("layer", ["tun", "tap"])
def test_frames_both_ways(namespace: Namespace, layer: str, offload: bool) -> None:
    with (
        opened(namespace, layer=layer, addresses=["10.9.0.1/24"], offload=offload) as (_, queue),
        udp_socket(namespace) as sock,
    ):
        assert (queue.layer, queue.vnet_hdr) == (layer, offload)
        sock.bind(("10.9.0.1", 9))
        if layer == "tap":
            hardware_address = namespace.run(outside._ioctl, queue.name, 0x8927)[2:8]
            ethernet = hardware_address + ETHERNET[6:]
        frame = (bytes(10) if offload else b"") + (ethernet if layer == "tap" else b"")
        queue.write(frame + udp4(b"hello"))
        assert sock.recvfrom(100) == (b"hello", ("10.9.0.2", 9))
        if layer == "tun":  # a TAP's kernel would ask for the neighbour first
            sock.sendto(b"world", ("10.9.0.2", 9))
            assert read_ipv4(queue)[28:] == b"world"


@pytest.mark.requires("uso")
def test_a_super_packet_comes_whole(namespace: Namespace) -> None:
    with (
        opened(namespace, addresses=["10.9.0.1/24"]) as (_, queue),
        udp_socket(namespace) as sock,
    ):
        assert queue.udp_offload
        sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1400)
        payload = os.urandom(46 * 1400)
        sock.sendto(payload, ("10.9.0.2", 9))
        assert read_ipv4(queue)[28:] == payload


@pytest.mark.requires("tso", "uso")
def test_the_largest_packet(namespace: Namespace) -> None:
    with (
        opened(namespace, addresses=["10.9.0.1/24"], mtu=65535) as (_, queue),
        udp_socket(namespace) as sock,
    ):
        payload = os.urandom(65535 - 28)
        sock.sendto(payload, ("10.9.0.2", 9))
        assert read_ipv4(queue)[28:] == payload


def test_reading_never_blocks(namespace: Namespace) -> None:
    with opened(namespace, up=False) as (_, queue), pytest.raises(BlockingIOError):
        queue.read()


def test_writing_never_blocks(namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Injected: a TUN hardly ever pushes back."""

    def refuse(fd: int, frame: bytes) -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    with opened(namespace) as (_, queue), monkeypatch.context() as patch:
        patch.setattr(os, "write", refuse)
        with pytest.raises(BlockingIOError):
            queue.write(udp4(b"hello"))


def test_the_descriptor_is_not_inherited(namespace: Namespace) -> None:
    with opened(namespace) as (_, queue):
        assert not os.get_inheritable(queue.fileno())
        assert not os.get_blocking(queue.fileno())


def test_waiting(namespace: Namespace) -> None:
    with (
        opened(namespace, addresses=["10.9.0.1/24"], up=False) as (interface, queue),
        udp_socket(namespace) as sock,
    ):
        assert not queue.wait_readable(0)
        started = time.monotonic()
        assert not queue.wait_readable(0.05)
        assert time.monotonic() - started >= 0.05
        assert not queue.wait_readable(-1.0)  # a deadline that has passed
        interface.set_up(True)
        assert queue.wait_writable(0)
        sender = threading.Timer(0.05, sock.sendto, (b"hello", ("10.9.0.2", 9)))
        sender.start()
        assert queue.wait_readable(None)
        assert read_ipv4(queue)[28:] == b"hello"
        sender.join()


def test_a_wait_ends_when_the_interface_is_deleted(namespace: Namespace) -> None:
    with opened(namespace, name="t0", up=False) as (_, queue):
        deleter = threading.Timer(0.05, namespace.run, (outside.delete, "t0"))
        deleter.start()
        assert queue.wait_readable(5.0)
        deleter.join()
        with pytest.raises(InterfaceGoneError):
            queue.read()


def test_writing_to_an_interface_that_is_down(namespace: Namespace) -> None:
    with opened(namespace, up=False, offload=False) as (interface, queue):
        with pytest.raises(InterfaceDownError, match="set it up") as caught:
            queue.write(udp4(b"hello"))
        assert caught.value.errno == errno.EIO
        interface.set_up(True)
        queue.write(udp4(b"hello"))


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(b"", id="empty"),
        pytest.param(bytes(9), id="half a header"),
        pytest.param(bytes(10) + b"\x95" + bytes(40), id="IP version 9"),
        pytest.param(b"\x01\x03" + bytes(8) + udp4(b"hello"), id="UFO, no gso_size"),
    ],
)
def test_writing_what_the_kernel_refuses(namespace: Namespace, frame: bytes) -> None:
    with opened(namespace) as (_, queue):
        with pytest.raises(OSError, match="Invalid argument") as caught:
            queue.write(frame)
        assert caught.value.errno == errno.EINVAL


USES: list[Callable[[TunQueue], object]] = [
    lambda queue: queue.name,
    lambda queue: queue.read(),
    lambda queue: queue.write(udp4(b"hello")),
]


@pytest.mark.parametrize("use", USES, ids=["name", "read", "write"])
def test_deleted(namespace: Namespace, use: Callable[[TunQueue], object]) -> None:
    with opened(namespace, name="t0") as (_, queue):
        namespace.run(outside.delete, "t0")
        with pytest.raises(InterfaceGoneError, match="deleted") as caught:
            use(queue)
        assert caught.value.errno == errno.EBADFD


@pytest.mark.parametrize(
    "use",
    [*USES, lambda queue: queue.wait_readable(0), lambda queue: queue.wait_writable(0)],
    ids=["name", "read", "write", "wait_readable", "wait_writable"],
)
def test_closed(namespace: Namespace, use: Callable[[TunQueue], object]) -> None:
    with opened(namespace) as (_, queue):
        queue.close()
        queue.close()
        assert queue.fileno() == -1
        with pytest.raises(ClosedError) as caught:
            use(queue)
        assert caught.value.errno == errno.EBADF


def test_packets_flow_after_a_move_to_another_namespace(namespace: Namespace) -> None:
    with Namespace() as other, opened(namespace, name="t0", offload=False) as (_, queue):
        namespace.run(outside.move, "t0", other)
        other.run(outside.rename, "t0", "t1")
        assert queue.name == "t1"
        other.run(outside.set_up, "t1", True)
        queue.write(udp4(b"hello"))
        other.run(outside.delete, "t1")
        with pytest.raises(InterfaceGoneError):
            queue.write(udp4(b"hello"))
